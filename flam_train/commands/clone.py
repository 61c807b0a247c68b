"""`flam-train clone`."""

from flam_train.clone import SCORES, clone
from flam_train.commands.arguments import call, is_main_process


def main(arguments: list[str]) -> None:
    """Calls `clone` and prints its scores."""
    policy = call(clone, arguments, "data")
    if is_main_process():
        print(policy.with_name(SCORES).read_text())
