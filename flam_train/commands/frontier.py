"""`flam-train frontier`."""

from flam_train.commands.arguments import call
from flam_train.evaluate.simulator.frontier import frontier


def main(arguments: list[str]) -> None:
    """Calls `frontier` and prints what it returns."""
    print(call(frontier, arguments, "reports"))
