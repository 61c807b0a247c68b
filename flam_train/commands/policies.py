"""`flam-train policies`."""

from flam_train.commands.arguments import call
from flam_train.studies.policies.policies import policies


def main(arguments: list[str]) -> None:
    """Calls `policies`."""
    call(policies, arguments, "game")
