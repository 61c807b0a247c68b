"""Rooms whose truth is known: clips with the places of their agents, and what a world sees in whole episodes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from flam_env.dream import Dream, slot_owners
from flam_train.data.episode import Episode
from flam_train.data.multigrid import RoomConfig
from flam_train.data.store import EpisodeRecord, EpisodeStore
from flam_train.evaluate.clips import Clips, draw_places

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
    background sink; latent_actions: (E, T - 1, K, A), means in action units, as a labeller gives them; positions: int64
    (E, T, agents, 2); directions, actions: int64 (E, T, agents).
    """

    slots: Tensor
    owners: Tensor
    latent_actions: Tensor
    positions: Tensor
    directions: Tensor
    actions: Tensor


def holds_rooms(store: EpisodeStore) -> bool:
    """Whether the truth about a store's frames is known."""
    return "room" in store.settings


def find_room(store: EpisodeStore) -> RoomConfig:
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


def draw_room_clips(store: EpisodeStore, split: str, count: int, length: int, seed: int = 0) -> RoomClips:
    """The clips that `draw_clips` draws, with their truth.

    Raises:
        ValueError: the store holds no rooms, or no episode of the split has that many frames.
    """
    find_room(store)
    return _read_room_clips(store, draw_places(store, split, count, length, seed), length)


@torch.inference_mode()
def watch_rooms(dream: Dream, store: EpisodeStore, split: str, frames: int, seed: int = 0) -> Seen:
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
    seen = []
    for index in tqdm(np.sort(chosen), desc="watching", unit=" episodes", leave=False, disable=None):
        clip = _read_room_clips(store, [(records[index], 0)], length)
        watched = dream.model.observe(dream.encode(clip.frames[0])[None])
        owners = owning_slots(watched.masks[0].cpu(), clip.positions[0], room.cells)[None]
        latent_actions = dream.units.from_model(dream.model.infer(watched).mode).cpu()
        truth = clip.positions, clip.directions, clip.actions
        seen.append(Seen(watched.slots.cpu(), owners, latent_actions, *truth))
    return Seen(*(torch.cat(parts) for parts in zip(*seen, strict=True)))


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


def _read_room_clips(store: EpisodeStore, places: Sequence[tuple[EpisodeRecord, int]], length: int) -> RoomClips:
    room, episodes = find_room(store), [store.read(record) for record, _ in places]
    for episode, (record, _) in zip(episodes, places, strict=True):
        _check_truth(episode, record, room)
    spans = [slice(start, start + length) for _, start in places]
    cut = list(zip(episodes, spans, strict=True))

    def integers(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.int64))

    return RoomClips(
        frames=np.stack([episode.frames[span] for episode, span in cut]),
        agents=tuple(episode.agent for episode in episodes),
        room=room,
        level_seeds=tuple(episode.level_seed for episode in episodes),
        positions=integers([episode.truth["positions"][span] for episode, span in cut]),
        directions=integers([episode.truth["directions"][span] for episode, span in cut]),
        actions=integers([episode.actions[span] for episode, span in cut]),
    )


def _check_truth(episode: Episode, record: EpisodeRecord, room: RoomConfig) -> None:
    found = {name: array.shape for name, array in episode.truth.items()} | {"actions": episode.actions.shape}
    each = (record.frames, room.agents)
    wanted = {"positions": (*each, 2), "directions": each, "actions": each}
    if any(found.get(name) != shape for name, shape in wanted.items()):
        raise ValueError(f"{record.path}: expected {wanted}, got {found}; collect the rooms again")
