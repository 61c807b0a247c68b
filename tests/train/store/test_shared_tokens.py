"""One process encodes a token cache, the others wait and read; a full disk ends none of them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.writing import _host
from flam_train.store.store import Episode, EpisodeStore
from flam_train.store.tokens import token_cache

LENGTHS = (5, 9, 3)


def episode(length, seed):
    return Episode(
        frames=np.random.default_rng(seed).integers(0, 256, (length, 12, 12, 3), dtype=np.uint8),
        actions=np.zeros(length, np.int16),
        rewards=np.zeros(length, np.float32),
        level_seed=seed,
        agent="random",
        terminated=True,
    )


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore.create(tmp_path / "store", source="noise", size=12, settings={})
    for seed, length in enumerate(LENGTHS):
        store.write("train", episode(length, seed))
    return store


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return Tokenizer(TokenizerConfig(image_size=12, patch_size=4, width=8, blocks=1, levels=(3, 3))).eval()


def test_of_several_that_need_a_cache_one_encodes_and_the_others_wait_and_read(store, tokenizer, monkeypatch):
    gate, encoded, encode = threading.Barrier(3), [], Tokenizer.encode

    def slowly(self, frames):
        encoded.append(len(frames))
        threading.Event().wait(0.3)  # the others come to the cache meanwhile
        return encode(self, frames)

    def read(_):
        gate.wait()
        return token_cache(store, tokenizer)["train"].tokens[:]

    monkeypatch.setattr(Tokenizer, "encode", slowly)
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(read, range(3))
    assert sum(encoded) == sum(LENGTHS)
    assert all(np.array_equal(first, other) for other in others)
    assert len(os.listdir(store.root / "tokens")) == 1


def test_when_the_one_that_encodes_fails_another_does_it(store, tokenizer, monkeypatch):
    gate, calls, encode = threading.Barrier(2), [], Tokenizer.encode

    def fails_once(self, frames):
        calls.append(len(frames))
        if len(calls) == 1:
            threading.Event().wait(0.3)
            raise RuntimeError("out of memory")
        return encode(self, frames)

    def read(_):
        gate.wait()
        try:
            return len(token_cache(store, tokenizer)["train"].tokens)
        except RuntimeError as error:
            return str(error)

    monkeypatch.setattr(Tokenizer, "encode", fails_once)
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(read, range(2))) == {sum(LENGTHS), "out of memory"}


def test_a_full_disk_while_encoding_is_told_and_leaves_nothing(store, tokenizer, full_disk):
    """Written through a memory map, the cache would end the process with SIGBUS."""
    with full_disk(140), pytest.raises(OSError, match="make room and run it again"):
        token_cache(store, tokenizer)
    assert os.listdir(store.root / "tokens") == []
    assert token_cache(store, tokenizer)["train"].tokens.shape == (sum(LENGTHS), 9)


@pytest.mark.parametrize("at", [1, 2])
def test_tokens_and_episodes_belong_together_while_another_replaces_the_cache(store, tokenizer, monkeypatch, at):
    """A store grows, and another process encodes it, while this one opens the arrays."""
    expected = token_cache(store, tokenizer)["train"].tokens[:]
    load, calls = np.load, []

    def after_another_has_encoded(path, **how):
        calls.append(path)
        if len(calls) == at:
            store.write("train", episode(4, 7), name="early-0")  # sorts before the others
            token_cache(store, tokenizer)
        return load(path, **how)

    monkeypatch.setattr(np, "load", after_another_has_encoded)
    found = token_cache(store, tokenizer)["train"]
    assert np.array_equal(found.tokens, expected) and found.bounds[-1] == len(expected)


def test_a_cache_that_another_machine_encodes_is_left_alone_and_what_a_dead_process_left_goes(store, tokenizer):
    (store.root / "tokens").mkdir()
    theirs = store.root / "tokens" / ".flam-ab12-1-0123456789abcdef.tmp"
    ours = store.root / "tokens" / f".flam-{_host()}-{2**22 + 1}-0123456789abcdef.tmp"
    for folder in (theirs, ours):
        folder.mkdir()
        (folder / "train.npy").write_bytes(b"half")
    token_cache(store, tokenizer)
    assert theirs.exists() and not ours.exists()
