"""Clips of real video with their pixels, drawn from a store or from what a pack holds of it."""

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from flam_train.store.store import EpisodeRecord
from flam_train.store.taken import known_actions
from flam_train.store.training_data import TrainingData


@dataclass(frozen=True)
class Clips:
    """Clips that lie within one episode each: frames uint8 (B, T, H, W, 3), and who played.

    known: int64 (B, T) or (B, T, agents), what was done at each frame, None where it was not asked for.
    """

    frames: np.ndarray
    agents: tuple[str, ...]
    known: Tensor | None = field(default=None, kw_only=True)

    @property
    def count(self) -> int:
        """B."""
        return len(self.frames)


def draw_clips(data: TrainingData, split: str, count: int, length: int, seed: int = 0, *, known: bool = False) -> Clips:
    """Clips from random places of a split, fewer if it has not as many; the same for the same seed.

    A pack gives those that its store would, as far as it holds them, and then others that it holds. Known actions come
    along if they are asked for.

    Raises:
        ValueError: no episode of the split has that many frames, the pack holds no clip of so many, or actions are
            asked for that nobody knows.
    """
    drawn = draw_places(data, split, count, length, seed)
    frames = np.stack([data.read_frames(record, start, start + length) for record, start in drawn])
    actions = None
    if known:
        done = [known_actions(data, record)[start : start + length] for record, start in drawn]
        actions = torch.from_numpy(np.stack(done))
    return Clips(frames, tuple(record.agent for record, _ in drawn), known=actions)


def draw_places(
    data: TrainingData, split: str, count: int, length: int, seed: int = 0
) -> list[tuple[EpisodeRecord, int]]:
    """Where the clips of `draw_clips` lie: the episode and the first frame of each.

    Raises:
        ValueError: as for `draw_clips`.
    """
    check_length(data, split, length)
    places = [(r, s) for r in data.episodes(split) for s in range(0, r.frames - length + 1, length // 2)]
    order = np.random.default_rng(seed).permutation(len(places))
    held = (i for i in order if data.has_frames(places[i][0], places[i][1], places[i][1] + length))
    chosen = sorted(islice(held, count))
    if not chosen:
        raise ValueError(
            f"{data.root}: expected real clips of {length} frames of split {split!r}, the pack has none; take the "
            f"store, or make a pack with --clip-frames {length}"
        )
    return [places[i] for i in chosen]


def check_length(data: TrainingData, split: str, length: int) -> None:
    """Raises a ValueError unless some episode of the split has so many frames."""
    if not any(record.frames >= length for record in data.episodes(split)):
        raise ValueError(f"{data.root}: expected an episode of {length} frames in split {split!r}, found none")
