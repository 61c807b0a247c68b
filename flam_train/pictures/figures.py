"""Maps and curves: matplotlib and UMAP, which only those need who draw."""

import io
from importlib import import_module
from types import ModuleType
from typing import Any


def import_viz(name: str) -> ModuleType:
    """A module of the extra `viz`.

    Raises:
        ImportError: it is missing; the message names the remedy.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"maps and curves need umap-learn and matplotlib ({error}); install them with: pip install 'flam-env[viz]'"
        ) from error


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of 100 pixels to the unit.

    Raises:
        ImportError: matplotlib is missing.
    """
    return import_viz("matplotlib.figure").Figure(figsize=(width, height), dpi=100, layout="constrained")


def png_of(figure: Any) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
