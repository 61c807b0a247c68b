"""`flam-train evaluate`."""

from flam_train.commands.arguments import call
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.report import format_report


def main(arguments: list[str]) -> None:
    """Calls `evaluate` and prints the report as tables."""
    print(format_report(call(evaluate, arguments, "world", "data")))
