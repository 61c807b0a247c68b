"""`flam-train token-sampler`."""

from flam_train.commands.arguments import call, is_main_process
from flam_train.heads.token_sampler import REPORT, token_sampler


def main(arguments: list[str]) -> None:
    """Calls `token_sampler` and prints its report."""
    directory = call(token_sampler, arguments, "world", "data")
    if is_main_process():
        print((directory / REPORT).read_text())
