"""Few labels are more when frames are mirrored: what went left then went right, and its action is the one for right."""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from flam_env.heads.action_decoder import Transitions
from flam_env.labelling.labeller import Labeller
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.sources.procgen.games import MIRRORS
from flam_train.store.moments import Moments, read_clips
from flam_train.store.store import EpisodeStore
from flam_train.store.training_data import TrainingData

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("watching episodes needs tqdm: pip install 'flam-env[train]'") from error

Mirrors = Mapping[int, tuple[int, ...]]
"""By axis of a frame (0 rows, 1 columns): what each action becomes when frames are mirrored along it."""

MOST = 10_000
"""Mirrored transitions that a world watches, at most."""
READ_AT_ONCE, SEEN_AT_ONCE = 512, 16


def known_mirrors(source: str, actions: int) -> Mirrors:
    """The mirrors under which a source's video stays what it is; none where nobody knows.

    Args:
        source: of a store, as procgen/bigfish.
        actions: number of real actions; another than the game's is another meaning of them.
    """
    found = MIRRORS.get(source.removeprefix("procgen/"), {})
    return {axis: becomes for axis, becomes in found.items() if len(becomes) == actions}


def mirrored(before: Tensor, after: Tensor, actions: Tensor, mirrors: Mirrors) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair of frames uint8 (B, H, W, 3) and its action, mirrored along each axis half of the time.

    Actions are int64 (B,), or (B, C) where it is known how likely each is.
    """
    for axis, becomes in mirrors.items():
        chosen = torch.rand(len(actions), device=actions.device) < 0.5
        before, after = (_flipped(frames, chosen, axis) for frames in (before, after))
        other = torch.tensor(becomes, device=actions.device)  # a mirror undoes itself
        if actions.ndim == 1:
            actions = torch.where(chosen, other[actions], actions)
        else:
            actions = torch.where(chosen[:, None], actions[:, other], actions)
    return before, after, actions


def _flipped(frames: Tensor, chosen: Tensor, axis: int) -> Tensor:
    return torch.where(chosen[:, None, None, None], frames.flip(1 + axis), frames)


def with_mirrored(
    labeller: Labeller,
    data: TrainingData,
    seen: Transitions,
    labels: LabelledTransitions,
    mirrors: Mirrors,
    *,
    seed: int,
) -> tuple[Transitions, LabelledTransitions]:
    """What a world saw of labelled transitions, and what it sees of them in mirrors: as of `watch_in_mirrors`.

    A pack has not the frames for that, and adds nothing.
    """
    if not (mirrors and isinstance(data, EpisodeStore)):
        return seen, labels
    more, others = watch_in_mirrors(labeller, data, labels, mirrors, seed=seed)
    return Transitions.join([seen, more]), labels.followed_by(others)


def watch_in_mirrors(
    labeller: Labeller, store: EpisodeStore, labels: LabelledTransitions, mirrors: Mirrors, *, seed: int
) -> tuple[Transitions, LabelledTransitions]:
    """Sees labelled transitions mirrored in every way, each after the window of frames before it.

    Args:
        labeller: of the world that watches.
        store: has the frames.
        labels: P transitions.
        mirrors: along which they are mirrored: one axis, the other, both.
        seed: of the draw, where these are more than `MOST`.

    Returns:
        M transitions, stored, and their labels, each at the moment that it is the mirror of.

    Raises:
        ValueError: as for `read_clips`.
    """
    ways = [axes for count in range(1, len(mirrors) + 1) for axes in combinations(mirrors, count)]
    drawn = np.random.default_rng(seed).permutation(len(ways) * len(labels))[:MOST]
    way, rows = np.divmod(drawn, max(len(labels), 1))
    at, actions = labels.at.take(rows), labels.actions[rows]
    earlier = np.minimum(at.frames, labeller.world.model.window - 1)
    seen, order = [], []
    with tqdm(total=len(drawn), desc="watching in mirrors", leave=False, disable=None) as bar:
        for (number, axes), length in product(enumerate(ways), np.unique(earlier)):
            chosen = np.flatnonzero((way == number) & (earlier == length))
            for axis in axes:
                actions[chosen] = np.array(mirrors[axis])[actions[chosen]]
            for piece in np.array_split(chosen, -(-len(chosen) // READ_AT_ONCE)) if len(chosen) else ():
                clips = np.flip(_clips_until(store, at.take(piece), int(length)), [2 + axis for axis in axes])
                seen.append(_last_seen(labeller, clips))
                order.append(piece)
                bar.update(len(piece))
    back = torch.from_numpy(np.argsort(np.concatenate(order)))
    return Transitions.join(seen).at(back), LabelledTransitions(at=at, actions=actions)


def _clips_until(store: EpisodeStore, at: Moments, earlier: int) -> np.ndarray:
    """Frames uint8 (P, earlier + 2, H, W, 3) that end with the one after each moment."""
    first = Moments(split=at.split, names=at.names, episodes=at.episodes, frames=at.frames - earlier)
    return read_clips(store, first, earlier + 2)


def _last_seen(labeller: Labeller, clips: np.ndarray) -> Transitions:
    """The last transition of each of the clips (P, T, H, W, 3), stored."""
    seen = []
    for part in np.array_split(clips, -(-len(clips) // SEEN_AT_ONCE)):
        tokens = labeller.dream.encode(np.ascontiguousarray(part.reshape(-1, *part.shape[2:])))
        _, around = labeller.follow(None, tokens.reshape(*part.shape[:2], -1))
        seen.append(around.at((slice(None), -1)).stored())
    return Transitions.join(seen)
