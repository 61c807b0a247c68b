"""Pairs of observation and action, as arrays: what a policy is cloned from, wherever they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flam_env.warn import warn_user
from flam_train.store.store import Episode, EpisodeRecord, EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("reading episodes needs tqdm: pip install 'flam-env[train]'") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Demonstrations:
    """P pairs of what somebody saw and what they did there; the names are those of `imitation`.

    This is where pseudo labels enter: put the frames in `obs` and what an action decoder says of them in `acts`.

    Attributes:
        obs: observations (P, ...) of the policy's space; images uint8, (P, H, W, C) or (P, C, H, W). An array is read
            where it is, never copied, so a memory map is welcome.
        acts: actions (P, ...) of the action space, integers (P,) where it is discrete; or there also soft labels:
            probabilities float (P, number of actions), each row with sum 1.
        episodes: integers (P,), which pairs belong to one episode; None where nobody knows.

    Each may also be given as a list, a tensor or what else NumPy can make an array of, such as an HDF5 data set, which
    is read into memory.

    Raises:
        ValueError: no pairs at all, arrays of different length, or what is no array of numbers.
    """

    obs: np.ndarray
    acts: np.ndarray
    episodes: np.ndarray | None = None

    def __post_init__(self):
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: _array(name, values) for name, values in given.items() if values is not None}
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        lengths = [len(array) for array in arrays.values()]
        if len(set(lengths)) > 1:
            raise ValueError(
                "expected as many observations as actions (and episode numbers), got "
                f"{' and '.join(map(str, lengths))}; give one action for each observation"
            )
        if lengths[0] == 0:
            raise ValueError("expected at least one pair of observation and action, got none; give more demonstrations")

    def __len__(self) -> int:
        return len(self.acts)


def _array(name: str, values: Any) -> np.ndarray:
    """What somebody gave as an array of numbers (P, ...); an array stays where it is."""
    if hasattr(values, "detach"):  # a tensor, perhaps on another device or with a gradient
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"expected {name} as an array (P, ...), got {type(values).__name__}: {error}") from error
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"expected {name} as an array of numbers (P, ...), got {type(values).__name__} with {array.dtype} "
            f"{array.shape}; give one row for each pair"
        )
    return array


Told = Literal["true", "pseudo"]
"""Who tells the actions in a store: the player, or the world that watched, as probabilities."""


def read_demonstrations(
    store: EpisodeStore,
    split: str,
    *,
    agent: str | None = "planner",
    pairs: int = 200_000,
    spread: bool = False,
    labels: Told = "true",
) -> Demonstrations:
    """Reads frames and actions of a store into memory; 200 000 pairs of 64 px are 2.5 GB, and quick to draw from.

    Args:
        store: where the episodes are.
        split: train, val or test.
        agent: whose episodes; None for everybody's.
        pairs: at most so many.
        spread: take them at even spacing over all episodes; by default the first episodes are taken whole, and the
            last one is cut: what labelling so many frames of video would give.
        labels: actions as they were, or as `flam-train label` took them; it tells none for the last frame.

    Warns:
        UserWarning: episodes at the end are left out, as there are more pairs.

    Raises:
        ValueError: there is no such episode, actions are unknown or of several agents, nobody told pseudo labels, or
            `pairs` is below 1.
    """
    records = [record for record in store.episodes(split) if agent in (None, record.agent)]
    total = sum(_pairs_in(record, labels) for record in records)
    if not total or pairs < 1:
        raise ValueError(
            f"{store.root}: expected episodes of {agent or 'anybody'} in split {split!r} and pairs >= 1, got "
            f"{len(records)} episodes and {pairs} pairs; collect some, or name another agent"
        )
    if pairs < total and not spread:
        warn_user(
            f"{store.root}: taking the first {pairs:,} of {total:,} pairs in split {split!r}; ask for more `pairs` to "
            "take all"
        )
    rows = np.linspace(0, total, min(pairs, total), endpoint=False).astype(np.int64)
    rows = rows if spread else np.arange(min(pairs, total))
    return _read_pairs(store, records, rows, labels)


def _read_pairs(store: EpisodeStore, records: Sequence[EpisodeRecord], rows: np.ndarray, told: Told) -> Demonstrations:
    """Pairs of ascending rows, counted over all pairs of these episodes after one another."""
    frames = np.empty((len(rows), store.size, store.size, 3), np.uint8)
    acts, episodes = list[np.ndarray](), np.empty(len(rows), np.int64)
    start = done = 0
    for number, record in enumerate(tqdm(records, desc="reading", unit=" episodes", leave=False, disable=None)):
        inside = rows[done : np.searchsorted(rows, start + _pairs_in(record, told))] - start
        if len(inside):
            part = slice(done, done + len(inside))
            episode = store.read(record)
            actions = _true_actions(episode, record.path) if told == "true" else _pseudo_labels(episode, record.path)
            frames[part], episodes[part] = episode.frames[inside], number
            acts.append(actions[inside])
        start, done = start + _pairs_in(record, told), done + len(inside)
    return Demonstrations(obs=frames, acts=np.concatenate(acts), episodes=episodes)


def _pairs_in(record: EpisodeRecord, told: Told) -> int:
    return record.frames if told == "true" else record.frames - 1


def _pseudo_labels(episode: Episode, path: Path) -> np.ndarray:
    if episode.labels is None or episode.labels.action_probabilities is None:
        raise ValueError(
            f"{path}: expected real actions that a world told, got none; label the store with `flam-train label` and a "
            "world that has an action decoder"
        )
    return episode.labels.action_probabilities


def _true_actions(episode: Episode, path: Path) -> np.ndarray:
    actions = episode.actions
    if actions.ndim != 1:
        known = f"those of {actions.shape[1]} agents" if actions.shape[1] else "none, as of plain video"
        raise ValueError(
            f"{path}: expected the actions of one agent, got {known}; put frames and labels of "
            "your own in Demonstrations"
        )
    return actions.astype(np.int64)


def confident_rows(demonstrations: Demonstrations, threshold: float) -> np.ndarray:
    """Rows of the pairs, int64, whose soft labels give the most likely action at least this probability; 0 takes all.

    Raises:
        ValueError: no pair is that certain.
    """
    if threshold == 0:
        return np.arange(len(demonstrations))
    certainty = demonstrations.acts.max(axis=1)
    rows = np.flatnonzero(certainty >= threshold)
    if not len(rows):
        raise ValueError(
            f"expected at least one pair with confidence {threshold} or more, got at most {certainty.max():.4g}; "
            "lower the threshold"
        )
    return rows
