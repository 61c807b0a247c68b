"""A film shows dreams beside the same dreams with one slot steered."""

from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest
from tiny import random_sampler

from flam_env import Dream, save_world
from flam_train.pictures.dreams import dreams
from flam_train.pictures.steered import deciding_slot, film_of_steering


@pytest.fixture(scope="module")
def drawing_dream(tiny_world) -> Dream:
    config = tiny_world.tokenizer.config
    return Dream(replace(tiny_world, heads={"token_sampler": random_sampler(config.levels, config.grid)}))


def test_dreams_differ_by_what_the_slot_does_and_by_nothing_else(drawing_dream):
    context = drawing_dream.world.starts.tokens[:2, :2]
    rows = film_of_steering(drawing_dream, context, [4, 7], 5, slot=1, seed=3)
    assert [len(frames) for frames in rows.values()] == [5] * 4
    free, steered, other, _ = rows.values()
    assert not np.array_equal(free, steered) and not np.array_equal(free, other)
    again = film_of_steering(drawing_dream, context, [4, 7], 5, slot=1, seed=3)
    assert all(np.array_equal(again[label], frames) for label, frames in rows.items())
    elsewhere = film_of_steering(drawing_dream, context, [4, 7], 5, slot=2, seed=3)
    same, differs = list(elsewhere.values())[:2]
    assert np.array_equal(same, free) and not np.array_equal(differs, steered)


def test_the_film_is_a_gif_of_all_steps(tiny_world, tmp_path):
    save_world(tmp_path / "world", tiny_world)
    out = dreams(str(tmp_path / "world"), out=tmp_path / "film.gif", count=2, steps=4)
    film = imageio.imread(out)
    assert film.shape[0] == 4 and film.shape[2] >= 4 * 3 * 48


def test_the_slot_that_decides_is_steered_and_one_that_is_not_there_is_refused(tiny_world, tmp_path):
    bank = tiny_world.starts.bank.clone()
    bank[:, 4] *= 100
    assert deciding_slot(replace(tiny_world, starts=replace(tiny_world.starts, bank=bank))) == 4
    save_world(tmp_path / "world", tiny_world)
    with pytest.raises(ValueError, match="a slot of 0 to 5, got 6"):
        dreams(str(tmp_path / "world"), out=tmp_path / "film.gif", count=1, steps=2, slot=6)
    assert not (tmp_path / "film.gif").exists()
