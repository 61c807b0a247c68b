"""What a world's own sign that a dream has left the road is worth, on signs whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import random_road

from flam_env.dream.dream import Dream
from flam_train.evaluate.rollouts import free_steps
from flam_train.evaluate.simulator.long_dreams import OffRoad, long_dreams, long_places
from flam_train.evaluate.simulator.off_road import flagged
from flam_train.heads.road import real_signs, running_means
from flam_train.store.training_data import episode_tokens

STEPS = 12


def signs(rows: int, steps: int, until: float, seed: int) -> np.ndarray:
    """What is said of videos (B, 1 + steps): anything up to a bound, and 0 of frame 0."""
    said = np.random.default_rng(seed).uniform(0, until, (rows, 1 + steps)).astype(np.float32)
    said[:, 0] = 0
    return said


def test_shares_are_of_the_steps_of_a_stretch():
    real, dreamt = np.full((4, 33), 0.5, np.float32), np.full((4, 33), 0.5, np.float32)
    real[0, 1:5] = 1  # four steps of 64
    dreamt[:, 9:] = 0.995
    dreamt[0, 32] = 0.99  # is not above it
    first, second = flagged(OffRoad(real, dreamt), ((1, 16), (17, 32)))
    assert (first.real, first.dreamt) == (4 / 64, 0.5)
    assert (second.real, second.dreamt) == (0, 63 / 64)
    assert second.auc == 1 and first.auc == (7 / 8 * 0.5 + 1) / 2  # the first windows tie, but for a real one


def test_signs_that_say_the_same_of_both_tell_nothing_and_their_shares_are_those_of_real_video():
    real, dreamt = (signs(200, 50, 1.0, seed) for seed in (0, 1))
    for found in flagged(OffRoad(real, dreamt), ((1, 16), (17, 50))):
        assert found.auc == pytest.approx(0.5, abs=0.05)
        assert found.real == pytest.approx(0.01, abs=0.005) and found.dreamt == pytest.approx(0.01, abs=0.005)


def test_windows_are_told_by_their_mean():
    real, dreamt = np.zeros((3, 17), np.float32), np.zeros((3, 17), np.float32)
    real[:, 1:] = np.tile([0.6, 0.0], 8)
    dreamt[:, 1:] = np.tile([0.5, 0.3], 8)  # no step tells, but the mean of eight does
    (found,) = flagged(OffRoad(real, dreamt), ((1, 16),))
    assert found == (0, 0, 1)


def test_a_stretch_without_a_window_is_refused():
    said = signs(3, 20, 1.0, 0)
    with pytest.raises(ValueError, match="a stretch of at least 8 steps out of 1 to 20, got 17 to 20"):
        flagged(OffRoad(said, said), ((1, 16), (17, 20)))


# --- what long dreams are said to be ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noise(make_episode, make_store, tmp_path_factory):
    """Episodes of noise, 48 px."""
    store = make_store(tmp_path_factory.mktemp("stores") / "noise", {}, size=48)
    for index in range(3):
        frames = np.random.default_rng(index).integers(0, 256, (20, 48, 48, 3), dtype=np.uint8)
        store.write("test", make_episode(frames, level_seed=index), name=f"noise-{index}")
    return store


@pytest.fixture(scope="module")
def dream(tiny_world) -> Dream:
    return Dream(replace(tiny_world, heads={"road": random_road()}))


@torch.inference_mode()
def test_dreams_are_what_their_states_say_and_real_video_begins_where_they_do(dream, noise):
    said = long_dreams(dream, noise, "test", 3, steps=STEPS, seed=4).off_road
    assert said.real.shape == said.dreamt.shape == (3, 1 + STEPS) and said.real.dtype == np.float32
    places = long_places(noise, "test", 3, 2 + STEPS, seed=4)
    tokens = torch.stack([episode_tokens(noise, record, 2 + STEPS, dream.tokenizer, first) for record, first in places])
    states = free_steps(dream, tokens[:, :2], STEPS, torch.Generator().manual_seed(4))
    again = torch.stack([dream.off_road(state) for state, _ in states], 1)
    assert np.array_equal(said.dreamt[:, 1:], again.numpy())
    means = running_means(dream.road, real_signs(dream.road, dream.model, tokens)[:, 1:])
    assert np.array_equal(said.real[:, 1:], dream.road.left(means).numpy())
    assert not said.real[:, 0].any() and not said.dreamt[:, 0].any()
    assert not np.array_equal(said.real, said.dreamt)


def test_of_a_world_that_cannot_tell_nothing_is_said(tiny_world, noise):
    assert long_dreams(Dream(tiny_world), noise, "test", 2, steps=STEPS).off_road is None
