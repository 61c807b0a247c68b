import json
import os
from dataclasses import replace

import numpy as np
import pytest

from flam_train.store import store as store_module
from flam_train.store.episode import EpisodeLabels
from flam_train.store.store import Episode, EpisodeStore

SETTINGS = {"seed": 3}


def episode(length=21, size=8, agent="random", seed=0):
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (length, size, size, 3), dtype=np.uint8),
        actions=rng.integers(0, 15, length).astype(np.int16),
        rewards=rng.random(length).astype(np.float32),
        level_seed=100 + seed,
        agent=agent,
        terminated=True,
    )


@pytest.fixture
def store(tmp_path):
    return EpisodeStore.create(tmp_path / "store", source="procgen/bigfish", size=8, settings=SETTINGS)


def test_what_was_written_is_read_back(store):
    written = episode()
    record = store.write("val", written)
    assert (record.split, record.frames, record.agent, record.level_seed) == ("val", 21, "random", 100)
    read = EpisodeStore.open(store.root).read(record)
    for key in ("frames", "actions", "rewards"):
        assert np.array_equal(getattr(read, key), getattr(written, key))
        assert getattr(read, key).dtype == getattr(written, key).dtype
    assert (read.level_seed, read.agent, read.terminated) == (100, "random", True)
    assert np.array_equal(store.read_frames(record, 5, 19), written.frames[5:19])


def test_real_valued_actions_are_read_back(store):
    told = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
    told[4] = np.nan
    record = store.write("val", replace(episode(), actions=np.zeros((21, 0), np.int16), continuous_actions=told))
    assert np.array_equal(store.read(record).continuous_actions, told, equal_nan=True)
    assert store.read(store.write("val", episode(seed=1))).continuous_actions is None
    for wrong in (told[:-1], told[:, 0], told.astype(np.float64), np.full_like(told, np.inf)):
        with pytest.raises(ValueError, match=r"expected continuous actions float32 \(21, D\), finite or NaN, got"):
            store.write("val", replace(episode(), continuous_actions=wrong))


def test_episodes_come_sorted_and_are_opened_once(store, monkeypatch):
    for index in (2, 0, 1):
        store.write("train", episode(length=5 + index, seed=index), name=f"random-{index:06d}")
    opened = []
    original = store_module.open_episode
    monkeypatch.setattr(store_module, "open_episode", lambda path: opened.append(path) or original(path))
    reader = EpisodeStore.open(store.root)
    assert [record.frames for record in reader.episodes("train")] == [5, 6, 7]
    assert reader.frames("train") == 18 and reader.frames("test") == 0
    assert len(opened) == 3


def test_an_open_store_sees_what_is_added_and_nothing_half_written(store):
    store.write("train", episode(seed=0))
    reader = EpisodeStore.open(store.root)
    assert len(reader.episodes("train")) == 1
    with store.adding("train", "another") as writer:
        writer.append(episode(seed=1).frames)
        assert len(reader.episodes("train")) == 1
        writer.finish(episode(seed=1))
    assert len(reader.episodes("train")) == 2


def test_a_failed_write_leaves_nothing(store, monkeypatch):
    def explode(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", explode)
    with pytest.raises(OSError, match="disk full"):
        store.write("train", episode())
    assert list((store.root / "train").iterdir()) == []


@pytest.mark.parametrize("change", [{"source": "video"}, {"size": 16}, {"settings": {"seed": 4}}])
def test_a_store_made_otherwise_is_refused(store, change):
    arguments = {"source": "procgen/bigfish", "size": 8, "settings": SETTINGS, **change}
    with pytest.raises(ValueError, match=f"a store that differs in {next(iter(change))}.*another folder"):
        EpisodeStore.create(store.root, **arguments)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(ValueError, match="holds something else"):
        EpisodeStore.create(tmp_path, source="video", size=8, settings={})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "without one"),
        ("no json", "expected JSON"),
        (json.dumps({"format": "zarr"}), "foreign"),
        (json.dumps(["list"]), "foreign"),
        (json.dumps({"format": "flam-episodes", "version": 99}), "expected store version 1, got 99"),
        (json.dumps({"format": "flam-episodes", "version": 1, "colour": 1}), "expected the keys"),
    ],
)
def test_opening_what_is_no_store_says_so(tmp_path, content, message):
    if content is not None:
        (tmp_path / "store.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        EpisodeStore.open(tmp_path)


def test_opening_a_missing_or_empty_store_says_so(tmp_path, store):
    with pytest.raises(ValueError, match="no folder"):
        EpisodeStore.open(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"at least one episode.*flam-train collect"):
        EpisodeStore.open(store.root)


@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_a_truncated_episode_is_named(store, keep):
    path = store.write("train", episode()).path
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"{path.name}.*delete"):
        EpisodeStore.open(store.root).episodes("train")


def test_a_damaged_episode_is_named(store):
    import h5py

    record = store.write("train", episode())
    with h5py.File(record.path) as file:
        at = file["frames"].id.get_chunk_info(0).byte_offset
    content = bytearray(record.path.read_bytes())
    content[at + 100 : at + 164] = bytes(64)
    record.path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{record.path.name}.*delete"):
        EpisodeStore.open(store.root).read(record)


def test_a_foreign_file_is_named(store):
    import h5py

    store.write("train", episode())
    with h5py.File(store.root / "train" / "other.h5", "w") as file:
        file["frames"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"other\.h5"):
        store.episodes("train")


def test_an_episode_that_does_not_fit_is_refused(store):
    wrong = [episode(size=16), episode(length=0)]
    for key, dtype in (("frames", np.float32), ("actions", np.int64), ("rewards", np.float64)):
        good = episode()
        wrong.append(Episode(**{**vars(good), key: getattr(good, key).astype(dtype)}))
    for bad in wrong:
        with pytest.raises(ValueError, match=r"expected (frames|actions|rewards)"):
            store.write("train", bad)
    with pytest.raises(ValueError, match="expected a split"):
        store.write("holdout", episode())
    with pytest.raises(ValueError, match="letters, digits"):
        store.write("train", episode(), name="../elsewhere")
    assert not any(store.root.glob("**/*.h5"))


def test_frames_that_do_not_exist_are_refused(store):
    record = store.write("train", episode(length=9))
    for start, stop in ((-1, 3), (0, 10), (4, 4)):
        with pytest.raises(ValueError, match="stop <= 9"):
            store.read_frames(record, start, stop)


# --- labels -----------------------------------------------------------------------------------------------------


def labelled(world="aaaa", length=9, **changes):
    latent_actions = np.random.default_rng(5).random((length - 1, 3, 4)).astype(np.float32)
    labels = EpisodeLabels(**{"world": world, "latent_actions": latent_actions, **changes})
    return Episode(**{**vars(episode(length=length)), "labels": labels})


@pytest.fixture
def labels_of_aaaa(tmp_path):
    settings = SETTINGS | {"world": "aaaa"}
    return EpisodeStore.create(tmp_path / "labelled", source="procgen/bigfish", size=8, settings=settings)


def test_labels_are_read_back_and_need_not_be_there(labels_of_aaaa):
    plain, written = labels_of_aaaa.write("test", episode()), labelled()
    record = labels_of_aaaa.write("test", written)
    reader = EpisodeStore.open(labels_of_aaaa.root)
    assert reader.read(plain).labels is None
    assert reader.read(record).labels.world == "aaaa"
    assert np.array_equal(reader.read(record).labels.latent_actions, written.labels.latent_actions)
    assert [record.frames for record in reader.episodes("test")] == [21, 9]


def test_labels_of_another_world_are_not_mixed_in(store, labels_of_aaaa):
    message = "expected labels of the world aaaa in .* got those of the world bbbb; keep"
    with pytest.raises(ValueError, match=message):
        labels_of_aaaa.write("train", labelled("bbbb"))
    with pytest.raises(ValueError, match=r"expected no labels in .* got those of the world bbbb"):
        store.write("train", labelled("bbbb"))
    assert not any(path.is_file() for path in labels_of_aaaa.root.glob("train/*"))
    settings = SETTINGS | {"world": "bbbb"}
    other = EpisodeStore.create(labels_of_aaaa.root.parent / "other", source="video", size=8, settings=settings)
    path = other.write("train", labelled("bbbb")).path
    path.rename(labels_of_aaaa.root / "train" / path.name)
    with pytest.raises(ValueError, match=message):
        EpisodeStore.open(labels_of_aaaa.root).episodes("train")


def test_labels_that_do_not_fit_are_refused(labels_of_aaaa):
    for latent_actions in (np.zeros((9, 3, 4), np.float32), np.zeros((8, 3, 4)), np.zeros((8, 12), np.float32)):
        with pytest.raises(ValueError, match=r"expected latent actions float32 \(8, K, A\), one fewer than frames"):
            labels_of_aaaa.write("train", labelled(latent_actions=latent_actions))


def test_an_episode_in_pieces_is_the_same_and_appears_when_it_is_whole(store):
    written = labelled()
    written = Episode(**{**vars(written), "labels": None})
    with store.adding("val", "pieces") as writer:
        for first, last in ((0, 4), (4, 5), (5, 9)):
            writer.append(written.frames[first:last])
        assert store.episodes("val") == []
        writer.finish(written)
    (record,) = store.episodes("val")
    assert record.frames == 9 and np.array_equal(store.read(record).frames, written.frames)


def test_an_episode_that_was_not_finished_leaves_nothing(store):
    with pytest.raises(KeyboardInterrupt), store.adding("val", "interrupted") as writer:
        writer.append(episode().frames)
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="unfinished"), store.adding("val", "unfinished") as writer:
        writer.append(episode().frames)
    assert list((store.root / "val").iterdir()) == []
