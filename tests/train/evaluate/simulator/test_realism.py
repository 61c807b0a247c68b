"""Real or dream, life and horizon against closed forms and against dreams whose faults are planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from aquarium import COLOURS, FISH, LANES, SIZE, SPEED, STEPS, aquarium, dreams_of, find_fish

from flam_train.evaluate.simulator.controls import Controls, realism_controls, without_one
from flam_train.evaluate.simulator.horizon import StretchScores, horizon
from flam_train.evaluate.simulator.life import Sightings, compare_lives, life, lives, sightings
from flam_train.evaluate.simulator.long_dreams import STRETCHES, LongDreams
from flam_train.evaluate.simulator.realism import (
    FIT,
    FRAMES,
    Told,
    auc,
    cut_windows,
    realism,
    tell_apart,
)

DREAMS, FAULT = 48, 50  # the step after which a planted fault begins
QUICK = replace(FIT, steps=60, warmup_steps=5, ema=0.9, precision="fp32")


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    return np.stack([aquarium(seed) for seed in range(DREAMS)])


@pytest.fixture(scope="module")
def background() -> np.ndarray:
    return np.zeros((DREAMS, SIZE, SIZE, 3), np.uint8)


def scored(dreams: LongDreams, background: np.ndarray, stretches=STRETCHES) -> list[StretchScores]:
    told = realism(dreams, stretches, config=QUICK)
    alive = lives(dreams, background, find_fish, stretches)
    return [
        StretchScores(of.steps, each.mean, of.ratio.entities, of.ratio.entries, of.ratio.exits)
        for each, of in zip(told, alive, strict=True)
    ]


# --- the AUC ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scores, labels, expected",
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([5, 5, 5, 5, 5], [0, 1, 0, 1, 1], 0.5),
        ([1, 3, 2, 4], [0, 0, 1, 1], 0.75),
        ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),
    ],
)
def test_auc_is_the_share_of_pairs_in_the_right_order(scores, labels, expected):
    assert auc(np.array(scores), np.array(labels)) == pytest.approx(expected)


def test_auc_of_two_normals_is_that_of_their_distance():
    random, count = np.random.default_rng(0), 20_000
    scores = np.concatenate([random.normal(size=count), random.normal(1.0, size=count)])
    assert auc(scores, np.arange(2 * count) >= count) == pytest.approx(0.7602, abs=0.01)  # Phi(1 / sqrt 2)


def test_auc_needs_both_kinds():
    with pytest.raises(ValueError, match="positives and negatives, got 3 of 3"):
        auc(np.arange(3), np.ones(3))


# --- windows ----------------------------------------------------------------------------------------------------


def test_windows_are_the_steps_of_their_stretch():
    videos = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (3, 60, 4, 5, 3)).copy()
    windows = cut_windows(videos, (17, 50))
    assert windows.shape == (3, 4, FRAMES, 4, 5, 3)
    assert windows[1, :, :, 0, 0, 0].flatten().tolist() == list(range(17, 49))


@pytest.mark.parametrize("steps", [(0, 16), (5, 11), (50, 60)])
def test_a_stretch_must_hold_a_window_and_lie_in_the_dream(steps):
    with pytest.raises(ValueError, match="expected a stretch of at least 8 steps out of 1 to 59"):
        cut_windows(np.zeros((2, 60, 4, 4, 3), np.uint8), steps)


def test_one_thing_vanishes_halfway_and_all_else_stays():
    window = np.zeros((FRAMES, 20, 20, 3), np.uint8)
    window[:, 2:6, 3:7], window[:, 12:16, 10:14] = 200, 90
    changed = without_one(window, np.zeros((20, 20, 3), np.uint8), np.random.default_rng(1))
    half = FRAMES // 2
    assert (changed[:half] == window[:half]).all()
    left = {int(value) for value in np.unique(changed[half:])}
    assert left in ({0, 90}, {0, 200})
    assert without_one(window[:, :2], np.zeros((2, 20, 3), np.uint8), np.random.default_rng(1)) is None


# --- telling apart ----------------------------------------------------------------------------------------------


def test_windows_must_be_pairs():
    windows = torch.zeros(4, FRAMES, 16, 16, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="as many real and dreamt windows"):
        tell_apart(windows, windows[:3], np.arange(4), 0)


def test_the_same_seed_tells_the_same_and_leaves_chance_alone(real):
    windows = cut_windows(real[:8], (1, 16)).flatten(0, 1)
    config, groups = replace(QUICK, steps=3), np.repeat(np.arange(8), 2)
    before = torch.get_rng_state()
    first, again = (tell_apart(windows, windows.flip(1), groups, 3, config) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)


def test_levels_are_never_in_training_and_test(real):
    """A mark of the level that says which is dreamt is of no use for other levels."""
    windows = cut_windows(real[:24], (1, 16)).flatten(0, 1)
    groups = np.repeat(np.arange(24), 2)
    marks = np.random.default_rng(0).integers(0, 255, (24, 2, 3), dtype=np.uint8)
    marked = [windows.clone(), windows.clone()]
    for which, copies in enumerate(marked):
        copies[:, :, :4, :4] = torch.from_numpy(marks[groups, which])[:, None, None, None]
    assert abs(tell_apart(*marked, groups, 0, QUICK) - 0.5) < 0.25


def test_controls_hold_on_real_video(real, background):
    dreams = dreams_of(np.zeros_like(real), real)
    controls = realism_controls(dreams, background, lambda windows: windows, STRETCHES[2:], config=QUICK)
    assert controls.same.mean == pytest.approx(0.5, abs=0.04)
    assert controls.deleted.mean >= 0.7


def test_controls_need_pairs_of_windows_and_things(real, background):
    dreams = dreams_of(real[:4, :9], real[:4, :9])
    with pytest.raises(ValueError, match="at least two windows of 8 frames"):
        realism_controls(dreams, background, lambda windows: windows, [(1, 8)])
    black = np.zeros_like(real[:4])
    with pytest.raises(ValueError, match="things that differ"):
        few = replace(QUICK, steps=1)
        realism_controls(dreams_of(black, black), background, lambda windows: windows, [(1, 16)], config=few)


def test_where_the_camera_moves_nothing_can_be_deleted(real):
    few = replace(QUICK, steps=2)
    controls = realism_controls(dreams_of(real, real), None, pytest.fail, [(1, 16)], config=few)
    assert controls.deleted is None and 0 <= controls.same.mean <= 1
    assert Controls(Told(0.52, 0.1), None).hold and not Controls(Told(0.54, 0.1), None).hold


def test_controls_that_see_ghosts_or_nothing_do_not_hold():
    assert Controls(Told(0.52, 0.1), Told(0.7, 0.1)).hold
    assert not Controls(Told(0.54, 0.0), Told(0.9, 0.0)).hold
    assert not Controls(Told(0.5, 0.0), Told(0.69, 0.0)).hold


# --- planted dreams ---------------------------------------------------------------------------------------------


def test_a_dream_that_is_real_video_holds_to_the_end(real, background):
    other = np.stack([aquarium(1000 + seed) for seed in range(DREAMS)])
    scores = scored(dreams_of(other, real), background)
    assert all(abs(each.auc - 0.5) < 0.12 for each in scores)
    assert horizon(scores) == STEPS


def test_a_dream_that_freezes_is_found_out(real, background):
    frozen = real.copy()
    frozen[:, FAULT + 1 :] = frozen[:, FAULT : FAULT + 1]
    (score,) = scored(dreams_of(frozen, real), background, STRETCHES[2:3])
    assert score.auc > 0.9 and score.entries == score.exits == 0
    assert not score.holds


def test_a_dream_that_fades_is_found_out(real, background):
    light = np.clip(1 - (np.arange(STEPS + 1) - FAULT) / 100, 0.1, 1)[:, None, None, None]
    (score,) = scored(dreams_of((real * light).astype(np.uint8), real), background, STRETCHES[2:3])
    assert score.auc > 0.75
    assert not score.holds


def test_a_dream_that_nothing_enters_is_found_out_by_its_life(real, background):
    lacking = np.stack([aquarium(1000 + seed, entries_until=FAULT) for seed in range(DREAMS)])
    before, after = lives(dreams_of(lacking, real), background, find_fish, STRETCHES[1:3])
    assert 0.67 < before.ratio.entries < 1.5
    assert after.ratio.entries == 0 and after.ratio.entities < 0.67
    scores = [
        StretchScores(of.steps, 0.5, of.ratio.entities, of.ratio.entries, of.ratio.exits) for of in (before, after)
    ]
    assert horizon(scores) == FAULT


# --- life -------------------------------------------------------------------------------------------------------


def test_life_of_fish_is_what_they_were_made_to_do():
    frames = np.zeros((21, SIZE, SIZE, 3), np.uint8)
    for step in range(4, 10):  # enters with step 4, is last seen at 9, so leaves with 10
        frames[step, 1 : 1 + FISH, SPEED * step : SPEED * step + FISH] = COLOURS[0]
    frames[:, 9 : 9 + FISH, 7 : 7 + FISH] = COLOURS[1]  # always there
    seen = sightings(frames, find_fish(frames[None], frames[None, 0] * 0)[0])
    found = life(seen, (1, 20))
    assert found.entities == pytest.approx((6 + 20) / 20)
    assert (found.entries, found.exits) == (5.0, 5.0)  # one in 20 steps
    assert found.area == FISH**2
    assert (found.red, found.green, found.blue) == pytest.approx(
        (6 * np.array(COLOURS[0]) + 20 * np.array(COLOURS[1])) / 26
    )
    assert found.speed == pytest.approx(SPEED * 5 / (5 + 19))
    assert (life(seen, (4, 9)).entries, life(seen, (4, 9)).exits) == (pytest.approx(100 / 6), 0.0)
    assert (life(seen, (5, 10)).entries, life(seen, (5, 10)).exits) == (0.0, pytest.approx(100 / 6))


def test_sightings_are_where_what_and_how_large():
    entities = np.zeros((2, 6, 7), int)
    entities[0, 1:3, 2:6], entities[1, 5, 6] = 4, 2
    frames = np.random.default_rng(0).integers(0, 255, (2, 6, 7, 3), dtype=np.uint8)
    seen = sightings(frames, entities)
    assert seen.entity.tolist() == [2, 4] and seen.frame.tolist() == [1, 0] and seen.area.tolist() == [1, 8]
    assert seen.centre.tolist() == [[5, 6], [1.5, 3.5]]
    assert seen.colour == pytest.approx(np.stack([frames[1, 5, 6], frames[0, 1:3, 2:6].mean((0, 1))]))


def test_nothing_seen_is_no_life():
    nothing = sightings(np.zeros((9, 4, 5, 3), np.uint8), np.zeros((9, 4, 5), int))
    found = life(nothing, (1, 8))
    assert (found.entities, found.entries, found.exits) == (0, 0, 0)
    assert np.isnan([found.area, found.red, found.speed]).all()


def test_lives_are_compared_by_their_means_and_their_spread():
    def still(count: int) -> Sightings:
        entity, frame = np.repeat(np.arange(1, count + 1), 9), np.tile(np.arange(9), count)
        return Sightings(entity, frame, np.zeros((9 * count, 2)), np.full(9 * count, 10), np.zeros((9 * count, 3)))

    (compared,) = compare_lives([still(2), still(4)], [still(1), still(2)], [(1, 8)])
    assert (compared.real.entities, compared.dreamt.entities, compared.ratio.entities) == (3, 1.5, 0.5)
    assert compared.real_spread.entities == pytest.approx(2**0.5) and compared.dreamt_spread.entities == pytest.approx(
        0.5**0.5
    )
    assert compared.ratio.entries == 1  # none in either
    assert compared.ratio.area == 1


# --- horizon ----------------------------------------------------------------------------------------------------


def stretches(*scores: tuple[float, float, float, float]) -> list[StretchScores]:
    return [StretchScores(steps, *each) for steps, each in zip(STRETCHES, scores, strict=False)]


GOOD = (0.75, 0.67, 1.5, 1.0)


@pytest.mark.parametrize(
    "scores, expected",
    [
        ([GOOD] * 4, 200),
        ([GOOD, GOOD, GOOD, (0.76, 1, 1, 1)], 100),
        ([GOOD, GOOD, (0.5, 0.66, 1, 1), GOOD], 50),
        ([GOOD, (0.5, 1, 1.51, 1), GOOD, GOOD], 16),
        ([GOOD, (0.5, 1, 1, float("nan"))], 16),
        ([(float("nan"), 1, 1, 1), GOOD], 0),
        ([GOOD, (0.5, 1, float("inf"), 1)], 16),
        ([], 0),
    ],
)
def test_the_horizon_ends_where_the_first_stretch_does_not_hold(scores, expected):
    assert horizon(stretches(*scores)) == expected


def test_the_horizon_wants_stretches_in_order():
    with pytest.raises(ValueError, match="one after another"):
        horizon(stretches(GOOD, GOOD)[::-1])


def test_fish_swim_in_lanes(real, background):
    """What the planted dreams are made of is lively enough to be measured."""
    found = find_fish(real[:2], background[:2])
    assert found.shape == real[:2].shape[:-1] and len(np.unique(found[0])) > LANES * 2
