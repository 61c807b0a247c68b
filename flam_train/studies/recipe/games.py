"""What the worlds of each game have that the preset has not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flam_train.evaluate.evaluate import Metric
from flam_train.presets import BOUND

SIMULATOR: tuple[Metric, ...] = ("slots", "velocity", "horizon")


@dataclass(frozen=True, kw_only=True)
class GameOptions:
    """Changes of a preset for one source of video, and what its worlds are scored on beside the default."""

    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `WorldModelConfig`."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `WorldModelLossConfig`."""
    metrics: tuple[Metric, ...] = ()


SPRITES = GameOptions(metrics=SIMULATOR)
CELLS = {"group": 1, "slots": 4, "cell_context": False, "sharpness": 1.0}
CHEAP = {"information_price": 0.15, "free_share": 0.1}
"""In rooms a nat is one from the unit normal, and not dear: each agent decides something in every frame."""

GAMES = {
    "procgen/bigfish": SPRITES,
    "procgen/starpilot": SPRITES,
    "procgen/leaper": SPRITES,
    "multigrid": GameOptions(model=BOUND | CELLS | {"prior_components": None}, loss=CHEAP),
}
"""By the source that a pack names; the worlds of other sources are those of the preset."""
