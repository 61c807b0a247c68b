"""Held-out clips with their pixels."""

from dataclasses import dataclass

import numpy as np

from flam_train.data.store import EpisodeRecord, EpisodeStore


@dataclass(frozen=True)
class Clips:
    """Clips that lie within one episode each: frames uint8 (B, T, H, W, 3), and who played."""

    frames: np.ndarray
    agents: tuple[str, ...]

    @property
    def count(self) -> int:
        """B."""
        return len(self.frames)


def draw_clips(store: EpisodeStore, split: str, count: int, length: int, seed: int = 0) -> Clips:
    """Clips from random places of a split, fewer if it has not as many; the same for the same seed.

    Raises:
        ValueError: no episode of the split has that many frames.
    """
    drawn = draw_places(store, split, count, length, seed)
    frames = np.stack([store.read_frames(record, start, start + length) for record, start in drawn])
    return Clips(frames, tuple(record.agent for record, _ in drawn))


def draw_places(
    store: EpisodeStore, split: str, count: int, length: int, seed: int = 0
) -> list[tuple[EpisodeRecord, int]]:
    """Where the clips of `draw_clips` lie: the episode and the first frame of each.

    Raises:
        ValueError: no episode of the split has that many frames.
    """
    places = [(r, s) for r in store.episodes(split) for s in range(0, r.frames - length + 1, length // 2)]
    if not places:
        raise ValueError(f"{store.root}: expected an episode of {length} frames in split {split!r}, found none")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(places))[:count])
    return [places[i] for i in chosen]
