"""Losses of the steps between two log lines, kept on the device so that a step never waits for a number."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

OWN_NAMES = frozenset({"loss", "gradient_norm", "learning_rate", "frames_per_second", "step", "time"})
"""Names in metrics.jsonl that a loss may not give to its terms."""


class NonFiniteLossError(FloatingPointError):
    """The loss or its gradient became NaN or infinite; the last checkpoint is from before."""


class Window:
    """Collects scalars step by step and averages them when a log line is due.

    Args:
        checkpoint: the file that the error for a non-finite loss points to.
    """

    def __init__(self, checkpoint: Path):
        self._checkpoint = checkpoint
        self._rows: dict[str, list[Tensor]] = {}

    @property
    def steps(self) -> int:
        """Steps collected since the last `close`."""
        return len(self._rows.get("loss", ()))

    def add(self, loss: Tensor, norm: Tensor, terms: dict[str, Tensor]) -> None:
        """Notes one step's loss, gradient norm and terms: scalars, under the same names in every step.

        Raises:
            ValueError: if a term is no scalar, or its name is the engine's own or new within the window.
        """
        values = {"loss": loss, "gradient_norm": norm, **terms}
        if not OWN_NAMES.isdisjoint(terms):
            raise ValueError(f"expected loss terms with names other than {sorted(OWN_NAMES)}, got {[*terms]}")
        if self._rows and self._rows.keys() != values.keys():
            raise ValueError(
                f"expected the same loss terms in every step, {[*self._rows]}, got {[*values]}; "
                "give a term that does not apply as zero"
            )
        for name, value in values.items():
            if value.ndim:
                raise ValueError(f"expected scalar loss terms, got {name} of shape {tuple(value.shape)}")
            self._rows.setdefault(name, []).append(value.detach())

    def close(self, step: int, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Returns the averages since the last call and starts anew. This is where the device is waited for.

        Args:
            step: optimiser steps done, for the error.
            reduce: averages a tensor over processes.

        Raises:
            NonFiniteLossError: naming the first step whose loss or gradient norm was NaN or infinite.
        """
        device = self._rows["loss"][0].device
        rows = [torch.stack(values).to(device, torch.float32) for values in self._rows.values()]
        named = dict(zip(self._rows, reduce(torch.stack(rows)).tolist(), strict=True))
        self._rows = {}
        self._require_finite(step, named["loss"], named["gradient_norm"])
        return {name: sum(values) / len(values) for name, values in named.items()}

    def _require_finite(self, step: int, losses: list[float], norms: list[float]) -> None:
        for index, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise NonFiniteLossError(
                    f"expected a finite loss and gradient, got loss {loss} and gradient norm {norm} in step "
                    f"{step - len(losses) + index}; {self._checkpoint} holds the last good checkpoint; start "
                    "again in another folder with a lower learning rate, more warm-up steps or precision fp32"
                )
