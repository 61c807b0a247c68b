"""`flam-train tokenizer`."""

from flam_train.commands.arguments import call
from flam_train.phases.tokenizer import tokenizer


def main(arguments: list[str]) -> None:
    """Calls `tokenizer`."""
    call(tokenizer, arguments, "data")
