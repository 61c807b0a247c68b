"""Labelled episodes as a Minari dataset: what fails leaves none."""

import errno
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest

from flam_train.store.episode import EpisodeLabels
from flam_train.store.minari import check_minari, export_minari
from flam_train.store.store import Episode, EpisodeStore


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore.create(tmp_path / "store", source="noise", size=8, settings={"world": "aaaa"})
    labels = EpisodeLabels(world="aaaa", latent_actions=np.zeros((8, 2, 3), np.float32))
    episode = Episode(
        frames=np.zeros((9, 8, 8, 3), np.uint8),
        actions=np.zeros((9, 0), np.int16),
        rewards=np.zeros(9, np.float32),
        level_seed=-1,
        agent="video",
        terminated=False,
        labels=labels,
    )
    store.write("train", episode)
    return store


@pytest.fixture
def minari(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return minari


def files(folder):
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith((".hdf5", ".json"))]


def test_a_dataset_for_which_the_disk_has_no_room_is_not_begun(store, minari, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(9 * 8 * 8 * 3))
    with pytest.raises(OSError, match="has no room; make some and run it again") as raised:
        export_minari(store, "noise/labelled-v0", "tiny")
    assert raised.value.errno == errno.ENOSPC and not files(tmp_path / "minari")
    monkeypatch.undo()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    export_minari(store, "noise/labelled-v0", "tiny")
    assert minari.load_dataset("noise/labelled-v0").total_episodes == 1


def test_a_dataset_that_cannot_even_be_made_leaves_no_files(store, minari, tmp_path, monkeypatch):
    def half(name, *_, **__):
        folder = tmp_path / "minari" / name / "data"
        folder.mkdir(parents=True)
        (folder / "main_data.hdf5").write_text("half")
        raise OSError("disk gone")

    monkeypatch.setattr(minari, "create_dataset_from_buffers", half)
    with pytest.raises(OSError, match="disk gone"):
        export_minari(store, "noise/labelled-v0", "tiny")
    assert not files(tmp_path / "minari")


@pytest.mark.parametrize("name", ["n/labelled-v0", "labelled", "noise//-v", "../noise-v0"])
def test_a_name_that_minari_does_not_take_is_refused_before_the_work(minari, name):
    with pytest.raises(ValueError, match="such as bigfish/labelled-v0"):
        check_minari(name)


def test_what_lies_where_the_dataset_would_is_left_alone(store, minari, tmp_path):
    (tmp_path / "minari" / "noise" / "labelled-v0").mkdir(parents=True)
    (tmp_path / "minari" / "noise" / "labelled-v0" / "thesis.tex").write_text("important")
    with pytest.raises(ValueError, match="expected the name of a new Minari dataset"):
        export_minari(store, "noise/labelled-v0", "tiny")
    assert (tmp_path / "minari" / "noise" / "labelled-v0" / "thesis.tex").exists()
