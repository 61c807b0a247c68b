"""Early stopping: the weights that did best on what is held out, and how long ago that was."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Ends a run that no longer improves, and makes its best weights the result.

    Attributes:
        metric: of the evaluation; the lower, the better.
        patience: evaluations without a new best value after which the run ends; 0 runs to the end of the budget.
    """

    metric: str
    patience: int

    def __post_init__(self):
        if self.patience < 0:
            raise ValueError(f"expected patience >= 0, got {self.patience}; 0 never stops early")


class BestSoFar:
    """The best evaluation of a run: part of its state, so that a resumed run stops where it would have."""

    def __init__(self, stopping: EarlyStopping):
        self.stopping = stopping
        self.value, self.step, self.waited = math.inf, 0, 0
        self.weights: dict[str, Tensor] = {}

    @property
    def stopped(self) -> bool:
        """Whether the run has waited for long enough."""
        return 0 < self.stopping.patience <= self.waited

    def look(self, value: float, step: int, weights: Callable[[], dict[str, Tensor]]) -> None:
        """Notes the value of an evaluation, and the weights if none was better; NaN is worse than any."""
        if value < self.value:
            self.value, self.step, self.waited, self.weights = value, step, 0, weights()
        else:
            self.waited += 1

    def header(self) -> dict[str, Any]:
        """All but the weights, JSON-able."""
        value = self.value if math.isfinite(self.value) else None
        return {"value": value, "step": self.step, "waited": self.waited, "stopped": self.stopped}

    def restore(self, header: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Takes back what `header` gave, and the weights that belong to it."""
        self.value = math.inf if header["value"] is None else header["value"]
        self.step, self.waited, self.weights = header["step"], header["waited"], weights
