"""Long dreams and real video: the same places, one tokenizer, actions as the world draws them."""

import numpy as np
import pytest
import torch

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_float, to_uint8
from flam_train.evaluate.simulator.long_dreams import long_dreams, long_places
from flam_train.store.packing import write_pack

LENGTHS, STEPS, LEVEL = (9, 31, 14, 23, 40, 14), 12, 70


@pytest.fixture(scope="module")
def noise(make_episode, make_store, tiny_world, tmp_path_factory):
    """A store of noise; the episodes are of two levels, but for the last, which has none."""
    size, random = tiny_world.tokenizer.config.image_size, np.random.default_rng(0)
    store = make_store(tmp_path_factory.mktemp("stores") / "noise", {}, size=size)
    for index, length in enumerate(LENGTHS):
        frames = random.integers(0, 256, (length, size, size, 3), dtype=np.uint8)
        level = -1 if index == len(LENGTHS) - 1 else LEVEL + index % 2
        store.write("test", make_episode(frames, level_seed=level), name=f"noise-{index}")
    return store


@pytest.fixture(scope="module")
def dream(tiny_world):
    return Dream(tiny_world)


@pytest.fixture(scope="module")
def dreams(dream, noise):
    return long_dreams(dream, noise, "test", 6, steps=STEPS, seed=4)


def test_real_video_is_what_followed_as_the_tokenizer_draws_it(dreams, dream, noise):
    context = dream.world.settings.context
    assert dreams.real.shape == dreams.dreamt.shape == (6, 1 + STEPS, 48, 48, 3)
    places = long_places(noise, "test", 6, context + STEPS, seed=4)
    for video, (record, first) in zip(dreams.real, places, strict=True):
        frames = noise.read_frames(record, first, first + context + STEPS)[context - 1 :]
        with torch.inference_mode():
            drawn = to_uint8(dream.tokenizer.decode(dream.tokenizer.encode(to_float(frames, "cpu"))))
        assert np.abs(video.astype(int) - drawn.numpy()).max() <= 1


def test_dreams_begin_where_the_video_does_and_go_their_own_way(dreams):
    assert (dreams.real[:, 0] == dreams.dreamt[:, 0]).all()
    assert (dreams.real[:, -1] != dreams.dreamt[:, -1]).any((-3, -2, -1)).all()


def test_episodes_without_a_level_are_levels_of_their_own(dreams, noise):
    places = long_places(noise, "test", 6, 2 + STEPS, seed=4)
    known = [record.level_seed for record, _ in places]
    assert -1 in known and LEVEL in known and LEVEL + 1 in known
    levels = [level if level >= 0 else -1 for level in dreams.levels]
    assert levels == known


def test_the_same_seed_dreams_the_same_from_a_store_and_from_its_pack(dreams, dream, noise, tmp_path):
    pack = write_pack(noise, dream.tokenizer, tmp_path / "noise.pack", ())
    for data in (noise, pack):
        again = long_dreams(dream, data, "test", 6, steps=STEPS, seed=4)
        assert all(np.array_equal(one, other) for one, other in zip(again, dreams, strict=True))
    other = long_dreams(dream, noise, "test", 6, steps=STEPS, seed=5)
    assert not np.array_equal(other.dreamt, dreams.dreamt)


def test_no_episode_has_a_second_clip_before_all_have_one(noise):
    places = long_places(noise, "test", 100, 14, seed=0)
    enough = sum(length >= 14 for length in LENGTHS)
    assert len({record.path for record, _ in places[:enough]}) == enough
    assert len(places) == len(set(places)) == sum(len(range(0, n - 14 + 1, 7)) for n in LENGTHS)
    assert all(first + 14 <= record.frames for record, first in places)


def test_episodes_that_are_too_short_are_said_to_be(dream, noise):
    with pytest.raises(ValueError, match=r"an episode of 202 frames in split 'test'.* got 40 at most; dream fewer"):
        long_dreams(dream, noise, "test", 3, steps=200)
    with pytest.raises(ValueError, match=r"in split 'val'.* got 0 at most"):
        long_dreams(dream, noise, "val", 3, steps=2)
