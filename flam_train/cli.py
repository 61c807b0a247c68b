"""`flam-train`: which commands there are, and what becomes of their errors."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from keyword import iskeyword
from traceback import print_exception

from flam_train.engine.allocator import restart_with_huge_pages

GROUPS = {
    "data": {
        "import": "make a store of videos of your own, or, as `import nuplan`, of logs of nuPlan",
        "collect": "record episodes of a Procgen game or of a room of agents",
        "pack": "make one small file of a store, which trains and scores worlds as the store does",
    },
    "make a world": {
        "new-world": "go the whole way from a store to a world with its scores, card and picture",
        "tokenizer": "learn frames <-> tokens",
        "world-model": "learn slots, latent actions and dynamics; the folder is a world from then on",
        "scheduled-sampling": "train dynamics further, so that longer dreams hold",
        "token-sampler": "learn how tokens are drawn together, so that in dreams things come in",
        "ground": "learn real actions from a few labels, and who the player is",
        "evaluate": "score a world on held-out clips",
        "fetch-metrics": "get the weights that LPIPS and FVD need",
        "frontier": "print what worlds show beside what they are told",
    },
    "use a world": {
        "label": "infer the latent actions of videos",
        "demo": "show a dream beside the real future",
        "dreams": "show long dreams under sampled actions",
        "slots": "show what each slot holds, and what it moves",
        "latent-map": "draw latent actions by what agents did",
    },
    "policies": {
        "demonstrator": "teach a policy to play a game, by looking ahead in the simulator",
        "reinforce": "teach a policy to play a game, by playing",
        "clone": "clone a player into a policy of Stable-Baselines3",
    },
    "studies": {
        "experiment": "train and score the paper's controlled experiments on rooms",
        "tables": "print what came of them",
        "recipe": "train, score and archive a world of each of several packs, in pieces of a few minutes",
        "policies": "clone and play all arms of the comparison of policies",
        "policy-tables": "print what came of them",
    },
}
"""The commands by what one wants to do; each is a module of `flam_train.commands`, imported when it is called."""

COMMANDS = {name: summary for commands in GROUPS.values() for name, summary in commands.items()}
"""Name of each command and what it does."""

TRACEBACK = "--traceback"

HELP = """\
usage: flam-train COMMAND ...

FLAM: learned simulators with one latent action per entity. `flam-train COMMAND --help` shows all settings of a command;
`--traceback`, or FLAM_TRACEBACK=1, shows where an error came from."""


def main(arguments: list[str] | None = None) -> None:
    """`flam-train COMMAND ...`; a user's mistake becomes one line, not a traceback."""
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    command, *rest = [word for word in arguments if word != TRACEBACK] or ["--help"]
    if command in ("-h", "--help"):
        print(command_list())
        sys.exit(0)
    if command not in COMMANDS:
        print(f"flam-train: expected a command of {list(COMMANDS)}, got {command!r}", file=sys.stderr)
        sys.exit(2)
    with errors_in_one_line(f"flam-train {command}", TRACEBACK in arguments):
        import_module(f"flam_train.commands.{python_name(command)}").main(rest)


def python_name(command: str) -> str:
    """What the module and the function of a command are called."""
    name = command.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


def command_list() -> str:
    """What `flam-train --help` says."""
    width = max(map(len, COMMANDS)) + 2
    groups = [
        "\n".join([f"{title}:", *(f"  {name:{width}}{summary}" for name, summary in commands.items())])
        for title, commands in GROUPS.items()
    ]
    return "\n\n".join([HELP, *groups])


@contextmanager
def errors_in_one_line(program: str, traceback: bool = False) -> Iterator[None]:
    """Ends the program with one line for an error that has a message for a user.

    A traceback stands before it if it is wanted, here or by FLAM_TRACEBACK.
    """
    traceback = traceback or os.environ.get("FLAM_TRACEBACK") not in (None, "", "0")
    try:
        yield
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if traceback:
            print_exception(error)
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        sys.exit(130)
