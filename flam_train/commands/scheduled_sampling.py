"""`flam-train scheduled-sampling`."""

from flam_train.commands.arguments import call
from flam_train.phases.scheduled_sampling import scheduled_sampling


def main(arguments: list[str]) -> None:
    """Calls `scheduled_sampling`."""
    call(scheduled_sampling, arguments, "world", "data")
