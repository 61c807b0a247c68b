"""`python -m baselines.campaign`: makes a plan's trainings; `python -m baselines.campaign tables` prints what came."""

import sys

import baselines  # noqa: F401  (registers the kinds)
from baselines.campaign.campaign import campaign
from baselines.campaign.study import PROGRAM
from baselines.campaign.tables import tables
from flam_train.cli import TRACEBACK, errors_in_one_line
from flam_train.commands.arguments import call
from flam_train.engine.allocator import restart_with_huge_pages


def main(arguments: list[str] | None = None) -> None:
    """Makes trainings or prints tables; a user's mistake becomes one line, not a traceback."""
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    words = [word for word in arguments if word != TRACEBACK]
    printing = words[:1] == ["tables"]
    program = f"{PROGRAM} tables" if printing else PROGRAM
    with errors_in_one_line(program, TRACEBACK in arguments):
        print(call(tables, words[1:], program=program) if printing else call(campaign, words, program=program))


if __name__ == "__main__":
    main()
