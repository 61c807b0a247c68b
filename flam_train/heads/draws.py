"""Which transitions are labelled: drawn evenly, the same for all that learn from them."""

from dataclasses import dataclass

import numpy as np

from flam_train.heads.known_actions import LabelledTransitions, action_classes, all_labels
from flam_train.store.moments import Moments
from flam_train.store.training_data import TrainingData

SCORED = 10_000  # held-out transitions that are scored on, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Supervision:
    """All that is known of real actions in an experiment.

    Attributes:
        learned: labels of the train split.
        scored: labels of the val split, only to be scored on.
        classes: int64 (C,), for each real action the one that stands for all those of equal effect.
    """

    learned: LabelledTransitions
    scored: LabelledTransitions
    classes: np.ndarray


def supervise(store: TrainingData, labels: int, *, actions: int | None, seed: int) -> Supervision:
    """Draws `labels` transitions to learn from, and up to 10 000 to score on.

    Args:
        store: of episodes with the actions of one agent.
        labels: as for `draw_labels`.
        actions: C; None for what the source of the store is known to have.
        seed: of both draws.

    Raises:
        ValueError: as for `draw_labels`, or nobody knows how many real actions there are.
    """
    classes = action_classes(store, actions)
    every = all_labels(store, "train", actions=len(classes))
    learned = every.take(draw_labels(every, labels, seed=seed))
    return Supervision(learned=learned, scored=scored_labels(store, actions=len(classes), seed=seed), classes=classes)


def scored_labels(store: TrainingData, *, actions: int, seed: int) -> LabelledTransitions:
    """Up to 10 000 labels of the val split in random order; errors as of `all_labels`."""
    held_out = all_labels(store, "val", actions=actions)
    return held_out.take(np.random.default_rng(seed).permutation(len(held_out))[:SCORED])


def draw_labels(every: LabelledTransitions, count: int, *, seed: int) -> np.ndarray:
    """Draws transitions uniformly over all episodes of a split, in random order.

    The draw depends on these transitions and the seed only, and a smaller one is the beginning of a larger one: all
    arms of an experiment that name the same seed and count learn from the same labels.

    Args:
        every: P transitions, as `all_labels` finds them.
        count: number of labels.
        seed: of the draw.

    Returns:
        Their rows, int64 (count,).

    Raises:
        ValueError: more labels than transitions, or fewer than there are different actions.
    """
    occurring = len(np.unique(every.actions))
    if not occurring <= count <= len(every):
        raise ValueError(
            f"expected between {occurring} labels, one for each real action that occurs in split {every.at.split!r}, "
            f"and {len(every)}, one for each transition, got {count}; change the number of labels"
        )
    return np.random.default_rng(seed).permutation(len(every))[:count]


def draw_unlabelled(store: TrainingData, split: str, known: LabelledTransitions, count: int, *, seed: int) -> Moments:
    """Draws transitions of a split uniformly, in random order, but none of those whose label is known.

    Args:
        store: what they are of.
        split: of which.
        known: of the same store and split.
        count: how many at most; there may be fewer.
        seed: of the draw.
    """
    records = store.episodes(split)
    names = tuple(record.path.stem for record in records)
    first = np.cumsum([0, *(record.frames for record in records)])
    last_ones = first[1:] - 1
    place = {name: number for number, name in enumerate(names)}
    labelled = first[[place[known.at.names[number]] for number in known.episodes]] + known.at.frames
    free = np.setdiff1d(np.arange(first[-1]), np.concatenate([last_ones, labelled]))
    drawn = np.random.default_rng(seed).permutation(free)[:count]
    episodes = np.searchsorted(first, drawn, side="right") - 1
    return Moments(split=split, names=names, episodes=episodes, frames=drawn - first[episodes])
