"""`flam-train world-model`."""

from flam_train.commands.arguments import call
from flam_train.phases.world_model import world_model


def main(arguments: list[str]) -> None:
    """Calls `world_model`."""
    call(world_model, arguments, "data")
