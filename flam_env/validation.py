"""Checks of what users give: integers in a range, and the fields of a config against their types."""

from dataclasses import fields
from inspect import formatannotation
from numbers import Integral
from typing import Any, Literal, get_args, get_origin


def check_integer(given: Any, name: str, lowest: int, highest: int | None = None) -> int:
    """The integer that was given, as a Python int.

    Raises:
        ValueError: it is no integer (a bool is none), or lies outside [lowest, highest].
    """
    inside = isinstance(given, Integral) and not isinstance(given, bool) and int(given) >= lowest
    if not inside or (highest is not None and given > highest):
        bounds = f"of at least {lowest}" if highest is None else f"in [{lowest}, {highest}]"
        raise ValueError(f"expected {name} to be an integer {bounds}, got {given!r}")
    return int(given)


def check_fields(config: Any) -> None:
    """Checks every field of a config dataclass: its type as annotated, and integers, which are sizes, at least 1.

    Raises:
        ValueError: a field is none of these.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if not _fits(value, field.type):
            kind = formatannotation(field.type)
            raise ValueError(f"expected {field.name} of {type(config).__name__} to be {kind}, got {value!r}")
        if field.type is int:
            check_integer(value, f"{field.name} of {type(config).__name__}", 1)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type: a class, where float takes int, a tuple of any length, or a Literal."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(entry, get_args(kind)[0]) for entry in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
