"""Whatever can go wrong with a new world is named, with the number that says so, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flam_env.dream.dream import Dream
from flam_train.new_world.advice import ADVICE, Signs, advise, fell_apart, flicker, holding_slots, read_signs
from flam_train.new_world.watching import Seen
from flam_train.store.clips import Clips

SEEN = Seen(regions=3, moving=0.05, torn=0.0, short=0.0)
WELL = Signs(
    seen=SEEN, slots=5, holding=4, deciding=3, nats=3.0, flicker=0.01, gain=4.0, horizon=16, fell=None, pace=0.9
)

PLANTED = {
    "nothing moves": (replace(WELL, seen=replace(SEEN, moving=0.0004)), "0.04% of the pixels", "lower --fps"),
    "restless": (replace(WELL, seen=replace(SEEN, moving=0.71)), "71% of the pixels", "a camera that stands still"),
    "cuts everywhere": (replace(WELL, seen=replace(SEEN, torn=0.051)), "5.1% of the frames", "--cuts detect"),
    "clips too short": (replace(WELL, seen=replace(SEEN, short=0.42)), "42% of the frames", "import longer films"),
    "tokens churn": (replace(WELL, flicker=0.083), "8.3% of the patches", "--tokenizer-steps"),
    "slots collapsed": (replace(WELL, holding=0), "0 of 5 slots hold something", "train for longer"),
    "nobody decides": (replace(WELL, deciding=0, nats=0.02), "tell 0.02 nats a frame", "--last-price"),
    "K too small": (replace(WELL, deciding=5), "all 5 slots decide", "--slots 10"),
    "a codec": (replace(WELL, nats=23.4), "tell 23.4 nats a frame", "raise --price"),
    "nothing was learned": (replace(WELL, gain=0.12), "predictions are 0.12 dB nearer", "train for longer"),
    "dreams stand still": (replace(WELL, pace=0.08), "8% of the speed", "--last-price"),
    "dreams fall apart": (replace(WELL, fell=8), "by step 8 of 16", "--sampling-steps"),
}
"""What went wrong, the number that must be named, and what is to be done."""


def test_of_a_healthy_world_nothing_is_said():
    assert advise(WELL) == {}


@pytest.mark.parametrize("name", ADVICE)
def test_what_went_wrong_is_said_with_its_number_and_alone(name):
    signs, number, remedy = PLANTED[name]
    said = advise(signs)
    assert list(said) == [name] and number in said[name] and remedy in said[name]


def test_where_nobody_knows_how_fast_things_are_nothing_is_said_of_it():
    assert advise(replace(WELL, pace=None)) == {}


def test_a_scene_of_one_thing_needs_one_slot():
    assert advise(replace(WELL, seen=replace(SEEN, regions=1), slots=4, holding=1, deciding=1)) == {}


# --- where the numbers come from ------------------------------------------------------------------------------------


def test_slots_that_own_nothing_hold_nothing():
    owners = torch.full((40, 9), -1)
    owners[:, 2] = 0  # in every frame
    owners[:2, 3] = 1  # in one of twenty
    owners[:1, 4] = 2  # in one of forty
    assert holding_slots(owners, 4) == 2
    assert holding_slots(torch.full((40, 9), -1), 4) == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_tokens_of_still_patches_flicker(share):
    """Two frames of 4 x 4 patches; the pixels of half of them move, and some tokens of all change."""
    frames = np.full((1, 2, 8, 8, 3), 100, np.uint8)
    frames[:, 1] += 10  # the noise of a codec
    frames[:, 1, :4] = 200
    tokens = np.zeros((1, 2, 16), int)
    tokens[:, 1, : 8 + int(8 * share)] = 1
    assert flicker(frames, tokens, patch=2) == share
    assert flicker(np.stack([frames[:, 1], 255 - frames[:, 1]], 1)[:, :, :4], tokens[:, :, :8], patch=2) == 0.0


@pytest.mark.parametrize(
    "near, filled, fell",
    [
        ([30, 30, 29, 28], [0.3, 0.3, 0.3, 0.3], None),
        ([30, 25.5, 20, 20], [0.3] * 4, None),  # the third step is beyond the horizon
        ([30, 24.9, 29, 28], [0.3] * 4, 8),  # over 5 dB further from real frames than real ones are
        ([30, None, 29, 28], [0.3, 0.0, 0.3, 0.3], 8),
        ([29, 29, 29, 28], [0.1, 0.3, 0.3, 0.3], 1),  # things fade
        ([29, 29, 29, 28], [0.3, 0.6, 0.3, 0.3], 8),  # things grow
    ],
)
def test_dreams_fall_apart_at_the_first_step_that_looks_unlike_real_frames(near, filled, fell):
    dreams = {"step": [1, 8, 25, 50], "nearest_psnr": near, "filled": filled}
    assert fell_apart(dreams | {"real_nearest_psnr": 30.0, "real_filled": 0.3}, horizon=16) == fell


def test_where_nothing_real_shows_anything_no_dream_falls_apart():
    dreams = {"step": [1], "nearest_psnr": [None], "filled": [0.0], "real_nearest_psnr": None, "real_filled": 0.0}
    assert fell_apart(dreams, horizon=16) is None


def test_the_signs_of_a_world_are_measured(tiny_world):
    """Random weights show and learn nothing: what is read off them says so."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 6, 48, 48, 3)).astype(np.uint8)
    report = {
        "rate": {"deciding_slots": 6, "nats": 77.0},
        "measures": {"gain_over_copy_last_db": -1.0},
        "dreams": {"step": [1], "nearest_psnr": [9.0], "filled": [0.9], "real_nearest_psnr": 30.0, "real_filled": 0.3},
    }
    signs = read_signs(Dream(tiny_world, "cpu"), Clips(frames, ("video",) * 3), SEEN, report)
    assert (signs.slots, signs.deciding, signs.nats, signs.gain, signs.horizon, signs.fell) == (6, 6, 77.0, -1.0, 13, 1)
    assert signs.pace is None and 0 <= signs.holding <= 6 and signs.flicker == 0.0  # in noise no patch stands still
    assert {"K too small", "a codec", "nothing was learned", "dreams fall apart"} <= set(advise(signs))
    life = {"stretches": [{"steps": [1, 16], "ratio": {"speed": 0.25}}, {"steps": [17, 50], "ratio": {"speed": 2.0}}]}
    signs = read_signs(Dream(tiny_world, "cpu"), Clips(frames, ("video",) * 3), SEEN, report | {"life": life})
    assert signs.pace == 0.25
