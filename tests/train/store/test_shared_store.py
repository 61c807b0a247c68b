"""Several processes make, fill and read one store."""

import multiprocessing
import os

import h5py
import numpy as np
import pytest

from flam_env.worlds.writing import _host
from flam_train.store.store import Episode, EpisodeStore

PROCESSES = 4


def episode(seed=0, length=5):
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8),
        actions=np.zeros(length, np.int16),
        rewards=np.zeros(length, np.float32),
        level_seed=seed,
        agent="random",
        terminated=True,
    )


def create(root, seed=0):
    return EpisodeStore.create(root, source="mine", size=8, settings={"seed": seed})


def at_once(work):
    """Calls work(0), work(1), ... in as many processes at the same moment; what each returned or raised."""
    fork = multiprocessing.get_context("fork")
    gate, answers = fork.Barrier(PROCESSES), fork.SimpleQueue()

    def run(number):
        gate.wait()
        try:
            answers.put((number, work(number)))
        except Exception as error:
            answers.put((number, error))

    processes = [fork.Process(target=run, args=(number,)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    found = dict(answers.get() for _ in processes)
    for process in processes:
        process.join()
    return [found[number] for number in range(PROCESSES)]


pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")


def test_processes_that_create_one_store_at_once_all_have_it(tmp_path):
    for round in range(8):
        assert at_once(lambda _, root=tmp_path / str(round): create(root).size) == [8] * PROCESSES
        assert os.listdir(tmp_path / str(round)) == ["store.json"]


def test_processes_that_create_different_stores_at_once_agree_on_one(tmp_path):
    found = at_once(lambda number: create(tmp_path / "store", seed=number).settings)
    (kept,) = [settings for settings in found if isinstance(settings, dict)]
    refused = [error for error in found if isinstance(error, ValueError)]
    assert len(refused) == PROCESSES - 1
    assert all("seed" in str(error) and "another folder" in str(error) for error in refused)
    assert EpisodeStore.create(tmp_path / "store", source="mine", size=8, settings=kept).settings == kept


def test_episodes_without_a_name_that_are_written_at_once_are_all_kept(tmp_path):
    store = create(tmp_path / "store")
    at_once(lambda number: [store.write("train", episode(10 * number + more)) and None for more in range(5)])
    kept = store.episodes("train")
    assert sorted(record.level_seed for record in kept) == sorted(10 * n + more for n in range(4) for more in range(5))
    assert [record.path.stem for record in kept] == [f"random-{number:06d}" for number in range(20)]


def test_what_another_machine_writes_is_neither_in_the_way_nor_swept(tmp_path):
    root = tmp_path / "store"
    root.mkdir()
    header = root / ".flam-ab12-1-0123456789abcdef.tmp"
    header.write_text("half a store.json")
    store = create(root)
    (root / "train").mkdir()
    frames = root / "train" / header.name
    frames.write_bytes(b"half an episode")
    dead = root / "train" / f".flam-{_host()}-{2**22 + 1}-0123456789abcdef.tmp"
    dead.write_bytes(b"half an episode")
    store.write("train", episode())
    assert len(create(root).episodes("train")) == 1
    assert header.exists() and frames.exists() and not dead.exists()


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    store = create(tmp_path / "store")
    with store.adding("train", "same") as one, store.adding("train", "same") as other:
        for writer, seed in ((one, 1), (other, 2)):
            writer.append(episode(seed).frames)
            writer.finish(episode(seed))
    assert [store.read(record).level_seed for record in EpisodeStore.open(store.root).episodes("train")] == [1]


def test_a_full_disk_ends_an_episode_and_leaves_the_others(tmp_path, full_disk):
    store = create(tmp_path / "store")
    whole = store.write("train", episode())
    with full_disk(100_000), pytest.raises(OSError, match="make room"), store.adding("train", "long") as writer:
        for seed in range(5000):
            writer.append(episode(seed, 100).frames)
    assert os.listdir(whole.path.parent) == [whole.path.name]
    assert store.read(whole).level_seed == 0


def test_an_episode_that_may_not_be_read_is_not_to_be_deleted(tmp_path, monkeypatch):
    path = create(tmp_path / "store").write("train", episode()).path
    store = EpisodeStore.open(tmp_path / "store")

    def refused(*_, **__):
        raise PermissionError(13, "Unable to synchronously open file")

    monkeypatch.setattr(h5py, "File", refused)
    with pytest.raises(PermissionError, match="permission") as raised:
        store.episodes("train")
    assert raised.value.filename == str(path) and "delete" not in str(raised.value)


def test_a_foreign_file_among_the_episodes_is_not_to_be_deleted(tmp_path):
    store = create(tmp_path / "store")
    store.write("train", episode())
    with h5py.File(store.root / "train" / "mine.h5", "w") as file:
        file["frames"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"mine\.h5.*move it elsewhere") as raised:
        store.episodes("train")
    assert "delete" not in str(raised.value)
