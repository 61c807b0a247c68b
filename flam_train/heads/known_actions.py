"""Transitions whose real action is known: the few labels that an action decoder learns from (paper 4.3).

In a store that knows few, an unknown action is -1, and episodes of plain video have none at all.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flam_env.validation import check_integer
from flam_train.sources.procgen.games import ACTION_CLASS
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeRecord
from flam_train.store.training_data import TrainingData

UNKNOWN = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTransitions:
    """P transitions of one split of a store.

    Attributes:
        at: P moments, the frame before each.
        actions: int64 (P,), the real action taken there.

    Raises:
        ValueError: moments and actions of different number.
    """

    at: Moments
    actions: np.ndarray

    def __post_init__(self):
        if len(self.at) != len(self.actions):
            raise ValueError(
                f"expected one label for each moment, got {len(self.actions)} labels for {len(self.at)} moments; give "
                "as many of both"
            )

    def __len__(self) -> int:
        return len(self.at)

    @property
    def episodes(self) -> np.ndarray:
        """int64 (P,), which of them belong to one episode."""
        return self.at.episodes

    def take(self, rows: np.ndarray) -> "LabelledTransitions":
        """Some of them, in the order of `rows`, int64 (R,)."""
        return LabelledTransitions(at=self.at.take(rows), actions=self.actions[rows])

    def followed_by(self, others: "LabelledTransitions") -> "LabelledTransitions":
        """These and others of the same episodes.

        Raises:
            ValueError: they are of other episodes.
        """
        return LabelledTransitions(
            at=self.at.followed_by(others.at), actions=np.concatenate([self.actions, others.actions])
        )


def all_labels(store: TrainingData, split: str, *, actions: int) -> LabelledTransitions:
    """All transitions of a split whose action is known, in the order of its frames.

    Raises:
        ValueError: there are none, or actions are of several agents, outside [0, actions), or not as many as frames.
    """
    records = store.episodes(split)
    found = [_read_actions(store, record, actions) for record in records]
    known = [np.flatnonzero(taken[:-1] != UNKNOWN) for taken in found]
    if sum(len(frames) for frames in known) == 0:
        raise ValueError(
            f"{store.root}: expected transitions with a known action in split {split!r}, got none; collect some first"
        )
    at = Moments(
        split=split,
        names=tuple(record.path.stem for record in records),
        episodes=np.repeat(np.arange(len(records)), [len(frames) for frames in known]),
        frames=np.concatenate(known),
    )
    taken = np.concatenate([taken[frames] for taken, frames in zip(found, known, strict=True)])
    return LabelledTransitions(at=at, actions=taken.astype(np.int64))


def _read_actions(store: TrainingData, record: EpisodeRecord, actions: int) -> np.ndarray:
    taken = store.annotations(record).actions
    if taken.shape[1:] == (0,):
        taken = np.full(len(taken), UNKNOWN)
    _check_actions(taken, record.frames, actions, record.path)
    return taken


def _check_actions(taken: np.ndarray, frames: int, actions: int, path: Path) -> None:
    if taken.ndim != 1:
        raise ValueError(f"{path}: expected the actions of one agent, got those of {taken.shape[1]}; use another store")
    if len(taken) != frames:
        raise ValueError(
            f"{path}: expected {frames} actions, one for each frame, got {len(taken)}; collect the episode again"
        )
    if taken.min() < UNKNOWN or taken.max() >= actions:
        raise ValueError(
            f"{path}: expected actions in [0, {actions - 1}], or {UNKNOWN} for unknown, got some in [{taken.min()}, "
            f"{taken.max()}]; tell how many real actions there are"
        )


def action_classes(store: TrainingData, actions: int | None = None) -> np.ndarray:
    """For each real action the one that stands for all those of equal effect, int64 (C,).

    Args:
        store: whose source may be a game that is known.
        actions: C, where it is none: then each action stands for itself.

    Raises:
        ValueError: C is below 1, not the known game's, or nobody knows it.
    """
    known = ACTION_CLASS.get(store.source.removeprefix("procgen/"))
    if known is not None and actions in (None, len(known)):
        return np.array(known, dtype=np.int64)
    if known is None and actions is not None:
        return np.arange(check_integer(actions, "the number of real actions", 1))
    wanted = f"{len(known)}, as {store.source} has" if known else f"told, as {store.source} is no game that is known"
    raise ValueError(f"{store.root}: expected the number of real actions {wanted}, got {actions}; give `actions`")
