"""What was really done at each frame, for models that take known actions instead of inferring latent ones."""

import numpy as np

from flam_train.store.store import EpisodeRecord
from flam_train.store.training_data import TrainingData


def known_actions(data: TrainingData, record: EpisodeRecord) -> np.ndarray:
    """The actions of an episode, int64 (T,), or (T, agents) where several act.

    Raises:
        ValueError: some of them are not known.
    """
    taken = data.annotations(record).actions
    if taken.shape[1:] == (0,) or (taken[:-1] < 0).any():  # nothing follows the last frame
        raise ValueError(
            f"{record.path}: expected an episode whose actions are all known, got one of which some are not; take data "
            "that was collected with its actions, or a model that infers them"
        )
    return taken.astype(np.int64).clip(min=0)


def split_actions(data: TrainingData, split: str) -> np.ndarray:
    """The actions of all episodes of a split after one another, as its tokens lie: int64 (F,) or (F, agents).

    Raises:
        ValueError: some of them are not known, or not all episodes have as many agents.
    """
    found = [known_actions(data, record) for record in data.episodes(split)]
    if len(agents := {taken.shape[1:] for taken in found}) > 1:
        raise ValueError(
            f"{data.root}: expected episodes with equally many agents in split {split!r}, got {sorted(agents)}; take "
            "data of one kind"
        )
    return np.concatenate(found)
