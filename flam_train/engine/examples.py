"""Learning from examples that are in memory: some are drawn for each step, others say how good the network is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flam_train.engine.batches import Batch
from flam_train.engine.loop import FitResult, fit
from flam_train.engine.plan import FitConfig, Loss

Take = Callable[[np.ndarray], dict[str, Tensor]]
"""Examples by their rows, int64 (B,) -> (B, ...) by name, on the CPU."""


def fit_examples(
    network: nn.Module,
    loss: Loss,
    take: Take,
    rows: np.ndarray,
    config: FitConfig,
    out: Path,
    *,
    vary: Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]] = lambda batch, _: batch,
    **settings: Any,
) -> FitResult:
    """Fits a network to examples that are drawn evenly, and leaves it with the weights that are the result.

    Args:
        network: what learns.
        loss: as for `fit`.
        take: gives examples.
        rows: int64 (P,), the examples to learn from.
        config: budget and optimiser.
        out: folder of the run, which is resumed.
        vary: changes the examples of a batch; the generator decides.
        settings: as for `fit`, whose errors it raises.
    """

    def batches(generator: torch.Generator, count: int) -> Batch:
        drawn = torch.randint(len(rows), (count,), generator=generator)
        return vary(take(rows[drawn.numpy()]), generator)

    result = fit(network, loss, batches, config, out, **settings)
    network.load_state_dict(result.ema)
    return result


def mean_scores(
    network: nn.Module,
    score: Callable[[Any, Any], Mapping[str, Tensor]],
    take: Take,
    rows: np.ndarray,
    *,
    at_once: int,
) -> dict[str, float]:
    """Scores a network on examples.

    Args:
        network: is not changed; batches go to its device.
        score: of the network and a batch, means over the batch by name.
        take: gives examples.
        rows: int64 (P,), the examples to score it on.
        at_once: examples in a batch.

    Returns:
        Means over all examples.
    """
    device, sums = next(network.parameters()).device, dict[str, float]()
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        scores = score(network, {name: values.to(device) for name, values in take(part).items()})
        sums = {name: sums.get(name, 0.0) + value.item() * len(part) for name, value in scores.items()}
    return {name: total / len(rows) for name, total in sums.items()}


def split_episodes(episodes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to hold out, int64: a share of the episodes, at least one, is held out whole.

    Neighbouring frames are nearly equal, so single pairs that are held out would flatter.

    Args:
        episodes: integers (P,), the episode of each row.
        share: of the episodes.
        seed: decides which.

    Raises:
        ValueError: the share is not between 0 and 1, or there are fewer than two episodes.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share of the episodes between 0 and 1 to hold out, got {share}; 0.1 is usual")
    numbers = np.unique(episodes)
    if len(numbers) < 2:
        raise ValueError(
            f"expected at least two episodes, to hold one out, got {len(numbers)}; give more, or say which row is of "
            "which"
        )
    count = min(max(1, round(share * len(numbers))), len(numbers) - 1)
    chosen = np.random.default_rng(seed).permutation(numbers)[:count]
    held_out = np.isin(episodes, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
