"""What the worlds of each game have that the preset has not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flam_train.evaluate.evaluate import Metric

SIMULATOR: tuple[Metric, ...] = ("slots", "velocity", "horizon")


@dataclass(frozen=True, kw_only=True)
class GameOptions:
    """Changes of a preset for one source of video, and what its worlds are scored on beside the default."""

    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `WorldModelConfig`."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `WorldModelLossConfig`."""
    metrics: tuple[Metric, ...] = ()


BOUND = {"background_sink": True, "focus": True, "difference": True, "persistence": 2.5}
"""What makes slots hold whole things that move about, and keep them."""
SPRITES = GameOptions(model=BOUND, loss={"information_price": 0.6}, metrics=SIMULATOR)
"""A dear nat besides: a latent action then says what is decided, and dreams hold."""
CELLS = {"group": 1, "slots": 4, "cell_context": False, "sharpness": 1.0}

GAMES = {
    "procgen/bigfish": SPRITES,
    "procgen/starpilot": SPRITES,
    "procgen/leaper": SPRITES,
    "multigrid": GameOptions(model=BOUND | CELLS, loss={"free_share": 0.1}),
}
"""By the source that a pack names; the worlds of other sources are those of the preset."""
