"""Real or dream? A small network learns to tell windows of dreams from windows of the real video of the same steps.

At an AUC of .5 nothing tells them apart.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits

from flam_env.video.frames import to_float
from flam_train.engine import FitConfig, Progress
from flam_train.engine.examples import fit_examples, split_episodes
from flam_train.evaluate.simulator.long_dreams import STRETCHES, LongDreams, Steps

FRAMES, SIDE = 8, 64  # of a window; larger frames are shrunk to this side before the network sees them
NETWORKS, HELD_OUT = 3, 0.5  # each network has its own half of the levels to be tested on
FIT = FitConfig(steps=200, batch_size=32, learning_rate=2e-3, warmup_steps=20, decay_share=0.5, ema=0.95, log_every=100)
CHUNK = 256


class RealOrDream(nn.Module):
    """Convolutions over the frames of a window and their differences; the average and the highest of what they find."""

    def __init__(self, width: int = 32):
        super().__init__()
        channels = (3 * (2 * FRAMES - 1), width, 2 * width, 2 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(2 * channels[-1], 1)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows uint8 (B, 8, H, W, 3) -> logits (B,), high where they look dreamt."""
        pictures = to_float(rearrange(windows, "b t h w c -> (b t) h w c"), windows.device)
        if max(pictures.shape[-2:]) > SIDE:
            pictures = adaptive_avg_pool2d(pictures, SIDE)
        pictures = pictures.unflatten(0, (len(windows), FRAMES)) - 0.5
        seen = torch.cat([pictures, 4 * pictures.diff(dim=1)], 1)
        found = self.trunk(rearrange(seen, "b t c h w -> b (t c) h w"))
        return self.head(torch.cat([found.mean((-2, -1)), found.amax((-2, -1))], -1))[:, 0]


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive has the higher score than a negative, ties counted half.

    Args:
        scores: (P,).
        labels: bool (P,), the positives.

    Raises:
        ValueError: all are positives, or none is.
    """
    labels = np.asarray(labels, bool)
    positives, negatives = scores[labels], np.sort(scores[~labels])
    if not (len(positives) and len(negatives)):
        raise ValueError(f"expected positives and negatives, got {len(positives)} of {len(labels)}; give some of both")
    below, up_to = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(negatives)))


def tell_apart(real: Tensor, dreamt: Tensor, groups: np.ndarray, seed: int, config: FitConfig = FIT) -> float:
    """Fits a network to tell windows of half of the groups apart, and tests it on the other half.

    Args:
        real: uint8 (P, 8, H, W, 3).
        dreamt: of the same shape, row by row of the same groups.
        groups: integers (P,), e.g. levels; none is in both halves.
        seed: of the halves, the network and its training.
        config: budget and optimiser, of any seed.

    Returns:
        AUC on the half held out, .5 where the two are alike; under it only by chance.

    Raises:
        ValueError: windows of another shape or number than the groups, or all of one group.
    """
    if not (real.shape == dreamt.shape and real.shape[:2] == (len(groups), FRAMES)):
        raise ValueError(
            f"expected as many real and dreamt windows of {FRAMES} frames as groups, got {tuple(real.shape)}, "
            f"{tuple(dreamt.shape)} and {len(groups)}; take both at the same steps of the same starts"
        )
    windows, labels = torch.cat([real, dreamt]), torch.arange(2 * len(real)) >= len(real)
    learned, held_out = split_episodes(np.concatenate([groups, groups]), HELD_OUT, seed)
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        network = RealOrDream()
        fit_examples(
            network,
            _loss,
            lambda rows: {"windows": windows[rows], "labels": labels[rows]},
            learned,
            replace(config, seed=seed),
            Path(folder) / "real-or-dream",
            vary=_mirrored,
        )
    return auc(_logits(network, windows[held_out]), labels[held_out].numpy())


class Told(NamedTuple):
    """AUC of several networks: mean, and standard deviation of one."""

    mean: float
    spread: float


def told_apart(real: Tensor, dreamt: Tensor, groups: np.ndarray, seed: int = 0, config: FitConfig = FIT) -> Told:
    """`tell_apart` with three networks, each tested on other groups."""
    each = [tell_apart(real, dreamt, groups, seed + number, config) for number in range(NETWORKS)]
    return Told(float(np.mean(each)), float(np.std(each, ddof=1)))


def cut_windows(videos: np.ndarray, steps: Steps) -> Tensor:
    """Videos (B, 1 + H, ...) -> the windows of a stretch, one after another: (B, W, 8, ...).

    Raises:
        ValueError: the stretch is shorter than a window, or longer than the videos.
    """
    first, last = steps
    if not (first >= 1 and first + FRAMES - 1 <= last < videos.shape[1]):
        raise ValueError(
            f"expected a stretch of at least {FRAMES} steps out of 1 to {videos.shape[1] - 1}, got {first} to {last}; "
            "dream longer or score fewer steps"
        )
    count = (last - first + 1) // FRAMES
    stretch = torch.from_numpy(videos[:, first : first + count * FRAMES])
    return stretch.unflatten(1, (count, FRAMES))


def realism(
    dreams: LongDreams, stretches: Sequence[Steps] = STRETCHES, seed: int = 0, config: FitConfig = FIT
) -> list[Told]:
    """How well dreams are told from real video, stretch by stretch.

    Raises:
        ValueError: as for `cut_windows`, or all dreams are of one level.
    """
    told = []
    for steps in stretches:
        real, dreamt = cut_windows(dreams.real, steps), cut_windows(dreams.dreamt, steps)
        groups = np.repeat(dreams.levels, real.shape[1])
        told.append(told_apart(real.flatten(0, 1), dreamt.flatten(0, 1), groups, seed, config))
    return told


def _loss(network: nn.Module, batch: dict[str, Tensor], _: Progress) -> tuple[Tensor, dict[str, Any]]:
    logits = network(batch["windows"]).float()
    return binary_cross_entropy_with_logits(logits, batch["labels"].float()), {}


def _mirrored(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Half of the windows upside down, half of them with left and right exchanged."""
    windows = batch["windows"]
    for axis in (2, 3):
        turned = torch.randint(2, (len(windows), 1, 1, 1, 1), generator=generator).bool()
        windows = torch.where(turned, windows.flip(axis), windows)
    return batch | {"windows": windows}


@torch.no_grad()
def _logits(network: nn.Module, windows: Tensor) -> np.ndarray:
    device = next(network.parameters()).device
    network.eval()
    return torch.cat([network(part.to(device)).cpu() for part in windows.split(CHUNK)]).numpy()
