"""What each arm learns from: frames of the demonstrations, and what it takes for the actions in them."""

from pathlib import Path

import numpy as np

from flam_train.data.labelled import LabelledTransitions, action_classes, all_labels, draw_labels
from flam_train.data.store import EpisodeStore
from flam_train.players.demonstrations import Demonstrations, read_frames
from flam_train.studies.policies.pseudo_labels import label_path, read_pseudo_labels
from flam_train.studies.policies.runs import ALL_LABELS, Run

HELD_OUT = 2048  # true pairs of the val split that a clone is compared with; nothing is chosen by them


def arm_demonstrations(run: Run, store: EpisodeStore, pseudo_labels: Path) -> Demonstrations:
    """The pairs of an arm.

    Args:
        run: its arm, labels and seed.
        store: of the demonstrations.
        pseudo_labels: folder that `make_pseudo_labels` filled.
    """
    actions = len(action_classes(store))
    every = all_labels(store, "train", actions=actions)
    if run.labels is None:
        assert run.arm == ALL_LABELS, "players learn nothing"
        return _demonstrations(store, "train", every)
    if run.arm != "vanilla":
        return _demonstrations(store, "train", every, read_pseudo_labels(label_path(pseudo_labels, run)).probabilities)
    labels = draw_labels(store, run.labels, actions=actions, seed=run.seed)
    return _demonstrations(store, "train", labels.take(np.argsort(labels.at)))


def held_out_demonstrations(store: EpisodeStore) -> Demonstrations:
    """True pairs of the val split, evenly spaced."""
    every = all_labels(store, "val", actions=len(action_classes(store)))
    rows = np.linspace(0, len(every), min(HELD_OUT, len(every)), endpoint=False).astype(np.int64)
    return _demonstrations(store, "val", every.take(rows))


def _demonstrations(
    store: EpisodeStore, split: str, labels: LabelledTransitions, acts: np.ndarray | None = None
) -> Demonstrations:
    frames = read_frames(store, split, labels.at)
    return Demonstrations(obs=frames, acts=labels.actions if acts is None else acts, episodes=labels.episodes)
