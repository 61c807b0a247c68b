"""The command line: every command is a thin shell over a function of the same name and defaults."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import getdoc, signature
from typing import Any

from flam_train.allocator import restart_with_huge_pages

try:
    import tyro
    from tyro.conf import OmitArgPrefixes, Positional
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
except ImportError as error:
    raise ImportError("the command line needs tyro: pip install 'flam-env[train]'") from error

__all__ = ["COMMANDS", "OmitArgPrefixes", "Positional", "main", "preset_arguments", "run_command"]

COMMANDS = {
    "collect": "flam_train.collect:collect",
    "demonstrator": "flam_train.players.dagger:demonstrator",
    "reinforce": "flam_train.players.ppo:reinforce",
    "tokenizer": "flam_train.tokenizer:tokenizer",
    "world-model": "flam_train.world_model:world_model",
    "scheduled-sampling": "flam_train.scheduled_sampling:scheduled_sampling",
    "decoder": "flam_train.decoder:decoder",
    "label": "flam_train.label:label",
    "clone": "flam_train.clone:clone",
    "policies": "flam_train.studies.policies.policies:policies",
    "policy-tables": "flam_train.studies.policies.tables:policy_tables",
    "evaluate": "flam_train.evaluate.evaluate:evaluate",
    "demo": "flam_train.demo:demo",
    "dreams": "flam_train.dreams:dreams",
    "slots": "flam_train.slots:slots",
    "latent-map": "flam_train.latent_map:latent_map",
    "experiment": "flam_train.studies.rooms.experiment:experiment",
    "tables": "flam_train.studies.rooms.tables:tables",
}
"""Name of each command and the function behind it; modules are imported when their command is called."""

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
    if not arguments or arguments[0] in ("-h", "--help"):
        print("\n".join(["FLAM: learned simulators; commands:", *(f"  flam-train {name} --help" for name in COMMANDS)]))
        sys.exit(0)
    if arguments[0] not in COMMANDS:
        print(f"flam-train: expected a command of {list(COMMANDS)}, got {arguments[0]!r}", file=sys.stderr)
        sys.exit(2)
    module, name = COMMANDS[arguments[0]].split(":")
    try:
        function = getattr(import_module(module), name)
    except ImportError as error:
        print(f"flam-train {arguments[0]}: {error}", file=sys.stderr)
        sys.exit(2)
    run_command(function, arguments[1:])


def run_command(function: Callable[..., Any], arguments: list[str] | None = None) -> None:
    """Calls a function with what the command line says; a user's mistake becomes one line, not a traceback.

    A function with a parameter `fit_config` takes `--preset NAME`, which sets the defaults of the rest.
    """
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    program = f"flam-train {function.__name__.replace('_', '-')}"
    description = getdoc(function)
    if "fit_config" in signature(function).parameters:
        description = f"{description}\n\n--preset small|tiny|paper|rooms sets the defaults of all that follows."
    try:
        function, arguments = _with_preset(function, list(arguments))
        tyro.cli(function, args=arguments, prog=program, description=description, registry=CONSTRUCTORS)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        sys.exit(130)


def _with_preset(function: Callable[..., Any], arguments: list[str]) -> tuple[Callable[..., Any], list[str]]:
    """The function with the defaults of the preset that the arguments name, and the arguments without the preset."""
    if "fit_config" not in signature(function).parameters:
        return function, arguments
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", const="")
    known, rest = parser.parse_known_args(arguments)
    return (function if known.preset is None else partial(function, **preset_arguments(function, known.preset))), rest


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
