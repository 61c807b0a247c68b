"""`flam-train experiment`."""

from flam_train.commands.arguments import call
from flam_train.studies.rooms.experiment import experiment


def main(arguments: list[str]) -> None:
    """Calls `experiment`."""
    call(experiment, arguments, "name")
