"""`flam-train demonstrator`."""

from flam_train.commands.arguments import call
from flam_train.players.dagger import demonstrator


def main(arguments: list[str]) -> None:
    """Calls `demonstrator`."""
    call(demonstrator, arguments, "game")
