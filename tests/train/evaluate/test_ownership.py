"""Slots that hold planted entities perfectly, by halves, together, or in turns."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_train.evaluate.entities import find_entities
from flam_train.evaluate.ownership import (
    best_tilings,
    entities_by_cells,
    entity_scores,
    holding,
    slots_of_pixels,
    tiles,
    way_from,
)
from flam_train.store.clips import Clips

FRAMES, SIZE = 10, 32


def still(*places: tuple[int, int], side: int = 4) -> np.ndarray:
    """Squares that stand still: int64 (1, T, H, W)."""
    entities = np.zeros((1, FRAMES, SIZE, SIZE), np.int64)
    for number, (top, left) in enumerate(places, 1):
        entities[..., top : top + side, left : left + side] = number
    return entities


@pytest.fixture
def two() -> np.ndarray:
    """Two squares of 16 px, in the upper left and the lower right quarter."""
    return still((2, 3), (20, 22))


@pytest.mark.parametrize("order", [[-1, 0, 1], [-1, 3, 2], [5, 0, 1]])
def test_slots_that_are_the_entities_are_perfect_whatever_their_order_and_the_background(two, order):
    assert holding(two, np.array(order)[two]) == (1, 1)


@pytest.mark.parametrize("swap", [1, 3, 5, 8])
def test_slots_that_swap_lose_identity_and_not_ownership(two, swap):
    slots = two - 1
    slots[:, swap:] = np.array([-1, 1, 0])[two[:, swap:]]
    assert holding(two, slots) == (1, pytest.approx(max(swap, FRAMES - swap) / FRAMES))


def test_an_entity_that_no_slot_has_counts_against_both(two):
    slots = np.where(two == 1, 0, -1)
    assert holding(two, slots) == (0.5, pytest.approx(2 * FRAMES / (2 * FRAMES + FRAMES)))


@pytest.mark.parametrize("rows, own", [(1, 0), (2, 1), (4, 1)])
def test_an_entity_is_owned_from_half_of_its_pixels_on(rows, own):
    entities, slots = still((8, 8)), np.full((1, FRAMES, SIZE, SIZE), -1)
    slots[..., 8 : 8 + rows, 8:12] = 0
    assert holding(entities, slots) == (own, own)


@pytest.mark.parametrize("pixels, own", [(6, 1), (7, 0)])
def test_a_slot_owns_an_entity_that_is_most_of_what_it_has(pixels, own):
    """16 pixels of one entity and 6 or 7 of another: shares of .73 and .696."""
    entities = still((0, 0), (10, 10))
    slots = np.where(entities == 1, 0, -1)
    slots[..., 10:12, 10:14] = np.array([0] * pixels + [-1] * (8 - pixels)).reshape(2, 4)
    assert holding(entities, slots).own == own / 2


def test_clips_are_pooled_and_paired_each_for_itself(two):
    """In one clip slots swap their entities against the other: nothing is lost; empty clips add nothing."""
    entities = np.concatenate([two, two, 0 * two])
    slots = np.concatenate([two - 1, np.array([-1, 1, 0])[two], 0 * two])
    assert holding(entities, slots) == (1, 1)
    assert all(map(math.isnan, holding(0 * two, 0 * two)))


def test_shapes_that_differ_are_refused(two):
    with pytest.raises(ValueError, match=r"expected entities and slots .B, T, H, W., got"):
        holding(two, two[:, 1:])


# --- tilings ----------------------------------------------------------------------------------------------------


def test_tiles_are_equal_and_numbered_by_rows():
    assert tiles(4, 6, 2).tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2


def test_tiles_hold_what_stands_still_in_one_of_its_own(two):
    per_side = {side: holding(two, np.broadcast_to(tiles(SIZE, SIZE, side), two.shape)) for side in (1, 2, 4, 8)}
    assert per_side[1] == (0, 0)  # one tile has two entities of one size
    assert per_side[2] == (1, 1) == best_tilings(two)
    assert per_side[8].own < 1  # and the finest cut the entities


def test_tiles_lose_what_moves_from_one_to_the_next():
    """A square of 4 px, one pixel a frame along the upper edge, its middle passing from tile to tile every 8 frames."""
    entities = np.zeros((1, 16, SIZE, SIZE), np.int64)
    for time in range(16):
        entities[0, time, :4, 6 + time : 10 + time] = 1
    four = holding(entities, np.broadcast_to(tiles(SIZE, SIZE, 4), entities.shape))
    # Middles from 8 to 23: halves of two tiles at 8 and 16, else in 8..15 or 16..23. At a half, either may be the one.
    assert four == (1, pytest.approx(2 * 9 / (16 + 18)))


def test_the_way_from_the_tiles():
    assert way_from(0.8, 0.9) == pytest.approx(0.5) and way_from(0.5, 0.25) == -0.5 and math.isnan(way_from(1, 1))


def test_cells_that_fit_the_entities_hold_them_perfectly_and_coarser_ones_lose_who_shares_one():
    entities = still((0, 0), (4, 8), (20, 20))
    assert (entities_by_cells(entities, 8) == entities - 1).all()
    assert holding(entities, entities_by_cells(entities, 8)) == (1, 1)
    coarse = holding(entities, entities_by_cells(entities, 2))  # the first two are in one cell, one of them gets it
    assert coarse == (pytest.approx(1 / 3), pytest.approx(2 * FRAMES / (3 * FRAMES + FRAMES)))
    assert (entities_by_cells(0 * entities, 4) == -1).all()


# --- masks and worlds -------------------------------------------------------------------------------------------


def test_a_pixel_belongs_to_the_slot_of_the_largest_share_unless_the_sink_has_more():
    masks = torch.tensor([[0.5, 0.2, 0.1, 0.4], [0.4, 0.7, 0.2, 0.3]]).expand(3, 2, 2, 4)
    slots = slots_of_pixels(masks, 4, 6)
    assert slots.shape == (3, 2, 4, 6)
    assert slots[2, 1].tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[-1, -1, -1, 0, 0, 0]] * 2
    assert np.array_equal(slots_of_pixels(masks.unflatten(-1, (2, 2)), 4, 6), slots)
    with pytest.raises(ValueError, match="expected masks whose cells fill frames of 5 x 6 px, got 2 x 2"):
        slots_of_pixels(masks, 5, 6)


class KnownDream:
    """A dream whose only slots follow colours: slot 0 has what is red, slot 1 what is green, in turns or for ever.

    Args:
        swap: the frame from which on they change sides.
    """

    device = torch.device("cpu")

    def __init__(self, swap: int | None = None):
        self.swap, self.model = swap, self
        self.world = SimpleNamespace(settings=SimpleNamespace(context=2))
        self.actions = SimpleNamespace(slots=1)  # which nobody steers

    def encode(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames).flatten(1).long()

    def observe(self, tokens: Tensor) -> SimpleNamespace:
        masks = tokens.unflatten(-1, (SIZE * SIZE, 3))[..., :2].movedim(-1, -2) / 255
        if self.swap is not None:
            masks[:, self.swap :] = masks[:, self.swap :].flip(2)
        return SimpleNamespace(masks=masks)


@pytest.fixture
def fish() -> Clips:
    """A red and a green rectangle that swim along the frame in each of three clips."""
    frames = np.zeros((3, 18, SIZE, SIZE, 3), np.uint8)
    for time in range(18):
        frames[:, time, 5:9, 2 + time : 9 + time, 0] = 255
        frames[1:, time, 20:25, 24 - time : 30 - time, 1] = 255
    return Clips(frames, ("planner",) * 3)


def test_a_world_whose_slots_follow_is_perfect_where_tiles_are_not(fish):
    scores = entity_scores(KnownDream(), fish)
    assert scores["own"] == scores["identity"] == scores["identity_above_tiles"] == 1
    assert scores["entities"] == pytest.approx(5 / 3) and "changed_inside" not in scores
    assert scores["identity_of_tiles"] < 1
    fixed = best_tilings(find_entities(fish.frames)[:, 2:18])
    assert (scores["own_of_tiles"], scores["identity_of_tiles"]) == fixed


def test_only_frames_after_the_context_are_scored(fish):
    late = entity_scores(KnownDream(swap=6), fish)
    assert late["own"] == 1 and late["identity"] == pytest.approx(12 / 16)
    assert late["identity_above_tiles"] == pytest.approx(way_from(late["identity_of_tiles"], 12 / 16))
    assert entity_scores(KnownDream(swap=2), fish)["identity"] == 1
    assert entity_scores(KnownDream(swap=6), fish, steps=4)["identity"] == 1


def test_a_world_of_slots_also_says_where_its_actions_change_pixels(tiny_world, fish):
    frames = np.pad(fish.frames, ((0, 0), (0, 0), (0, 16), (0, 16), (0, 0)))
    scores = [entity_scores(Dream(tiny_world), Clips(frames, fish.agents), steps=5, seed=seed) for seed in (0, 0, 1)]
    assert scores[0] == pytest.approx(scores[1], nan_ok=True)
    assert 0 <= scores[0]["own"] <= 1 and 0 <= scores[0]["changed_inside"] <= 1
