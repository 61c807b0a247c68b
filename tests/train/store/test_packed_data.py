"""What trains or scores a world takes a pack where it takes a store, and makes the same of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flam_env.models.tokenizer import Tokenizer
from flam_env.worlds.checkpoint import fingerprint, read_tensors, round_as_stored, save_network
from flam_env.worlds.clips import load_clips
from flam_env.worlds.loading import load_world
from flam_train.cli import main
from flam_train.engine import FitConfig, allocator
from flam_train.evaluate.evaluate import evaluate
from flam_train.heads.few_labels import LearningConfig
from flam_train.heads.ground import ground
from flam_train.phases.scheduled_sampling import scheduled_sampling
from flam_train.phases.tokenizer import find_tokenizer, load_tokenizer
from flam_train.phases.world_model import world_model
from flam_train.pictures.slots import slots
from flam_train.sources.multigrid import RoomConfig, record_room_episode
from flam_train.store.packing import Draw, write_pack
from flam_train.store.packs import Pack
from flam_train.store.store import EpisodeStore

pytestmark = pytest.mark.filterwarnings("ignore:the model copies the current frame")

SHORT = FitConfig(steps=2, batch_size=3, learning_rate=1e-3, precision="fp32")


@pytest.fixture
def already_restarted(monkeypatch):
    """Commands start themselves anew with these settings; a test must not."""
    monkeypatch.setenv("GLIBC_TUNABLES", allocator.TUNABLES)


@pytest.fixture(scope="module")
def packed(store, trained_tokenizer, tmp_path_factory) -> Path:
    """A pack of the squares, made by the command."""
    out = tmp_path_factory.mktemp("packs") / "squares.pack"
    main(["pack", str(store.root), "--tokenizer", str(trained_tokenizer), "--out", str(out), "--clips", "9"])
    return out


def contents(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def same_world(one: Path, other: Path) -> bool:
    """Whether two directories hold equal weights, starts and clips."""
    worlds = load_world(one), load_world(other)
    starts = [read_tensors(path / "starts.safetensors")[1] for path in (one, other)]
    return (
        worlds[0].fingerprint() == worlds[1].fingerprint()
        and worlds[0].settings == worlds[1].settings
        and all(starts[0][name].equal(starts[1][name]) for name in ("tokens", "actions", "bank"))
        and np.array_equal(load_clips(one), load_clips(other))
    )


def test_the_command_says_what_it_made(store, packed, trained_tokenizer, tmp_path, capsys):
    out = tmp_path / "squares.pack"
    main(["pack", str(store.root), "--tokenizer", str(trained_tokenizer), "--out", str(out), "--clip-frames", "18"])
    said = capsys.readouterr().out
    assert said == f"wrote {out}: {24 * 45 + 4 * 41 + 6 * 38} frames in {out.stat().st_size / 1e6:.2f} MB\n"
    assert Pack.open(out).identity() == Pack.open(packed).identity() == store.identity()


def test_a_pack_alone_makes_the_world_that_its_store_makes(store, packed, trained_tokenizer, phases, tmp_path):
    beside = Path(shutil.copytree(trained_tokenizer, tmp_path / "beside"))
    world_model(store.root, out=beside, **phases.hurried)
    world_model(packed, out=tmp_path / "alone", **phases.hurried)
    assert same_world(beside, tmp_path / "alone")
    other = phases.hurried | {"fit_config": replace(phases.hurried["fit_config"], seed=1)}
    world_model(packed, out=tmp_path / "other", **other)
    assert not same_world(beside, tmp_path / "other")


def test_a_run_goes_on_with_a_pack_where_it_had_a_store_and_back(store, packed, phases, monkeypatch, tmp_path):
    longer = phases.hurried | {"fit_config": replace(phases.hurried["fit_config"], steps=4)}
    world_model(packed, out=tmp_path / "whole", **longer)
    world_model(packed, out=tmp_path / "run", **phases.hurried)
    assert fingerprint(load_tokenizer(tmp_path / "run")) == fingerprint(Pack.open(packed).tokenizer)
    world_model(store.root, out=tmp_path / "run", **longer)
    assert same_world(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_was_cut_short_has_its_tokenizer(packed, phases, monkeypatch, tmp_path):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("flam_train.phases.world_model.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world_model(packed, out=tmp_path / "run", **phases.hurried)
    assert fingerprint(load_tokenizer(tmp_path / "run")) == fingerprint(Pack.open(packed).tokenizer)


def test_a_pack_of_another_tokenizer_is_refused(packed, phases, tmp_path):
    save_network(tmp_path / "tokenizer.safetensors", round_as_stored(Tokenizer(phases.tokenizer["model"])))
    with pytest.raises(ValueError, match=r"squares\.pack: expected the tokenizer .*, whose tokens the pack holds"):
        world_model(packed, out=tmp_path, **phases.hurried)
    assert contents(tmp_path) == {"tokenizer.safetensors"}


def test_a_pack_without_clips_is_noticed_before_training(store, trained_tokenizer, phases, tmp_path):
    bare = write_pack(store, load_tokenizer(trained_tokenizer), tmp_path / "bare.pack", ()).root
    with pytest.raises(ValueError, match="expected real clips of 18 frames of split 'val', the pack has none"):
        world_model(bare, out=tmp_path / "run", **phases.hurried)
    assert not (tmp_path / "run").exists()


def test_scheduled_sampling_makes_of_a_pack_what_it_makes_of_a_store(store, packed, trained, tmp_path):
    for name, data in (("store", store.root), ("pack", packed)):
        scheduled_sampling(str(trained), data, out=tmp_path / name, fit_config=SHORT, evaluate_every=0)
    assert same_world(tmp_path / "store", tmp_path / "pack")


def test_a_pack_scores_as_its_store_does(store, packed, trained, tmp_path):
    options = {"metrics": ("pixels",), "clips": 3, "out": tmp_path / "report.json"}
    one, other = (evaluate(str(trained), data, **options) for data in (store.root, packed))
    assert one["clips"] == 3 and json.dumps(one) == json.dumps(other)


def test_a_pack_shows_the_slots_that_its_store_shows(store, packed, trained, tmp_path):
    for name, data in (("store", store.root), ("pack", packed)):
        slots(str(trained), data, out=tmp_path / name, clips=1)
    for picture in ("masks.png", "steering.png"):
        assert (tmp_path / "store" / picture).read_bytes() == (tmp_path / "pack" / picture).read_bytes()


def test_a_pack_of_rooms_scores_as_its_store_does(trained, tmp_path):
    pytest.importorskip("gym_multigrid")
    room = RoomConfig(agents=3, cells=4)
    settings = {"seed": 0, "room": {**vars(room), "tied": []}}
    rooms = EpisodeStore.create(tmp_path / "rooms", source="multigrid", size=32, settings=settings)
    for index in range(5):
        rooms.write("test", record_room_episode(room, seed=[7, index], size=32, frames=12))
    draws = [Draw(split="test", count=4, length=7)]
    pack = write_pack(rooms, load_tokenizer(trained), tmp_path / "rooms.pack", draws)
    options = {"metrics": ("dci", "actions", "exactness", "independence"), "clips": 4, "horizon": 5}
    one, other = (
        evaluate(str(trained), data, out=tmp_path / "report.json", **options) for data in (rooms.root, pack.root)
    )
    assert len(one["factorization"]) == 4 and json.dumps(one) == json.dumps(other)


@pytest.fixture(scope="module")
def played(make_store, make_episode, tmp_path_factory) -> EpisodeStore:
    """Squares with the actions of one agent, some of them unknown."""
    store = make_store(tmp_path_factory.mktemp("stores") / "played", {"train": (0, 1)})
    for split, lengths in {"train": (23, 30, 17), "val": (21, 9)}.items():
        for seed, length in enumerate(lengths):
            random = np.random.default_rng(seed)
            frames = random.integers(0, 256, (length, 32, 32, 3), dtype=np.uint8)
            actions = random.integers(-1, 4, length).astype(np.int16)
            store.write(split, replace(make_episode(frames), actions=actions), name=f"noise-{seed}")
    return store


def test_a_decoder_learns_from_a_pack_what_it_learns_from_a_store(played, trained, tmp_path):
    packed = write_pack(played, load_tokenizer(trained), tmp_path / "played.pack", ()).root
    options = {"labels": 40, "actions": 4, "fit_config": SHORT, "supervised": False}
    options |= {"learning": LearningConfig(held_out=0.3, evaluate_every=2, patience=0)}
    for name, data in (("store", played.root), ("pack", packed)):
        ground(str(trained), data, out=tmp_path / name, **options)
    assert (tmp_path / "store" / "decoder.json").read_bytes() == (tmp_path / "pack" / "decoder.json").read_bytes()
    for head in ("decoder.safetensors", "encoder.safetensors"):
        one, other = (read_tensors(tmp_path / name / head)[1] for name in ("store", "pack"))
        assert all(one[name].equal(other[name]) for name in one | other)
    with pytest.warns(UserWarning, match=r"played\.pack: the model without the world sees pixels, .* is left out"):
        ground(str(trained), packed, out=tmp_path / "asked", **options | {"supervised": True})
    assert (tmp_path / "asked" / "decoder.json").read_bytes() == (tmp_path / "pack" / "decoder.json").read_bytes()


@pytest.mark.parametrize("command", ["tokenizer", "clone"])
def test_what_needs_all_pixels_asks_for_the_store(packed, tmp_path, capsys, already_restarted, command):
    with pytest.raises(SystemExit) as left:
        main([command, str(packed), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert left.value.code == 2 and said.startswith(f"flam-train {command}: expected ") and f"{packed}" in said
    assert "is a file: a pack has not all the pixels that this needs" in said
    assert contents(tmp_path) == set()


def test_a_tokenizer_is_found_by_name_or_by_path_and_never_by_both(trained_tokenizer, tmp_path, monkeypatch):
    bundled, own = find_tokenizer("bigfish"), load_tokenizer(trained_tokenizer)
    assert fingerprint(find_tokenizer(trained_tokenizer)) == fingerprint(own) != fingerprint(bundled)
    assert fingerprint(bundled) == fingerprint(load_world("bigfish").tokenizer)
    shutil.copytree(trained_tokenizer, tmp_path / "bigfish")
    monkeypatch.chdir(tmp_path)
    assert fingerprint(find_tokenizer("./bigfish")) == fingerprint(own)
    with pytest.raises(ValueError, match="expected one tokenizer of that name, got 'bigfish', which is a bundled"):
        find_tokenizer("bigfish")


@pytest.mark.parametrize("options", [["--clips", "0"], ["--clip-frames", "1"], ["--tokenizer", "nothing"]])
def test_mistakes_of_the_command_are_one_line(store, packed, tmp_path, capsys, already_restarted, options):
    with pytest.raises(SystemExit) as left:
        main(["pack", str(store.root), "--tokenizer", "bigfish", "--out", str(tmp_path / "out.pack"), *options])
    said = capsys.readouterr().err.strip()
    assert left.value.code == 2 and said.startswith("flam-train pack: expected ") and said.count("\n") == 0
    assert contents(tmp_path) == set()
