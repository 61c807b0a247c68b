"""What each arm learns from: frames of the demonstrations, and what it takes for the actions in them."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from flam_train.heads.draws import draw_labels
from flam_train.heads.known_actions import LabelledTransitions, action_classes, all_labels
from flam_train.players.demonstrations import Demonstrations
from flam_train.store.moments import Moments, read_clips
from flam_train.store.shared_frames import read_shared, shared_frames
from flam_train.store.store import EpisodeStore
from flam_train.studies.policies.pseudo_labels import label_path, read_pseudo_labels
from flam_train.studies.policies.runs import ALL_LABELS, PSEUDO, Run

HELD_OUT = 2048  # true pairs of the val split that a clone is compared with; nothing is chosen by them


def share_frames(store: EpisodeStore, path: Path) -> AbstractContextManager[None]:
    """Keeps all frames that arms learn from in a folder while the context is open: they are many GB."""
    return shared_frames(store, _every(store).at, path)


def arm_demonstrations(run: Run, store: EpisodeStore, pseudo_labels: Path, frames: Path) -> Demonstrations:
    """The pairs of an arm.

    Args:
        run: its arm, labels and seed.
        store: of the demonstrations.
        pseudo_labels: folder that `make_pseudo_labels` filled.
        frames: folder that `share_frames` keeps; those of an arm that takes all are read where they are.

    Raises:
        ValueError: `frames` lacks some, for the store has grown.
    """
    if run.arm in PSEUDO:
        told = read_pseudo_labels(label_path(pseudo_labels, run))
        return _demonstrations(read_shared(frames, told.at), told.at, told.probabilities)
    every = _every(store)
    if run.labels is None:
        assert run.arm == ALL_LABELS, "players learn nothing"
        return _demonstrations(read_shared(frames, every.at), every.at, every.actions)
    labels = every.take(np.sort(draw_labels(every, run.labels, seed=run.seed)))
    return _demonstrations(read_shared(frames, labels.at), labels.at, labels.actions)


def held_out_demonstrations(store: EpisodeStore) -> Demonstrations:
    """True pairs of the val split, evenly spaced."""
    every = all_labels(store, "val", actions=len(action_classes(store)))
    rows = np.linspace(0, len(every), min(HELD_OUT, len(every)), endpoint=False).astype(np.int64)
    labels = every.take(rows)
    return _demonstrations(read_clips(store, labels.at)[:, 0], labels.at, labels.actions)


def _demonstrations(frames: np.ndarray, at: Moments, acts: np.ndarray) -> Demonstrations:
    return Demonstrations(obs=frames, acts=acts, episodes=at.episodes)


def _every(store: EpisodeStore) -> LabelledTransitions:
    return all_labels(store, "train", actions=len(action_classes(store)))
