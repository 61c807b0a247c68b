"""`flam-train slots`."""

from flam_train.commands.arguments import call
from flam_train.pictures.slots import slots


def main(arguments: list[str]) -> None:
    """Calls `slots` and prints where the pictures are."""
    for path in call(slots, arguments, "world", "data"):
        print(f"wrote {path}")
