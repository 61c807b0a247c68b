"""What latent actions say of known actions that are real numbers, such as how a car moved: a linear probe.

For each number the probe tells its value and its change since the transition before, of cars thus speed and
acceleration, and it is scored on episodes that it did not learn from. Beside it stands one on the slots of the frame
before, which tells what need not be said: a world that sees how fast it goes keeps that out of its latent actions.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flam_env.dream.dream import Dream
from flam_env.labelling.labeller import Labeller
from flam_env.models.action_spaces import CodebookActions
from flam_train.evaluate.simulator.velocity import ridge_predictions
from flam_train.heads.watching import watch
from flam_train.store.moments import Moments
from flam_train.store.training_data import TrainingData, token_splits

LEARNED, SCORED = 10_000, 4_000  # transitions, about: whole episodes are taken
KNOWN = "known_actions"  # the setting of a store that names the numbers


class Watched(NamedTuple):
    """P transitions as a world sees them, float64.

    states: (P, K, S), the slots of the frame before each; latent actions: (P, K, A); values: (P, V), what is known.
    """

    states: Tensor
    latent_actions: Tensor
    values: Tensor


def continuous_scores(dream: Dream, data: TrainingData, split: str, seed: int = 0) -> dict[str, Any]:
    """How much of known real-valued actions a linear probe tells that learned from the train split.

    Args:
        dream: of a world that infers latent actions.
        data: whose episodes have continuous actions.
        split: which is scored.
        seed: of the choice of episodes.

    Returns:
        transitions: how many are scored; values: by name, as `probe_scores`.

    Raises:
        ValueError: the model infers no actions, or nobody knows continuous ones of two transitions in a row.
    """
    labeller, tokens = Labeller(dream.world, str(dream.device)), token_splits(data, dream.tokenizer, dream.device)
    learned, scored = (
        _watched(labeller, tokens[part], *_some_known(data, part, count, seed))
        for part, count in (("train", LEARNED), (split, SCORED))
    )
    names = _names(data, learned.values.shape[1] // 2)
    probed = probe_scores(learned, scored)
    return {"transitions": len(scored.values), "values": dict(zip(names, probed, strict=True))}


def probe_scores(learned: Watched, scored: Watched) -> list[dict[str, float]]:
    """How much of each value linear probes tell.

    Returns:
        For each value: all_slots, best_slot: the share of its variance on what is scored that the latent actions of all
        slots, or of the one that tells most, explain (R2; below 0 where a constant would do better); slot: which that
        is, counted from 0; state: the share that the slots of the frame before explain; spread: its standard deviation.
    """
    slots, scores = learned.latent_actions.shape[1], list[dict[str, float]]()
    for value in range(learned.values.shape[1]):
        known = learned.values[:, value], scored.values[:, value]
        single = [_r2(learned.latent_actions[:, slot], scored.latent_actions[:, slot], *known) for slot in range(slots)]
        scores.append(
            {
                "all_slots": _r2(learned.latent_actions.flatten(1), scored.latent_actions.flatten(1), *known),
                "best_slot": max(single),
                "slot": int(np.argmax(single)),
                "state": _r2(learned.states.flatten(1), scored.states.flatten(1), *known),
                "spread": known[1].std(correction=0).item(),
            }
        )
    return scores


def known_changes(actions: np.ndarray) -> np.ndarray:
    """Actions (T, D) -> float64 (T, 2 D): each number, and how much more it is than a frame before, NaN in row 0."""
    values = actions.astype(np.float64)
    return np.concatenate([values, np.diff(values, axis=0, prepend=np.nan)], axis=1)


def _r2(inputs: Tensor, others: Tensor, values: Tensor, truth: Tensor) -> float:
    told = ridge_predictions(inputs, values, others)
    left, all_there_is = (truth - told).square().sum(), (truth - truth.mean()).square().sum()
    return (1 - left / all_there_is.clamp(min=1e-12)).item()


def _names(data: TrainingData, count: int) -> list[str]:
    """What the numbers are called, and their changes."""
    told = (data.settings.get(KNOWN) or {}).get("names", ())
    names = list(told) if len(told) == count else [f"number {i}" for i in range(count)]
    return names + [f"change of {name}" for name in names]


def _some_known(data: TrainingData, split: str, count: int, seed: int) -> tuple[Moments, Tensor]:
    """Transitions of episodes in random order, until there are so many, and what is known of them (P, V)."""
    records = data.episodes(split)
    actions = [data.annotations(record).continuous_actions for record in records]
    values = [np.full((0, 0), np.nan) if each is None else known_changes(each)[:-1] for each in actions]
    frames = [np.flatnonzero(np.isfinite(each).all(1)) if each.size else np.arange(0) for each in values]
    if not any(len(each) for each in frames):
        raise ValueError(
            f"{data.root}: expected known actions that are real numbers in split {split!r}, got none of two "
            "transitions in a row; take data that was imported or collected with them"
        )
    at = Moments(
        split=split,
        names=tuple(record.path.stem for record in records),
        episodes=np.repeat(np.arange(len(records)), [len(each) for each in frames]),
        frames=np.concatenate(frames),
    )
    known = np.concatenate([each[rows] for each, rows in zip(values, frames, strict=True) if len(rows)])
    chosen = at.some_episodes(count, seed)
    return at.take(chosen), torch.from_numpy(known[chosen])


def _watched(labeller: Labeller, tokens: Any, at: Moments, values: Tensor) -> Watched:
    slots, latent_actions, *_ = watch(labeller, tokens, at)
    if isinstance(labeller.world.model.actions, CodebookActions):
        latent_actions = one_hot(latent_actions.long(), labeller.world.model.actions.codes)
    return Watched(slots[:, 0].double(), latent_actions.double(), values)
