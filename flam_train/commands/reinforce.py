"""`flam-train reinforce`."""

from flam_train.commands.arguments import call
from flam_train.players.ppo import reinforce


def main(arguments: list[str]) -> None:
    """Calls `reinforce`."""
    call(reinforce, arguments, "game")
