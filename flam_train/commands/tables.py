"""`flam-train tables`."""

from flam_train.commands.arguments import call
from flam_train.studies.rooms.tables import tables


def main(arguments: list[str]) -> None:
    """Calls `tables` and prints what it returns."""
    print(call(tables, arguments, "reports"))
