"""`flam-train policies`."""

from flam_train.commands.arguments import call
from flam_train.policies.policies import policies


def main(arguments: list[str]) -> None:
    """Calls `policies`."""
    call(policies, arguments, "game")
