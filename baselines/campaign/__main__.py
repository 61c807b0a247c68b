"""`python -m baselines.campaign`: makes a plan's trainings; with `tables` or `rollouts` after it, shows what came."""

import sys
from collections.abc import Callable
from typing import Any

import baselines  # noqa: F401  (registers the kinds)
from baselines.campaign.campaign import campaign
from baselines.campaign.rollouts import rollouts
from baselines.campaign.study import PROGRAM
from baselines.campaign.tables import tables
from flam_train.cli import TRACEBACK, errors_in_one_line
from flam_train.commands.arguments import call
from flam_train.engine.allocator import restart_with_huge_pages

SHOWN: dict[str, Callable[..., Any]] = {"tables": tables, "rollouts": rollouts}


def main(arguments: list[str] | None = None) -> None:
    """Makes trainings, or shows what came of them; a user's mistake becomes one line, not a traceback."""
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    words = [word for word in arguments if word != TRACEBACK]
    shown = SHOWN.get(words[0]) if words else None
    program = f"{PROGRAM} {words.pop(0)}" if shown else PROGRAM
    with errors_in_one_line(program, TRACEBACK in arguments):
        print(call(shown or campaign, words, program=program))


if __name__ == "__main__":
    main()
