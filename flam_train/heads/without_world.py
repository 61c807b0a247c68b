"""What labels alone are worth, beside a decoder that reads a world: two models of one make that see frames."""

from pathlib import Path

import numpy as np
import torch

from flam_train.heads.inverse_model import SupervisedInverse
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.learning import action_scores, all_logits
from flam_train.heads.models import FramePairs, LabelLearning, frame_pairs, learn_supervised
from flam_train.store.store import EpisodeStore
from flam_train.store.training_data import TrainingData


def learn_without_world(
    pairs: FramePairs,
    labels: LabelledTransitions,
    learning: LabelLearning,
    logs: Path,
    *,
    unlabelled: FramePairs | None = None,
) -> dict[str, SupervisedInverse]:
    """Models that tell actions from frames, by what reports call them; arguments and errors as of `learn_supervised`.

    Args:
        pairs: frames before and after.
        labels: of these.
        learning: how.
        logs: folder of their runs, which are resumed.
        unlabelled: pairs that `supervised` then teaches itself.

    Returns:
        supervised, which sees a frame and the next one; state_only, which sees the first of them twice.
    """
    before, after = pairs
    inverse = logs / "supervised_inverse"
    return {
        "supervised": learn_supervised((before, after), labels, learning, inverse, unlabelled=unlabelled),
        "state_only": learn_supervised((before, before), labels, learning, logs / "state_only"),
    }


def scores_without_world(
    models: dict[str, SupervisedInverse], data: TrainingData, scored: LabelledTransitions, classes: np.ndarray
) -> dict[str, dict[str, float]]:
    """Scores of such models on labels of a store; none of none, whatever the data."""
    if not models:
        return {}
    assert isinstance(data, EpisodeStore), data
    before, after = frame_pairs(data, scored.at)
    seen = {"supervised": (before, after), "state_only": (before, before)}
    actions = torch.from_numpy(scored.actions)
    return {name: action_scores(all_logits(model, seen[name]), actions, classes) for name, model in models.items()}
