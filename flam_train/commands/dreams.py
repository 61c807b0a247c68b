"""`flam-train dreams`."""

from flam_train.commands.arguments import call
from flam_train.pictures.dreams import dreams


def main(arguments: list[str]) -> None:
    """Calls `dreams` and prints where the picture is."""
    print(f"wrote {call(dreams, arguments, 'world')}")
