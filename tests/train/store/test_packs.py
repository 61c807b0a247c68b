"""A pack is the store that it was made of, as far as it says so, and a strange one can be wrong but do no harm."""

import io
import json
import lzma
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import fingerprint, read_tensors, round_as_stored, save_network
from flam_train.heads.draws import supervise
from flam_train.store import packing
from flam_train.store.clips import check_length, draw_clips, draw_places
from flam_train.store.compression import LARGEST_WINDOW, compress, decompress
from flam_train.store.packing import Draw, write_pack
from flam_train.store.packs import Pack
from flam_train.store.store import Episode, EpisodeStore
from flam_train.store.tokens import token_cache
from flam_train.store.training_data import episode_tokens, open_data, token_splits

SIZE, ACTIONS = 12, 7
LENGTHS = {"train": (5, 41, 23), "val": (31, 2), "test": (37, 12, 50, 3)}
DRAWS = (
    Draw(split="test", count=3, length=8),
    Draw(split="test", count=2, length=11),
    Draw(split="val", count=2, length=6),
)


def episode_of(length: int, seed: int) -> Episode:
    """Noise in which nothing is equal by chance: everything about an episode follows from its seed."""
    random = np.random.default_rng([seed, length])
    return Episode(
        frames=random.integers(0, 256, (length, SIZE, SIZE, 3), dtype=np.uint8),
        actions=random.integers(-1, ACTIONS, length).astype(np.int16),
        rewards=random.normal(size=length).astype(np.float32),
        level_seed=seed + 100,
        agent=("planner", "random")[seed % 2],
        terminated=seed % 3 == 0,
        truth={
            "positions": random.integers(-9, 9, (length, 3, 2)).astype(np.int16),
            "lit": random.random(length) < 0.5,
        },
    )


def tokenizer_of(seed: int, levels=(3, 2, 5)) -> Tokenizer:
    torch.manual_seed(seed)
    config = TokenizerConfig(image_size=SIZE, patch_size=4, width=8, blocks=1, levels=levels)
    return round_as_stored(Tokenizer(config)).eval()


def store_of(root: Path) -> EpisodeStore:
    store = EpisodeStore.create(root, source="noise", size=SIZE, settings={"seed": 3, "frames_per_second": 10})
    for split, lengths in LENGTHS.items():
        for seed, length in enumerate(lengths):
            store.write(split, episode_of(length, seed), name=f"noise-{seed}")
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> EpisodeStore:
    return store_of(tmp_path_factory.mktemp("stores") / "noise")


@pytest.fixture(scope="module")
def pack(store, tmp_path_factory) -> Pack:
    return write_pack(store, tokenizer_of(0), tmp_path_factory.mktemp("packs") / "noise.pack", DRAWS)


# --- the same as the store --------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_store(store, pack):
    expected, found = token_cache(store, tokenizer_of(0)), token_splits(pack, tokenizer_of(0))
    assert list(found) == list(expected) == list(LENGTHS)
    for split, of in found.items():
        assert of.tokens.dtype == np.uint16 and np.array_equal(of.tokens, expected[split].tokens)
        assert np.array_equal(of.bounds, expected[split].bounds)
        assert (of.agents, of.names) == (expected[split].agents, expected[split].names)
        assert len(np.unique(of.tokens)) > 5, "the test shows nothing if all tokens are equal"
    starts = expected["train"].starts(16)
    assert np.array_equal(found["train"].starts(16), starts)
    assert torch.equal(found["train"].clips(starts[::3], 16), expected["train"].clips(starts[::3], 16))


def test_tokens_of_more_than_a_byte_are_those_of_the_store(store, tmp_path):
    tokenizer = tokenizer_of(1, levels=(9, 8, 7))
    pack = write_pack(store, tokenizer, tmp_path / "large.pack", ())
    assert np.array_equal(pack.tokens("train").tokens, token_cache(store, tokenizer)["train"].tokens)
    assert pack.tokens("train").tokens.max() > 255


def test_real_valued_actions_come_along(tmp_path):
    store = EpisodeStore.create(tmp_path / "driven", source="noise", size=SIZE, settings={})
    told = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    store.write("train", replace(episode_of(9, 0), continuous_actions=told))
    store.write("train", episode_of(7, 1))
    pack = write_pack(store, tokenizer_of(0), tmp_path / "driven.pack", ())
    found = {record.frames: pack.annotations(record).continuous_actions for record in pack.episodes("train")}
    assert np.array_equal(found[9], told) and found[7] is None


def test_what_is_known_of_episodes_is_what_the_store_knows(store, pack):
    assert (pack.source, pack.size, pack.settings) == (store.source, store.size, store.settings)
    assert pack.identity() == store.identity() and pack.splits == store.splits
    for split in LENGTHS:
        assert pack.frames(split) == store.frames(split)
        for found, expected in zip(pack.episodes(split), store.episodes(split), strict=True):
            assert found.path.relative_to(pack.root) == expected.path.relative_to(store.root) and found.split == split
            assert (found.frames, found.agent, found.level_seed) == (
                expected.frames,
                expected.agent,
                expected.level_seed,
            )
            known, whole = pack.annotations(found), store.read(expected)
            assert known.frames.shape == (0, SIZE, SIZE, 3)
            assert (known.agent, known.level_seed, known.terminated) == (
                whole.agent,
                whole.level_seed,
                whole.terminated,
            )
            for name in ("actions", "rewards"):
                assert getattr(known, name).dtype == getattr(whole, name).dtype
                assert np.array_equal(getattr(known, name), getattr(whole, name))
            assert set(known.truth) == (set() if split == "train" else {"positions", "lit"})
            for name, array in known.truth.items():
                assert array.dtype == whole.truth[name].dtype and np.array_equal(array, whole.truth[name])


def test_episodes_of_different_numbers_of_agents_keep_their_actions(tmp_path):
    store = EpisodeStore.create(tmp_path / "store", source="noise", size=SIZE, settings={})
    acting = [np.zeros((4, 0)), np.arange(15).reshape(5, 3), np.arange(6)]
    for number, actions in enumerate(acting):
        known = vars(episode_of(len(actions), number)) | {"actions": actions.astype(np.int16), "truth": {}}
        store.write("train", Episode(**known), name=f"noise-{number}")
    pack = write_pack(store, tokenizer_of(0), tmp_path / "noise.pack", DRAWS)
    for record, actions in zip(pack.episodes("train"), acting, strict=True):
        assert np.array_equal(pack.annotations(record).actions, actions)
    assert pack.episodes("test") == []


def test_clips_are_those_that_the_store_draws(store, pack):
    for draw in DRAWS:
        for count in (draw.count, 1):
            expected = draw_clips(store, draw.split, count, draw.length)
            found = draw_clips(pack, draw.split, count, draw.length)
            assert np.array_equal(found.frames, expected.frames) and found.agents == expected.agents


@pytest.mark.parametrize("length, seed", [(5, 0), (8, 1), (11, 7)])
def test_clips_of_another_length_or_seed_are_real_too(store, pack, length, seed):
    drawn = draw_places(pack, "test", 1000, length, seed)
    assert 0 < len(drawn) < len(draw_places(store, "test", 1000, length, seed))
    records = {record.path.name: record for record in store.episodes("test")}
    for (record, start), frames in zip(drawn, draw_clips(pack, "test", 1000, length, seed).frames, strict=True):
        assert np.array_equal(frames, store.read_frames(records[record.path.name], start, start + length))


def test_clips_that_the_pack_has_not_are_refused(pack):
    with pytest.raises(ValueError, match="expected real clips of 30 frames of split 'test', the pack has none"):
        draw_clips(pack, "test", 4, 30)
    with pytest.raises(ValueError, match="expected an episode of 51 frames in split 'test', found none"):
        draw_clips(pack, "test", 4, 51)
    with pytest.raises(ValueError, match="expected an episode of 42 frames in split 'train', found none"):
        check_length(pack, "train", 42)
    check_length(pack, "train", 41)
    record = pack.episodes("train")[1]
    with pytest.raises(ValueError, match=r"noise-1\.h5: expected frames whose pixels are in the pack, got 3 to 9"):
        pack.read_frames(record, 3, 9)
    assert not pack.has_frames(record, 3, 9)


def test_known_actions_are_those_of_the_store(store, pack):
    expected, found = (supervise(data, 30, actions=ACTIONS, seed=2) for data in (store, pack))
    assert found.learned.at.same(expected.learned.at) and found.scored.at.same(expected.scored.at)
    assert np.array_equal(found.learned.actions, expected.learned.actions)
    assert np.array_equal(found.scored.actions, expected.scored.actions)


def test_the_beginning_of_an_episode_has_the_tokens_of_its_frames(store, pack):
    tokenizer = tokenizer_of(0)
    for found, expected in zip(pack.episodes("test"), store.episodes("test"), strict=True):
        tokens = episode_tokens(store, expected, expected.frames - 1, tokenizer)
        assert tokens.shape == (expected.frames - 1, 9)
        assert torch.equal(episode_tokens(pack, found, found.frames - 1, tokenizer), tokens)


def test_a_pack_brings_its_tokenizer_and_takes_no_other(store, pack):
    assert fingerprint(pack.tokenizer) == fingerprint(tokenizer_of(0))
    for data in (store, pack):
        assert open_data(data.root).identity() == store.identity()
    with pytest.raises(ValueError, match=r"expected the tokenizer .*, whose tokens the pack holds, got .*; make"):
        token_splits(pack, tokenizer_of(1))
    with pytest.raises(ValueError, match=r"expected the tokenizer .*, whose tokens the pack holds"):
        episode_tokens(pack, pack.episodes("test")[0], 3, tokenizer_of(1))


def test_video_that_stands_still_takes_little_room(tmp_path):
    sizes = {}
    for name, changing in (("still", 1), ("moving", 300)):
        store = EpisodeStore.create(tmp_path / name, source=name, size=SIZE, settings={})
        episode = episode_of(300, 0)
        episode.frames[:] = episode.frames[np.arange(300) % changing]
        store.write("train", episode)
        pack = write_pack(store, tokenizer_of(0), tmp_path / f"{name}.pack", ())
        sizes[name] = len(read_tensors(pack.root)[1]["train.tokens"])
    assert 10 * sizes["still"] < sizes["moving"] < 300 * 9


# --- writing ----------------------------------------------------------------------------------------------------


def test_a_pack_takes_the_place_of_an_older_one_and_of_nothing_else(store, tmp_path):
    out = write_pack(store, tokenizer_of(0), tmp_path / "noise.pack", ()).root
    write_pack(store, tokenizer_of(1), out, DRAWS)
    assert fingerprint(Pack.open(out).tokenizer) == fingerprint(tokenizer_of(1))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"thesis\.txt: expected no file, or a pack to replace"):
        write_pack(store, tokenizer_of(0), tmp_path / "thesis.txt", ())
    save_network(tmp_path / "tokenizer.safetensors", tokenizer_of(0))
    with pytest.raises(ValueError, match=r"tokenizer\.safetensors: expected no file, or a pack to replace"):
        write_pack(store, tokenizer_of(0), tmp_path / "tokenizer.safetensors", ())
    with pytest.raises(FileExistsError, match="expected the name of a file, got the folder"):
        write_pack(store, tokenizer_of(0), tmp_path, ())
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"noise.pack", "thesis.txt", "tokenizer.safetensors"}


def test_what_cannot_be_written_leaves_what_was_there(store, tmp_path, monkeypatch):
    out = write_pack(store, tokenizer_of(0), tmp_path / "noise.pack", ()).root
    before = out.read_bytes()

    def disk_full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("flam_env.worlds.writing.os.replace", disk_full)
        write_pack(store, tokenizer_of(1), out, DRAWS)
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]


def test_a_store_that_grows_meanwhile_is_refused(tmp_path, monkeypatch):
    store, cache = store_of(tmp_path / "store"), packing.token_cache

    def cache_while_another_writes(*arguments):
        found = cache(*arguments)
        store.write("val", episode_of(4, 9), name="another")
        return found

    monkeypatch.setattr(packing, "token_cache", cache_while_another_writes)
    with pytest.raises(ValueError, match="expected a store at rest, got one that grows"):
        write_pack(store, tokenizer_of(0), tmp_path / "noise.pack", ())
    assert not (tmp_path / "noise.pack").exists()


# --- streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("shape", [(7,), (7, 3, 2), (0, 5), (6, 0)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "bool", ">i4"])
def test_an_array_comes_back_as_it_was(shape, dtype, columns):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    found = decompress(compress(array, columns=columns), shape, np.dtype(dtype), "x", columns=columns)
    assert found.dtype == array.dtype and np.array_equal(found, array) and found.flags.c_contiguous


@pytest.mark.parametrize("shape", [(39,), (41,), (2**20,)])
def test_a_stream_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=rf"here: expected an xz stream of {shape[0]} bytes, got "):
        decompress(compress(np.zeros(40, np.uint8)), shape, np.uint8, "here")


# --- packs of strangers -----------------------------------------------------------------------------------------


def tampered(pack: Pack, path: Path, metadata=lambda m: m, header=lambda h: h, tensors=lambda t: t) -> Path:
    """A copy of the pack with changes to parts of it."""
    found, arrays = read_tensors(pack.root)
    found["header"] = json.dumps(header(json.loads(found["header"])))
    save_file(tensors(arrays), path, metadata(found))
    return path


def without(mapping: dict, key: str) -> dict:
    return {name: value for name, value in mapping.items() if name != key}


def in_test(**changes):
    """Changes to what the header says of the test split."""
    return lambda header: header | {"splits": header["splits"] | {"test": header["splits"]["test"] | changes}}


HEADERS = {
    "another key": lambda h: h | {"colour": "red"},
    "a key less": lambda h: without(h, "source"),
    "no splits": lambda h: h | {"splits": {}},
    "splits of another kind": lambda h: h | {"splits": ["test"]},
    "another split": lambda h: h | {"splits": h["splits"] | {"exam": h["splits"]["test"]}},
    "a split less": lambda h: h | {"splits": without(h["splits"], "val")},
    "a split of another kind": lambda h: h | {"splits": h["splits"] | {"test": 4}},
    "size in words": lambda h: h | {"size": "twelve"},
    "another size": lambda h: h | {"size": 24},
    "another tokenizer": lambda h: h | {"tokenizer": "0123456789abcdef"},
    "settings of another kind": lambda h: h | {"settings": 3},
    "another key of a split": in_test(colour="red"),
    "an episode less": in_test(frames=[37, 12, 50]),
    "frames in words": in_test(frames=["many", 12, 50, 3]),
    "a fraction of a frame": in_test(frames=[36.5, 12.5, 50, 3]),
    "no frames": in_test(frames=[52, 0, 47, 3]),
    "fewer frames than none": in_test(frames=[-1, 50, 50, 3]),
    "more frames than there are": in_test(frames=[38, 12, 50, 3]),
    "more frames than memory": in_test(frames=[10**15, 12, 50, 3]),
    "more frames than numbers": in_test(frames=[10**30, 12, 50, 3]),
    "more agents than memory": in_test(acting=[-1, 10**12, -1, -1]),
    "fewer agents than none": in_test(acting=[-1, -2, -1, -1]),
    "a name twice": in_test(names=["a", "b", "c", "a"]),
    "names that are paths": in_test(names=["/etc/passwd", "b", "c", "d"]),
    "stretches outside": in_test(filmed=[[0, 38], [], [], []]),
    "stretches that overlap": in_test(filmed=[[0, 8, 7, 9], [], [], []]),
    "half a stretch": in_test(filmed=[[3], [], [], []]),
    "stretches of another kind": in_test(filmed=[["a", "b"], [], [], []]),
    "more pixels than there are": in_test(filmed=[[0, 37], [0, 12], [0, 50], [0, 3]]),
    "objects": in_test(truth={"positions": ["object", 3, 2], "lit": ["bool"]}),
    "truth of another kind": in_test(truth={"positions": "int16", "lit": ["bool"]}),
    "truth larger than memory": in_test(truth={"positions": ["int16", 10**9, 10**9], "lit": ["bool"]}),
    "truth of negative size": in_test(truth={"positions": ["int16", -3, -2], "lit": ["bool"]}),
}


def read_everything(path: Path) -> None:
    pack = Pack.open(path)
    for split in pack.splits:
        for record in pack.episodes(split):
            pack.tokens(split), pack.annotations(record)
        if split != "train":
            draw_clips(pack, split, 5, 6)


def test_the_pack_that_is_tampered_with_below_can_be_read(pack, tmp_path):
    read_everything(tampered(pack, tmp_path / "same.pack"))


def test_a_header_that_does_not_speak_of_real_valued_actions_knows_of_none(pack, tmp_path):
    def older(header):
        return header | {"splits": {name: without(split, "continuous") for name, split in header["splits"].items()}}

    again = Pack.open(tampered(pack, tmp_path / "older.pack", header=older))
    assert again.identity() == pack.identity()
    assert all(again.annotations(record).continuous_actions is None for record in again.episodes("test"))


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_wrong_is_refused(pack, tmp_path, change):
    with pytest.raises(ValueError, match=r"strange\.pack"):
        read_everything(tampered(pack, tmp_path / "strange.pack", header=change))


METADATA = {
    "another version": lambda m: m | {"version": "2"},
    "another format": lambda m: m | {"format": "flam"},
    "no header": lambda m: without(m, "header"),
    "another entry": lambda m: m | {"colour": "red"},
    "no JSON": lambda m: m | {"header": "{"},
    "deep JSON": lambda m: m | {"header": "[" * 10**5},
    "a tokenizer of another key": lambda m: m | {"config": json.dumps(json.loads(m["config"]) | {"colour": 1})},
    "a wider tokenizer": lambda m: m | {"config": json.dumps(json.loads(m["config"]) | {"width": 16})},
    "a tokenizer wider than memory": lambda m: m | {"config": json.dumps(json.loads(m["config"]) | {"width": 10**12})},
    "a tokenizer without end": lambda m: m | {"config": json.dumps(json.loads(m["config"]) | {"blocks": 10**12})},
    "more tokens than fit": lambda m: m | {"config": json.dumps(json.loads(m["config"]) | {"levels": [2**9] * 3})},
}


@pytest.mark.parametrize("change", METADATA.values(), ids=METADATA)
def test_a_file_of_another_kind_or_version_is_refused(pack, tmp_path, change):
    with pytest.raises(ValueError, match=r"strange\.pack"):
        read_everything(tampered(pack, tmp_path / "strange.pack", metadata=change))


def stream_of(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


TENSORS = {
    "another array": lambda t: t | {"test.colours": stream_of(b"red")},
    "an array less": lambda t: without(t, "test.rewards"),
    "an array of another kind": lambda t: t | {"test.rewards": torch.zeros(3)},
    "no stream": lambda t: t | {"test.rewards": stream_of(b"no stream")},
    "half a stream": lambda t: t | {"test.tokens": t["test.tokens"][:-30].clone()},
    "two streams": lambda t: t | {"test.rewards": torch.cat([t["test.rewards"]] * 2)},
    "a flipped bit": lambda t: (
        t | {"test.tokens": t["test.tokens"] ^ (torch.arange(len(t["test.tokens"])) == 90).byte()}
    ),
    "tokens out of range": lambda t: t | {"test.tokens": compress(np.full((102, 9), 30, np.uint8), columns=True)},
    "a weight less": lambda t: without(t, "tokenizer.to_code.bias"),
    "other weights": lambda t: t | {"tokenizer.to_code.bias": t["tokenizer.to_code.bias"] + 1},
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_arrays_that_are_wrong_are_refused(pack, tmp_path, change):
    with pytest.raises(ValueError, match=r"strange\.pack"):
        read_everything(tampered(pack, tmp_path / "strange.pack", tensors=change))


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_that_is_not_whole_is_refused(pack, tmp_path, length):
    (tmp_path / "strange.pack").write_bytes(pack.root.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"strange\.pack: expected a whole safetensors file"):
        Pack.open(tmp_path / "strange.pack")


def test_a_pickle_is_not_read(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("data.pkl", b"\x80\x04")
    (tmp_path / "strange.pack").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match="expected a whole safetensors file, got a pickle or zip archive"):
        open_data(tmp_path / "strange.pack")


def test_a_stream_that_would_fill_the_memory_takes_none(pack, tmp_path):
    bomb = stream_of(lzma.compress(bytes(2**28)))
    path = tampered(pack, tmp_path / "strange.pack", tensors=lambda t: t | {"test.rewards": bomb})
    strange = Pack.open(path)
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected an xz stream of 408 bytes, got more than 408"):
        strange.annotations(strange.episodes("test")[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LARGEST_WINDOW


def test_a_header_that_promises_more_than_there_is_takes_no_memory(pack, tmp_path):
    promised = 2**27  # frames of 9 tokens: 1.2 GB
    change = in_test(frames=[promised, 12, 50, 3])
    strange = Pack.open(tampered(pack, tmp_path / "strange.pack", header=change))
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected an xz stream of 1207960137 bytes, got 918"):
        strange.tokens("test")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LARGEST_WINDOW
