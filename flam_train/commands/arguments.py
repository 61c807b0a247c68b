"""How the arguments of a function come from the command line, by tyro."""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter, Signature, getdoc, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

try:
    import tyro
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
except ImportError as error:
    raise ImportError("the command line needs tyro: pip install 'flam-env[train]'") from error

if TYPE_CHECKING:
    from flam_train.presets import Preset

Result = TypeVar("Result")
Presets = Callable[[Callable[..., Any], str], dict[str, Any]]
"""(function, name of a preset) -> the arguments of the function that the preset sets."""

SHORTCUTS = """\
--preset small|tiny|paper|rooms|gpu|nuplan|nuplan-small sets the defaults of all that follows; --minutes M trains for so
long, instead of for a number of steps."""

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


def call(
    function: Callable[..., Result],
    arguments: list[str],
    *positional: str,
    program: str | None = None,
    presets: Presets | None = None,
    **annotations: Any,
) -> Result:
    """Calls a function with what the command line says.

    A function with a parameter `fit_config` takes `--preset NAME`, which sets the defaults of the rest, and `--minutes
    M`, which trains for so long.

    Args:
        function: its docstring is the help.
        arguments: words of the command line after the command.
        *positional: parameters that are given without their name.
        program: what it is called, by default `flam-train` and the function's name.
        presets: as `preset_arguments`, which it is by default.
        **annotations: of parameters that tyro is to read otherwise.

    Returns:
        What the function returns.
    """
    program = program or f"flam-train {function.__name__.strip('_').replace('_', '-')}"
    description = getdoc(function)
    defaults: dict[str, Any] = {}
    if "fit_config" in signature(function).parameters:
        description = f"{description}\n\n{SHORTCUTS}"
        defaults, arguments = _shortcuts(function, arguments, program, presets or preset_arguments)
    shell = _annotated(function, positional, annotations, defaults)
    return tyro.cli(shell, args=arguments, prog=program, description=description, registry=CONSTRUCTORS)


def is_main_process() -> bool:
    """Whether this is the one of torchrun's processes that writes results, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _annotated(
    function: Callable[..., Result],
    positional: tuple[str, ...],
    annotations: dict[str, Any],
    defaults: dict[str, Any],
) -> Callable[..., Result]:
    """The function with other annotations and defaults."""
    hints: dict[str, Any] = get_type_hints(function, include_extras=True) | annotations
    hints |= {name: Annotated[hints[name], tyro.conf.Positional] for name in positional}

    def shell(*given: Any, **named: Any) -> Result:
        return function(*given, **named)

    def changed(parameter: Parameter) -> Parameter:
        default = defaults.get(parameter.name, parameter.default)
        return parameter.replace(annotation=hints[parameter.name], default=default)

    # Not functools.wraps, through which tyro would look at the function itself.
    shell.__doc__, shell.__annotations__ = function.__doc__, hints
    parameters = [changed(parameter) for parameter in signature(function).parameters.values()]
    shell.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return shell


def _shortcuts(
    function: Callable[..., Any], arguments: list[str], program: str, presets: Presets
) -> tuple[dict[str, Any], list[str]]:
    """The defaults that `--preset` and `--minutes` set, and the arguments without these."""
    parser = ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", const="")
    parser.add_argument("--minutes", type=float)
    known, rest = parser.parse_known_args(arguments)
    defaults = {} if known.preset is None else presets(function, known.preset)
    if known.minutes is not None:
        given = defaults.get("fit_config", signature(function).parameters["fit_config"].default)
        defaults["fit_config"] = replace(given, steps=0, minutes=known.minutes)
    return defaults, rest


def preset_arguments(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The arguments of a training function (`tokenizer`, `world_model`, ...) that a preset sets.

    Raises:
        ValueError: there is no such preset.
    """
    preset, phase = find_preset(name), function.__name__
    sources = {"model": phase, "fit_config": f"{phase}_fit", "loss": "loss"}
    return {key: getattr(preset, source) for key, source in sources.items() if key in signature(function).parameters}


def find_preset(name: str) -> "Preset":
    """The preset of that name.

    Raises:
        ValueError: there is none.
    """
    from flam_train.presets import PRESETS

    if name not in PRESETS:
        raise ValueError(f"expected a preset of {sorted(PRESETS)}, got {name!r}")
    return PRESETS[name]
