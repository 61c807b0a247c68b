"""Rooms whose truth is known: clips with the places of their agents, and what a world sees in whole episodes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from flam_env.dream.dream import Dream, slot_owners
from flam_env.models.action_spaces import CodebookActions
from flam_env.models.protocol import Observed
from flam_train.sources.multigrid import RoomConfig
from flam_train.store.clips import Clips, draw_places
from flam_train.store.episode import Episode
from flam_train.store.store import EpisodeRecord
from flam_train.store.training_data import TrainingData, episode_tokens

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("watching rooms needs tqdm: pip install 'flam-env[train]'") from error


@dataclass(frozen=True)
class RoomClips(Clips):
    """Clips of rooms.

    positions: int64 (B, T, agents, 2), cells (x, y); directions, actions: int64 (B, T, agents), the action taken at
    frames[:, t]; level_seeds: of the episodes, in which agents may have colours of their own.
    """

    room: RoomConfig
    level_seeds: tuple[int, ...]
    positions: Tensor
    directions: Tensor
    actions: Tensor


class Seen(NamedTuple):
    """What a world sees in E episodes of T frames, and what is really there; all on the CPU.

    slots: (E, T, K, S); owners: int64 (E, T, agents), the slot whose mask owns the cell of each agent, -1 for the
    background sink; latent_actions: (E, T - 1, K, A), means in action units, as a labeller gives them, or one-hot,
    None where the world infers none; positions: int64 (E, T, agents, 2); directions, actions: int64 (E, T, agents).
    """

    slots: Tensor
    owners: Tensor
    latent_actions: Tensor | None
    positions: Tensor
    directions: Tensor
    actions: Tensor


def holds_rooms(store: TrainingData) -> bool:
    """Whether the truth about a store's frames is known."""
    return "room" in store.settings


def find_room(store: TrainingData) -> RoomConfig:
    """Who is in the rooms of a store.

    Raises:
        ValueError: it holds no rooms.
    """
    if not holds_rooms(store):
        raise ValueError(
            f"{store.root}: expected rooms whose truth is known, got {store.source}; "
            "name a store of `flam-train collect multigrid`"
        )
    settings = store.settings["room"]
    return RoomConfig(**settings | {"tied": tuple(settings["tied"])})


def draw_room_clips(store: TrainingData, split: str, count: int, length: int, seed: int = 0) -> RoomClips:
    """The clips that `draw_clips` draws, with their truth.

    Raises:
        ValueError: the store holds no rooms, or no episode of the split has that many frames.
    """
    room, drawn = find_room(store), draw_places(store, split, count, length, seed)
    truth = _read_truth(store, drawn, length)
    return RoomClips(
        np.stack([store.read_frames(record, start, start + length) for record, start in drawn]),
        tuple(record.agent for record, _ in drawn),
        room,
        tuple(record.level_seed for record, _ in drawn),
        *truth,
        known=truth[-1],
    )


@torch.inference_mode()
def watch_rooms(dream: Dream, store: TrainingData, split: str, frames: int, seed: int = 0) -> Seen:
    """Shows episodes of a split to a world, about `frames` frames in all or as many as there are.

    Episodes are shown from their start, all as long as the shortest, in one pass each.

    Raises:
        ValueError: the store holds no rooms, or the split no episode of at least two frames.
    """
    room, records = find_room(store), store.episodes(split)
    length = min((record.frames for record in records), default=0)
    if length < 2:
        raise ValueError(f"{store.root}: expected episodes of 2 frames or more in split {split!r}, got {length} frames")
    chosen = np.random.default_rng(seed).permutation(len(records))[: math.ceil(frames / length)]
    seen = list[Seen]()
    for index in tqdm(np.sort(chosen), desc="watching", unit=" episodes", leave=False, disable=None):
        truth = _read_truth(store, [(records[index], 0)], length)
        watched = dream.model.observe(episode_tokens(store, records[index], length, dream.tokenizer)[None])
        owners = owning_slots(watched.masks[0].cpu(), truth[0][0], room.cells)[None]
        seen.append(Seen(watched.slots.cpu(), owners, _latent_actions(dream, watched), *truth))
    joined: list[Any] = [None if parts[0] is None else torch.cat(parts) for parts in zip(*seen, strict=True)]
    return Seen(*joined)


def _latent_actions(dream: Dream, watched: Observed) -> Tensor | None:
    """As `Seen` has them, of clips that were observed."""
    actions = dream.model.actions
    if not actions.inferred:
        return None
    inferred = dream.units.from_model(dream.model.infer(watched).mode).cpu()
    return one_hot(inferred, actions.codes).float() if isinstance(actions, CodebookActions) else inferred


def owning_slots(masks: Tensor, positions: Tensor, cells: int) -> Tensor:
    """The slot that has the largest share of each agent's cell.

    Args:
        masks: (T, K, N) of square frames, the shares of slots at each of N places, and a background sink's what is
            missing to 1; they are averaged over the places within a cell of the room, or shared by the cells within a
            place.
        positions: int64 (T, agents, 2), cells (x, y).
        cells: of the room along one side.

    Returns:
        int64 (T, agents), -1 where the background sink has the largest share.
    """
    side = math.isqrt(masks.shape[-1])
    owner = slot_owners(adaptive_avg_pool2d(masks.unflatten(-1, (side, side)), cells))
    x, y = positions.unbind(-1)
    return owner[torch.arange(len(owner))[:, None], y, x]


def _read_truth(
    store: TrainingData, places: Sequence[tuple[EpisodeRecord, int]], length: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, directions and actions of clips, as `RoomClips` has them."""
    room, found = find_room(store), list[list[np.ndarray]]()
    for record, start in places:
        episode = store.annotations(record)
        _check_truth(episode, record, room)
        whole = episode.truth["positions"], episode.truth["directions"], episode.actions
        found.append([array[start : start + length].astype(np.int64) for array in whole])
    positions, directions, actions = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*found, strict=True))
    return positions, directions, actions


def _check_truth(episode: Episode, record: EpisodeRecord, room: RoomConfig) -> None:
    found = {name: array.shape for name, array in episode.truth.items()} | {"actions": episode.actions.shape}
    each = (record.frames, room.agents)
    wanted = {"positions": (*each, 2), "directions": each, "actions": each}
    if any(found.get(name) != shape for name, shape in wanted.items()):
        raise ValueError(f"{record.path}: expected {wanted}, got {found}; collect the rooms again")
