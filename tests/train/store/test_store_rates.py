"""What a store knows of its pace, and what a world learns of it."""

import warnings

import pytest

from flam_train.store.rates import learned_rate, store_rate, warn_of_store_rate
from flam_train.store.store import EpisodeStore


@pytest.mark.parametrize(
    ("source", "settings", "rate", "learned"),
    [
        ("procgen/bigfish", {}, 15, 15),
        ("multigrid", {}, 15, 15),
        ("procgen/leaper", {"frames_per_second": 5}, 5, 5),
        ("video", {"frames_per_second": 29.97}, 29.97, 29.97),
        ("video", {"frames_per_second": 0.2}, 0.2, 0.2),
    ],
)
def test_a_store_says_its_rate_or_is_of_a_source_that_is_known(tmp_path, source, settings, rate, learned):
    store = EpisodeStore.create(tmp_path / "out", source=source, size=8, settings=settings)
    with warnings.catch_warnings(action="error"):
        assert (store_rate(store), learned_rate(store)) == (rate, learned)


def test_a_store_of_which_nobody_knows_the_rate_is_warned_of_where_a_world_learns_from_it(tmp_path):
    store = EpisodeStore.create(tmp_path / "mine", source="video", size=8, settings={})
    with pytest.warns(
        UserWarning, match=r"mine does not say .* so the world will say 15; put 'frames_per_second'"
    ) as said:
        assert learned_rate(store) == 15
    assert store_rate(store) is None and said[0].filename == __file__


@pytest.mark.parametrize(("rate", "said"), [(None, False), (14, False), (30, True), (7, True)])
def test_a_store_of_another_pace_than_the_worlds_is_warned_of(tmp_path, rate, said):
    settings = {} if rate is None else {"frames_per_second": rate}
    store = EpisodeStore.create(tmp_path / "out", source="video", size=8, settings=settings)
    with warnings.catch_warnings(record=True, action="always") as warned:
        warn_of_store_rate(store, 15)
    assert [f"has {rate} frames a second" in str(each.message) for each in warned] == [True] * said
