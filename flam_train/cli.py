"""The command line: every command is a thin shell over a function of the same name and defaults."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from inspect import getdoc, signature
from traceback import print_exception
from typing import Any

from flam_train.allocator import restart_with_huge_pages

try:
    import tyro
    from tyro.conf import OmitArgPrefixes, Positional, arg
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
except ImportError as error:
    raise ImportError("the command line needs tyro: pip install 'flam-env[train]'") from error

__all__ = ["COMMANDS", "OmitArgPrefixes", "Positional", "arg", "main", "preset_arguments", "run_command"]

COMMANDS = {
    "collect": "flam_train.collect:collect",
    "demonstrator": "flam_train.demonstrator:demonstrator",
    "reinforce": "flam_train.reinforce:reinforce",
    "tokenizer": "flam_train.tokenizer:tokenizer",
    "pack": "flam_train.commands.pack:pack",
    "world-model": "flam_train.world_model:world_model",
    "scheduled-sampling": "flam_train.scheduled_sampling:scheduled_sampling",
    "decoder": "flam_train.decoder:decoder",
    "label": "flam_train.label:label",
    "clone": "flam_train.clone:clone",
    "policies": "flam_train.policies.policies:policies",
    "policy-tables": "flam_train.policies.tables:policy_tables",
    "evaluate": "flam_train.evaluate.evaluate:evaluate",
    "demo": "flam_train.demo:demo",
    "dreams": "flam_train.dreams:dreams",
    "slots": "flam_train.slots:slots",
    "latent-map": "flam_train.latent_map:latent_map",
    "experiment": "flam_train.experiments.experiment:experiment",
    "tables": "flam_train.experiments.tables:tables",
}
"""Name of each command and the function behind it; modules are imported when their command is called."""

SUMMARIES = {
    "data": {
        "collect": "record episodes of a Procgen game or of a room of agents",
        "pack": "put what a world is trained and scored on into one small file",
    },
    "make a world": {
        "tokenizer": "learn frames <-> tokens",
        "world-model": "learn slots, latent actions and dynamics; the folder is a world from then on",
        "scheduled-sampling": "train dynamics further, so that longer dreams hold",
        "decoder": "learn real actions from a few labels",
        "evaluate": "score a world on held-out clips",
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
        "policies": "clone and play all arms of the comparison of policies",
        "policy-tables": "print what came of them",
    },
}
"""What each command does, grouped by what one wants to do."""

HELP = """\
usage: flam-train COMMAND ...

FLAM: learned simulators with one latent action per entity. `flam-train COMMAND --help` shows all settings of a command;
`--traceback`, or FLAM_TRACEBACK=1, shows where an error came from."""

SHORTCUTS = """\
--preset small|tiny|paper|rooms sets the defaults of all that follows; --minutes M trains for so long, instead of for a
number of steps."""

CONSTRUCTORS = ConstructorRegistry()
"""How values come out of words of the command line where tyro's own way is not enough."""


@CONSTRUCTORS.primitive_rule
def _integers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """A `tuple[int, ...]` with commas or spaces between its numbers: `--tied 0,1` or `--tied 0 1`."""
    if info.type != tuple[int, ...]:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[INT[,INT ...]]",
        instance_from_str=lambda words: tuple(map(int, " ".join(words).replace(",", " ").split())),
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(number, int) for number in value),
        str_from_instance=lambda numbers: list(map(str, numbers)),
    )


def main(arguments: list[str] | None = None) -> None:
    """`flam-train COMMAND ...`."""
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    command, *rest = sorted(arguments, key="--traceback".__eq__) or ["--help"]  # the flag may stand anywhere
    if command in ("-h", "--help"):
        print(command_list())
        sys.exit(0)
    if command not in COMMANDS:
        print(f"flam-train: expected a command of {list(COMMANDS)}, got {command!r}", file=sys.stderr)
        sys.exit(2)
    with _errors_in_one_line(f"flam-train {command}", shown="--traceback" in rest):
        module, name = COMMANDS[command].split(":")
        function = getattr(import_module(module), name)
    run_command(function, rest)


def command_list() -> str:
    """What `flam-train --help` says."""
    width = max(map(len, COMMANDS)) + 2
    groups = [
        "\n".join([f"{title}:", *(f"  {name:{width}}{summary}" for name, summary in commands.items())])
        for title, commands in SUMMARIES.items()
    ]
    return "\n\n".join([HELP, *groups])


def run_command(function: Callable[..., Any], arguments: list[str] | None = None) -> None:
    """Calls a function with what the command line says; a user's mistake becomes one line, not a traceback.

    A function with a parameter `fit_config` takes `--preset NAME`, which sets the defaults of the rest, and `--minutes
    M`, which trains for so long.
    """
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    program, description = f"flam-train {function.__name__.replace('_', '-')}", getdoc(function)
    if "fit_config" in signature(function).parameters:
        description = f"{description}\n\n{SHORTCUTS}"
    with _errors_in_one_line(program, shown="--traceback" in arguments):
        arguments = [argument for argument in arguments if argument != "--traceback"]
        function, arguments = _with_shortcuts(function, arguments, program)
        tyro.cli(function, args=arguments, prog=program, description=description, registry=CONSTRUCTORS)


@contextmanager
def _errors_in_one_line(program: str, *, shown: bool) -> Iterator[None]:
    """Ends the program with one line for an error that has a message for a user; shows the traceback if asked to."""
    try:
        yield
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if shown or os.environ.get("FLAM_TRACEBACK") not in (None, "", "0"):
            print_exception(error)
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        sys.exit(130)


def _with_shortcuts(
    function: Callable[..., Any], arguments: list[str], program: str
) -> tuple[Callable[..., Any], list[str]]:
    """The function with the defaults that `--preset` and `--minutes` set, and the arguments without these."""
    if "fit_config" not in signature(function).parameters:
        return function, arguments
    parser = ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", const="")
    parser.add_argument("--minutes", type=float)
    known, rest = parser.parse_known_args(arguments)
    defaults = {} if known.preset is None else preset_arguments(function, known.preset)
    if known.minutes is not None:
        given = defaults.get("fit_config", signature(function).parameters["fit_config"].default)
        defaults["fit_config"] = replace(given, steps=0, minutes=known.minutes)
    return partial(function, **defaults), rest


def preset_arguments(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The arguments of a training function (`tokenizer`, `world_model`, ...) that a preset sets.

    Raises:
        ValueError: there is no such preset.
    """
    from flam_train.presets import PRESETS

    if name not in PRESETS:
        raise ValueError(f"expected a preset of {sorted(PRESETS)}, got {name!r}")
    preset, phase = PRESETS[name], function.__name__
    sources = {"model": phase, "fit_config": f"{phase}_fit", "loss": "loss"}
    return {key: getattr(preset, source) for key, source in sources.items() if key in signature(function).parameters}


if __name__ == "__main__":
    main()
