"""What can be labelled, such as the episodes of a store; frames are read bit by bit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from flam_train.store.episode import read_episode
from flam_train.store.store import SPLITS, Episode, EpisodeRecord, EpisodeStore

READ_FRAMES = 256


@dataclass(frozen=True)
class Unlabelled:
    """A video that becomes a labelled episode.

    Attributes:
        split: where the episode belongs.
        name: of the episode, without ending; the same for the same video whatever else is labelled.
        length: number of frames, None if that is not known before they are read.
        frames: reads them one by one, uint8 (H, W, 3).
        facts: all else that an episode of so many frames holds; its own frames are none of the video's.
    """

    split: str
    name: str
    length: int | None
    frames: Callable[[], Iterator[np.ndarray]]
    facts: Callable[[int], Episode]


def episodes(store: EpisodeStore) -> list[Unlabelled]:
    """One for each episode, in its own split and under its own name."""
    return [
        Unlabelled(
            split,
            record.path.stem,
            record.frames,
            partial(_stored_frames, store, record),
            partial(_stored_facts, record),
        )
        for split in SPLITS
        for record in store.episodes(split)
    ]


def missing_episodes(found: list[Unlabelled], store: EpisodeStore) -> list[Unlabelled]:
    """Those that a labelled store does not hold yet; what it holds under the name of one must be this one.

    Raises:
        ValueError: another was labelled into it before, e.g. of another store.
    """
    held = {(record.split, record.path.stem): record for split in store.splits for record in store.episodes(split)}
    for each in found:
        record = held.get((each.split, each.name))
        if record is not None and not _same(each, record):
            raise ValueError(
                f"expected {record.path} to be the episode of that name that is to be labelled, got another one; label "
                "each store into a folder of its own"
            )
    return [each for each in found if (each.split, each.name) not in held]


def _same(unlabelled: Unlabelled, record: EpisodeRecord) -> bool:
    """Whether an episode has the length, the player, the level, the actions and the rewards of another."""
    if record.frames != unlabelled.length:
        return False
    one, other = unlabelled.facts(record.frames), read_episode(record.path, frames=slice(0, 0))
    arrays = ((one.actions, other.actions), (one.rewards, other.rewards))
    plain = (one.agent, one.level_seed, one.terminated) == (other.agent, other.level_seed, other.terminated)
    return plain and all(np.array_equal(*pair) for pair in arrays)


def _stored_facts(record: EpisodeRecord, length: int) -> Episode:
    assert length == record.frames
    return read_episode(record.path, frames=slice(0, 0))


def _stored_frames(store: EpisodeStore, record: EpisodeRecord) -> Iterator[np.ndarray]:
    for start in range(0, record.frames, READ_FRAMES):
        yield from store.read_frames(record, start, min(start + READ_FRAMES, record.frames))
