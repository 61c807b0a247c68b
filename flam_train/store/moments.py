"""Moments of the video in a store, named by episode and frame: a store that grows moves none of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flam_train.store.store import EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("reading episodes needs tqdm: pip install 'flam-env[train]'") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """P frames of one split.

    Attributes:
        split: train, val or test.
        names: E episodes, each once, by the names of their files without ending.
        episodes: int64 (P,), the episode of each, by its place in `names`.
        frames: int64 (P,), which frame of the episode it is.

    Raises:
        ValueError: arrays of different length, or a name twice.
    """

    split: str
    names: tuple[str, ...]
    episodes: np.ndarray
    frames: np.ndarray

    def __post_init__(self):
        if len(self.episodes) != len(self.frames) or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"expected one episode for each frame, and each name once, got {len(self.episodes)} episodes for "
                f"{len(self.frames)} frames and {len(set(self.names))} of {len(self.names)} names; name each by both"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, rows: np.ndarray) -> "Moments":
        """Some of them, in the order of `rows`, int64 (R,); all names stay."""
        return Moments(split=self.split, names=self.names, episodes=self.episodes[rows], frames=self.frames[rows])

    def followed_by(self, others: "Moments") -> "Moments":
        """These and others of the same split and names.

        Raises:
            ValueError: they have others.
        """
        if (self.split, self.names) != (others.split, others.names):
            raise ValueError(
                f"expected moments of the split {self.split} and of the same {len(self.names)} episodes, got some of "
                f"{others.split} and {len(others.names)}; take both from one list"
            )
        episodes, frames = (np.concatenate([getattr(m, n) for m in (self, others)]) for n in ("episodes", "frames"))
        return Moments(split=self.split, names=self.names, episodes=episodes, frames=frames)

    def some_episodes(self, count: int, seed: int) -> np.ndarray:
        """The rows of whole episodes in random order, until there are so many: int64 (R,), ascending."""
        numbers, lengths = np.unique(self.episodes, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(numbers))
        enough = np.searchsorted(lengths[order].cumsum(), count) + 1
        return np.flatnonzero(np.isin(self.episodes, numbers[order[:enough]]))

    def by_episode(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name of each episode that has some, and their rows, int64 (R,), in the order of their frames."""
        order = np.lexsort((self.frames, self.episodes))
        bounds = np.searchsorted(self.episodes[order], np.arange(len(self.names) + 1))
        for number in np.unique(self.episodes):
            yield self.names[number], order[bounds[number] : bounds[number + 1]]

    def same(self, other: "Moments") -> bool:
        """Whether both are of the same frames of episodes of the same names, in the same order."""
        return (
            (self.split, self.names) == (other.split, other.names)
            and np.array_equal(self.episodes, other.episodes)
            and np.array_equal(self.frames, other.frames)
        )


def read_clips(store: EpisodeStore, at: Moments, length: int = 1) -> np.ndarray:
    """The frames that begin with each moment, uint8 (P, length, H, W, 3), in the order of the moments.

    Raises:
        ValueError: an episode is no longer there, or ends before a clip does.
    """
    records = {record.path.stem: record for record in store.episodes(at.split)}
    clips = np.empty((len(at), length, store.size, store.size, 3), np.uint8)
    for name, rows in tqdm(at.by_episode(), desc="reading", unit=" episodes", leave=False, disable=None):
        if name not in records:
            raise ValueError(
                f"{store.root}: expected the episode {name} in split {at.split!r}, which was there before, got none; "
                "put it back, or begin anew"
            )
        first, last = at.frames[rows[[0, -1]]]
        frames = store.read_frames(records[name], int(first), int(last) + length)
        clips[rows] = frames[(at.frames[rows] - first)[:, None] + np.arange(length)]
    return clips
