"""Tokens on disk, and the bounded sample of frames in memory."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.video.frames import to_float
from flam_train.store import tokens as tokens_module
from flam_train.store.frame_pool import frame_pool
from flam_train.store.tokens import TokenSplit, token_cache

LENGTHS = {"train": (5, 3, 9), "val": (4,)}
CONFIG = TokenizerConfig(image_size=12, patch_size=4, width=8, blocks=1, levels=(3, 2, 5))


def noise(length: int, seed: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (length, size, size, 3), dtype=np.uint8)


def tokenizer_of(seed: int, **changes) -> Tokenizer:
    torch.manual_seed(seed)
    return Tokenizer(TokenizerConfig(**(vars(CONFIG) | changes))).eval()


@pytest.fixture
def noisy(make_episode, make_store, tmp_path):
    """A store of 12-px noise in episodes of the lengths above, written in another order than they are read."""
    store = make_store(tmp_path / "noise", {}, size=12)
    for split, lengths in LENGTHS.items():
        for index in reversed(range(len(lengths))):
            agent = ("planner", "random")[index % 2]
            store.write(split, make_episode(noise(lengths[index], index), agent), name=f"episode-{index}")
    return store


@pytest.fixture
def encoded_frames(monkeypatch):
    """Counts the frames that go through any tokenizer's encoder."""
    frames, encode = [], Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, batch: frames.append(len(batch)) or encode(self, batch))
    return frames


def direct(tokenizer: Tokenizer, frames: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return tokenizer.encode(to_float(frames)).numpy()


def test_tokens_are_those_of_the_episodes_in_order(noisy, monkeypatch):
    monkeypatch.setattr(tokens_module, "CHUNK", 4)  # so that episodes take more than one
    tokenizer = tokenizer_of(0)
    splits = token_cache(noisy, tokenizer)
    assert set(splits) == {"train", "val"}
    for split, lengths in LENGTHS.items():
        expected = np.concatenate([direct(tokenizer, noise(length, i)) for i, length in enumerate(lengths)])
        found = splits[split]
        assert found.tokens.dtype == np.uint16 and isinstance(found.tokens, np.memmap)
        assert np.array_equal(found.tokens, expected)
        assert np.array_equal(found.bounds, np.cumsum([0, *lengths]))
    assert splits["train"].agents == ("planner", "random", "planner")
    assert len(np.unique(splits["train"].tokens)) > 5, "the test shows nothing if all tokens are equal"


def test_a_cache_is_used_again(noisy, encoded_frames):
    first = token_cache(noisy, tokenizer_of(0))
    assert sum(encoded_frames) == 21
    again = token_cache(noisy, tokenizer_of(0))
    assert sum(encoded_frames) == 21
    assert np.array_equal(first["train"].tokens, again["train"].tokens)


def test_another_tokenizer_gets_its_own_tokens(noisy):
    one, other = tokenizer_of(0), tokenizer_of(1)
    token_cache(noisy, one)
    found = token_cache(noisy, other)["val"].tokens
    assert np.array_equal(found, direct(other, noise(4, 0)))
    assert not np.array_equal(found, token_cache(noisy, one)["val"].tokens)


def test_a_store_that_has_grown_is_encoded_anew(noisy, make_episode):
    tokenizer = tokenizer_of(0)
    token_cache(noisy, tokenizer)
    noisy.write("train", make_episode(noise(6, 40)), name="early-bird-0")  # "ea" sorts before "ep"
    grown = token_cache(noisy, tokenizer)["train"]
    assert np.array_equal(grown.bounds, np.cumsum([0, 6, *LENGTHS["train"]]))
    assert np.array_equal(grown.tokens[:6], direct(tokenizer, noise(6, 40)))
    assert np.array_equal(grown.tokens[6:11], direct(tokenizer, noise(5, 0)))


def test_a_store_that_grows_meanwhile_keeps_tokens_and_episodes_together(noisy, make_episode, monkeypatch):
    tokenizer, encode = tokenizer_of(0), Tokenizer.encode

    def encode_while_another_writes(self, batch):
        noisy.write("val", make_episode(noise(2, 41)), name="early-bird-0")
        return encode(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", encode_while_another_writes)
        during = token_cache(noisy, tokenizer)["val"]
    assert np.array_equal(during.bounds, [0, 4])
    assert np.array_equal(during.tokens, direct(tokenizer, noise(4, 0)))
    after = token_cache(noisy, tokenizer)["val"]
    assert np.array_equal(after.bounds, [0, 2, 6])
    assert np.array_equal(after.tokens[2:], direct(tokenizer, noise(4, 0)))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_a_failed_encoding_leaves_nothing(noisy, monkeypatch, error):
    tokenizer, encode, calls = tokenizer_of(0), Tokenizer.encode, []

    def fails_at_the_third_call(self, batch):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return encode(self, batch)

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, OSError)):
        patch.setattr(Tokenizer, "encode", fails_at_the_third_call)
        token_cache(noisy, tokenizer)
    assert list((noisy.root / "tokens").iterdir()) == []
    assert np.array_equal(token_cache(noisy, tokenizer)["val"].tokens, direct(tokenizer, noise(4, 0)))


def test_what_a_killed_encoding_left_is_never_read(noisy):
    tokenizer = tokenizer_of(0)
    token_cache(noisy, tokenizer)
    (root,) = (noisy.root / "tokens").iterdir()
    (root / "index.json").unlink()  # the index is written last
    np.save(root / "val.npy", np.zeros((4, 9), np.uint16))
    assert np.array_equal(token_cache(noisy, tokenizer)["val"].tokens, direct(tokenizer, noise(4, 0)))


@pytest.mark.parametrize("file, left", [("index.json", 9), ("val.npy", 0), ("val.npy", 140)])
def test_a_damaged_cache_is_made_anew(noisy, file, left):
    tokenizer = tokenizer_of(0)
    token_cache(noisy, tokenizer)
    (root,) = (noisy.root / "tokens").iterdir()
    (root / file).write_bytes((root / file).read_bytes()[:left])
    assert np.array_equal(token_cache(noisy, tokenizer)["val"].tokens, direct(tokenizer, noise(4, 0)))


def test_frames_of_another_size_are_refused(noisy):
    with pytest.raises(ValueError, match="expected frames of 16 px, the tokenizer's size, got 12 px"):
        token_cache(noisy, tokenizer_of(0, image_size=16))
    assert not (noisy.root / "tokens").exists()


def test_tokens_that_do_not_fit_uint16_are_refused(noisy):
    with pytest.raises(ValueError, match="expected at most 65536 tokens, which fit uint16, got 65538"):
        token_cache(noisy, tokenizer_of(0, levels=(2, 32769)))


def test_clips_never_cross_an_episode():
    bounds = np.array([0, 5, 8, 17])
    episode = np.repeat(np.arange(3), np.diff(bounds))
    tokens = np.stack([episode, np.arange(17)], 1).astype(np.uint16)
    split = TokenSplit(tokens, bounds, ("a", "b", "c"), ("0", "1", "2"))
    starts = split.starts(4)
    assert starts.tolist() == [0, 1, 8, 9, 10, 11, 12, 13]  # every place there is; episode 1 is too short
    clips = split.clips(starts, 4)
    assert clips.shape == (8, 4, 2) and clips.dtype == torch.uint16
    clips = clips.long()
    assert (clips[:, :, 0] == clips[:, :1, 0]).all()
    assert (clips[:, 1:, 1] - clips[:, :-1, 1] == 1).all()


def test_clips_longer_than_every_episode_are_refused():
    split = TokenSplit(np.zeros((17, 2), np.uint16), np.array([0, 5, 8, 17]), ("a", "b", "c"), ("0", "1", "2"))
    assert split.starts(9).tolist() == [8]
    with pytest.raises(ValueError, match="expected an episode of at least 10 frames, the longest has 9"):
        split.starts(10)


def test_a_pool_that_fits_has_every_frame(noisy):
    pool = frame_pool(noisy, "train")
    assert pool.dtype == torch.uint8
    assert np.array_equal(pool.numpy(), np.concatenate([noise(n, i) for i, n in enumerate(LENGTHS["train"])]))


@pytest.mark.parametrize("frames, stride", [(16, 2), (8, 3), (5, 4), (1, 17)])
def test_a_pool_that_does_not_fit_has_every_nth_frame_of_the_split(noisy, frames, stride):
    pool = frame_pool(noisy, "train", frames * 12 * 12 * 3 + 7)
    assert len(pool) <= frames
    everything = np.concatenate([noise(n, i) for i, n in enumerate(LENGTHS["train"])])
    assert np.array_equal(pool.numpy(), everything[::stride])


def test_a_pool_of_many_short_episodes_keeps_its_bound(make_store, make_episode, tmp_path):
    store = make_store(tmp_path / "short", {}, size=8)
    for index in range(20):
        store.write("train", make_episode(noise(1 + index % 2, index, size=8)))
    assert len(frame_pool(store, "train", 10 * 8 * 8 * 3)) == 10


def test_the_memory_that_filling_a_pool_takes_is_bounded_by_the_pool(make_store, make_episode, tmp_path):
    store = make_store(tmp_path / "long", {}, size=32)
    episode, bound = 100 * 32 * 32 * 3, 5 * 100 * 32 * 32 * 3
    for _ in range(12):
        store.write("train", make_episode(np.zeros((100, 32, 32, 3), np.uint8)))
    frame_pool(store, "train", bound)  # imports and caches
    tracemalloc.start()
    pool = frame_pool(store, "train", bound)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pool.numel() == 4 * episode  # every third frame
    assert peak < pool.numel() + 2.5 * episode  # the pool, the last episode and the one that is being read


def test_an_empty_split_has_no_pool(noisy):
    with pytest.raises(ValueError, match="expected frames in split 'test', found none"):
        frame_pool(noisy, "test")


def test_clips_are_read_on_a_device_as_they_are_in_the_cache(device, tmp_path):
    tokens = np.random.default_rng(0).integers(0, 2**16, (19, 5)).astype(np.uint16)
    np.save(tmp_path / "tokens.npy", tokens)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    split = TokenSplit(mapped, np.array([0, 8, 19]), ("", ""), ("a", "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = split.reader(4, device)
    starts = np.array([0, 4, 15, 4])
    found = reader(torch.from_numpy(starts).to(device))
    assert found.dtype == torch.int64 and found.device.type == device.type
    assert torch.equal(found.cpu(), split.clips(starts, 4).long())
