"""`flam-train ground`."""

from flam_train.commands.arguments import call, is_main_process
from flam_train.heads.ground import REPORT, ground


def main(arguments: list[str]) -> None:
    """Calls `ground` and prints its report."""
    directory = call(ground, arguments, "world", "data")
    if is_main_process():
        print((directory / REPORT).read_text())
