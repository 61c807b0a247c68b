"""Do slots hold entities, and the same ones over time? Beside what tiles would get, which never follow anything."""

import math
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from flam_env.dream.dream import Dream, slot_owners
from flam_train.evaluate.entities import find_entities
from flam_train.evaluate.rollouts import encoded_clips
from flam_train.evaluate.rooms.cell_probe import import_assignment
from flam_train.evaluate.steering import changed_inside_share
from flam_train.store.clips import Clips

HELD = 0.5  # least share of an entity's pixels that the slot has which owns it
PURE = 0.7  # least share of the entity in what that slot has of all entities
TILINGS = (1, 2, 4, 8)  # tiles along a side
STEPS = 16


class Holding(NamedTuple):
    """How slots hold the entities of clips.

    own: share of entities, of all frames, that one slot has for itself; identity: IDF1 of slots as tracks of entities.
    """

    own: float
    identity: float


def holding(entities: np.ndarray, slots: np.ndarray) -> Holding:
    """Scores which slot each pixel belongs to, against which entity.

    An entity is owned in a frame if one slot has at least half of its pixels and these are at least .7 of all pixels
    of entities that the slot has. IDF1 pairs each entity with one slot for the whole clip: twice the frames in which
    the slot owns its entity, over the number of entities in all frames plus that of slots which own any.

    Args:
        entities: int64 (B, T, H, W), 0 for none, numbered within each clip.
        slots: int64 (B, T, H, W), -1 for none.

    Returns:
        Both in [0, 1], NaN where no clip shows an entity.

    Raises:
        ValueError: shapes that differ.
        ImportError: SciPy is missing.
    """
    if entities.shape != slots.shape or entities.ndim != 4:
        raise ValueError(f"expected entities and slots (B, T, H, W), got {entities.shape} and {slots.shape}")
    assign = import_assignment()
    shown = owned = claimed = followed = 0
    for overlap in map(_overlaps, entities, slots):
        area, had = overlap.sum(2), overlap[..., 1:].sum(1)
        owns = (overlap[..., 1:] >= HELD * area[..., None]) & (overlap[..., 1:] >= PURE * had[:, None])
        owns &= overlap[..., 1:] > 0
        shown, owned = shown + (area > 0).sum(), owned + owns.any(2).sum()
        claimed += owns.any(1).sum()
        frames = owns.sum(0)
        followed += frames[assign(-frames)].sum()
    if not shown:
        return Holding(math.nan, math.nan)
    return Holding(float(owned / shown), float(2 * followed / (shown + claimed)))


def _overlaps(entities: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Pixels (T, H, W) that entities and slots have in common: int64 (T, M, 1 + K), at 0 those of no slot."""
    frames, things, owners = len(entities), entities.max() + 1, slots.max() + 2
    place = (np.arange(frames)[:, None, None] * things + entities) * owners + slots + 1
    counts = np.bincount(place.ravel(), minlength=frames * things * owners)
    return counts.reshape(frames, things, owners)[:, 1:]


def slots_of_pixels(masks: Tensor, height: int, width: int) -> np.ndarray:
    """The slot of the largest share in each pixel.

    Args:
        masks: float (B, T, K, cells) of a square grid, or (B, T, K, H, W).
        height: of the frames in pixels, a multiple of the cells.
        width: of the frames.

    Returns:
        int64 (B, T, H, W), -1 where a background sink took more than any slot.
    """
    if masks.ndim == 4:
        masks = masks.unflatten(-1, (math.isqrt(masks.shape[-1]),) * 2)
    rows, columns = masks.shape[-2:]
    if height % rows or width % columns:
        raise ValueError(f"expected masks whose cells fill frames of {height} x {width} px, got {rows} x {columns}")
    slots = slot_owners(masks.flatten(0, 1)).unflatten(0, masks.shape[:2])
    return slots.repeat_interleave(height // rows, -2).repeat_interleave(width // columns, -1).cpu().numpy()


def tiles(height: int, width: int, side: int) -> np.ndarray:
    """A fixed tiling in the place of slots, `side` tiles high and wide: int64 (H, W)."""
    rows, columns = (np.arange(pixels) * side // pixels for pixels in (height, width))
    return rows[:, None] * side + columns


def best_tilings(entities: np.ndarray) -> Holding:
    """The best own and the best identity that any of `TILINGS` gets of entities int64 (B, T, H, W)."""
    height, width = entities.shape[2:]
    fixed = [holding(entities, np.broadcast_to(tiles(height, width, side), entities.shape)) for side in TILINGS]
    return Holding(max(tiling.own for tiling in fixed), max(tiling.identity for tiling in fixed))


def entities_by_cells(entities: np.ndarray, side: int) -> np.ndarray:
    """What slots would have that hold every entity by itself, each cell going whole to the one it shows most of.

    How well they score says what is lost to cells alone, however good the slots are.

    Args:
        entities: int64 (B, T, H, W), 0 for none.
        side: cells along each side of a frame.

    Returns:
        int64 (B, T, H, W), -1 for none.
    """
    cells = rearrange(entities, "b t (y h) (x w) -> b t y x (h w)", y=side, x=side)
    pixels = np.stack([(cells == number).sum(-1) for number in range(entities.max() + 1)], -1)
    pixels[..., 0] = 0  # what shows none goes to the first, which is none
    owners = pixels.argmax(-1) - 1
    return owners.repeat(entities.shape[2] // side, 2).repeat(entities.shape[3] // side, 3)


def way_from(tiling: float, score: float) -> float:
    """Share of the way from the best tiling to 1; negative below the tiling, NaN where tiles are perfect."""
    return (score - tiling) / (1 - tiling) if tiling < 1 else math.nan


@torch.inference_mode()
def entity_scores(
    dream: Dream, clips: Clips, entities: np.ndarray | None = None, steps: int = STEPS, seed: int = 0
) -> dict[str, float]:
    """What slots hold in real clips, for reports.

    Args:
        dream: of the world.
        clips: of which entities are followed; scored are the frames after the context.
        entities: int64 (B, T, H, W), those of the clips; by default `find_entities`.
        steps: scored frames, or as many as there are.
        seed: of the changed actions.

    Returns:
        own, identity: as `holding` says; own_of_tiles, identity_of_tiles: the best of fixed tilings;
        own_above_tiles, identity_above_tiles: share of the way from there to 1; own_of_cells, identity_of_cells: of
        `entities_by_cells`, the most that masks as coarse as these let one hope for; entities: in a frame; of models
        with several slots also changed_inside: as `changed_inside_share` says.
    """
    first, (height, width) = dream.world.settings.context, clips.frames.shape[2:4]
    entities = find_entities(clips.frames) if entities is None else entities
    entities = entities[:, first : first + steps]
    masks = [dream.model.observe(tokens).masks[:, first : first + steps] for _, tokens in encoded_clips(dream, clips)]
    slots, fixed = holding(entities, slots_of_pixels(torch.cat(masks), height, width)), best_tilings(entities)
    cells = holding(entities, entities_by_cells(entities, math.isqrt(masks[0][0, 0, 0].numel())))
    scores = {
        "own": slots.own,
        "own_of_tiles": fixed.own,
        "own_above_tiles": way_from(fixed.own, slots.own),
        "own_of_cells": cells.own,
        "identity": slots.identity,
        "identity_of_tiles": fixed.identity,
        "identity_above_tiles": way_from(fixed.identity, slots.identity),
        "identity_of_cells": cells.identity,
        "entities": float(
            np.mean([len(np.unique(frame)) - 1 for frame in rearrange(entities, "b t h w -> (b t) h w")])
        ),
    }
    if dream.model.actions.slots > 1:
        scores["changed_inside"] = changed_inside_share(dream, clips, seed)
    return scores
