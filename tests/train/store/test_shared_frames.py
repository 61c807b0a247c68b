"""Frames that processes share lie in one file, and are gone when nobody learns from them any more."""

from dataclasses import replace

import numpy as np
import pytest

from flam_train.store import shared_frames as module
from flam_train.store.moments import Moments, read_clips
from flam_train.store.shared_frames import read_shared, shared_frames


@pytest.fixture
def every(store) -> Moments:
    """All frames but the last of each episode of the train split."""
    records = store.episodes("train")
    counts = [record.frames - 1 for record in records]
    return Moments(
        split="train",
        names=tuple(record.path.stem for record in records),
        episodes=np.repeat(np.arange(len(records)), counts),
        frames=np.concatenate([np.arange(count) for count in counts]),
    )


def test_frames_are_found_by_their_moments(store, every, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 100)  # 1056 frames
    wanted = every.take(np.random.default_rng(0).permutation(len(every))[:77])
    names = wanted.names[::-1]  # in another order, as in a store that has grown
    wanted = replace(wanted, names=names, episodes=len(names) - 1 - wanted.episodes)
    with shared_frames(store, every, tmp_path / "frames"):
        assert np.array_equal(read_shared(tmp_path / "frames", wanted), read_clips(store, wanted)[:, 0])
        whole = read_shared(tmp_path / "frames", every)
        assert isinstance(whole, np.memmap) and np.array_equal(whole, read_clips(store, every)[:, 0])
    assert not list(tmp_path.iterdir())


def test_frames_that_are_not_there_are_refused(store, every, tmp_path):
    few = every.take(np.arange(20))
    with shared_frames(store, few, tmp_path / "frames"):
        for wanted in (every, replace(few, split="val"), replace(few, names=("else", *few.names[1:]))):
            with pytest.raises(ValueError, match=r"expected the frames of \d+ moments of split .* that lack some"):
                read_shared(tmp_path / "frames", wanted)


def test_nothing_is_left_of_frames_that_cannot_be_written(store, every, tmp_path):
    elsewhere = replace(every, names=("else", *every.names[1:]))
    with pytest.raises(ValueError, match="expected the episode else"), shared_frames(store, elsewhere, tmp_path / "f"):
        raise AssertionError("this must not be reached")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_has_left_is_replaced(store, every, tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "frames.npy").write_bytes(b"half")
    with shared_frames(store, every, tmp_path / "frames"):
        assert len(read_shared(tmp_path / "frames", every)) == len(every)
