"""`flam-train decoder`."""

from flam_train.commands.arguments import call, is_main_process
from flam_train.heads.decoder import REPORT, decoder


def main(arguments: list[str]) -> None:
    """Calls `decoder` and prints its report."""
    directory = call(decoder, arguments, "world", "data")
    if is_main_process():
        print((directory / REPORT).read_text())
