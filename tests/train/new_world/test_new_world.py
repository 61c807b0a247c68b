"""Ordinary films of things that move about freely become a world by two commands, whenever that is interrupted."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from films import sprites, write_film

from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.loading import load_world
from flam_train.cli import main
from flam_train.engine import allocator
from flam_train.evaluate.report import format_report, read_report
from flam_train.new_world import steps
from flam_train.new_world.card import CARD
from flam_train.new_world.plan import FILE
from flam_train.new_world.steps import PICTURE, TRAINED, new_world
from flam_train.phases.pack import pack
from flam_train.sources.films.importing import import_
from flam_train.store.store import EpisodeStore

pytest.importorskip("av")
pytest.importorskip("scipy")
pytestmark = pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")

HURRIED = {
    "preset": "tiny",
    "slots": 3,
    "tokenizer_steps": 6,
    "world_model_steps": 3,
    "sampling_steps": 2,
    "sampler_steps": 2,
    "clips": 2,
}


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> EpisodeStore:
    """The store of five ordinary mp4s of sprites that move freely."""
    folder = tmp_path_factory.mktemp("films")
    for seed in range(5):
        write_film(folder / f"{seed}.mp4", sprites(seed, frames=38))
    done = import_((folder,), out=tmp_path_factory.mktemp("stores") / "sprites", cuts="none", workers=1)
    assert done.store is not None
    return done.store


@pytest.fixture(scope="module")
def made(films, tmp_path_factory) -> SimpleNamespace:
    """The world of these films, made without interruption by the command, and what that said."""
    out, said = tmp_path_factory.mktemp("runs") / "sprites", io.StringIO()
    options = [word for name, value in HURRIED.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setenv("GLIBC_TUNABLES", allocator.TUNABLES)
        main(["new-world", str(films.root), "--out", str(out), *options])
    return SimpleNamespace(out=out, said=said.getvalue())


def test_sprites_in_ordinary_films_become_a_world_that_steps(made):
    env = gym.make("FLAM-v0", checkpoint=str(made.out))
    frame, _ = env.reset(seed=0)
    after, reward, ended, *_ = env.step(env.action_space.sample())
    assert env.action_space.shape[0] == 3 and frame.shape == after.shape == (64, 64, 3)
    assert (reward, ended) == (0.0, False)
    assert load_world(made.out).model.learns_prior


def test_the_last_line_opens_the_world(made):
    *_, imports, line = made.said.splitlines()
    assert imports == "import gymnasium as gym, flam_env"
    opened = eval(line, {"gym": gym})
    assert opened.unwrapped.world.model.slots == 3


def test_the_plan_is_written_and_printed_with_its_reasons(made):
    plan = json.loads((made.out / FILE).read_text())
    assert plan["choices"] | {"slots": 3, "patch_size": 4, "price": 0.6, "last_price": 0.3} == plan["choices"]
    assert set(plan["why"]) < set(plan["choices"]) and plan["why"]["slots"] == "as you ask"
    assert all(why in made.said for why in plan["why"].values())


def test_the_card_has_the_choices_the_scores_and_the_advice(made):
    card, report = (made.out / CARD).read_text(), read_report(made.out / "report.json")
    assert {"scores", "dreams", "rate", "slots"} <= set(report)
    assert all(line in card.splitlines() for line in format_report(report).splitlines())
    assert all(why in card for why in json.loads((made.out / FILE).read_text())["why"].values())
    wrong = [line.removeprefix("! ") for line in made.said.splitlines() if line.startswith("! ")]
    assert wrong and all(f"- {text}" in card for text in wrong)
    assert (made.out / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_scored_is_named_with_the_reason(made):
    (line,) = [line for line in made.said.splitlines() if line.startswith("not scored: life: ")]
    assert "expected long dreams of at least two levels" in line
    assert line.removeprefix("not scored: ") in (made.out / CARD).read_text()


def interrupted(function):
    """The function, after which somebody presses Ctrl-C."""

    def call(*arguments, **named):
        function(*arguments, **named)
        raise KeyboardInterrupt

    return call


def test_interrupted_after_every_step_it_comes_to_the_same(films, made, tmp_path):
    for step in ("tokenizer", "world_model", "scheduled_sampling", "token_sampler", "evaluate", "dreams"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(steps, step, interrupted(getattr(steps, step)))
            new_world(films.root, out=tmp_path / "sprites", **HURRIED)
    done = new_world(films.root, out=tmp_path / "sprites", **HURRIED)
    samplers = [load_world(out).heads["token_sampler"] for out in (made.out, tmp_path / "sprites")]
    assert fingerprint(samplers[0]) == fingerprint(samplers[1])
    for folder in ("", TRAINED):
        one, other = (load_world(out / folder) for out in (made.out, tmp_path / "sprites"))
        assert fingerprint(one.model) == fingerprint(other.model)
        assert fingerprint(one.tokenizer) == fingerprint(other.tokenizer)
    for file in ("report.json", FILE, PICTURE):
        assert (tmp_path / "sprites" / file).read_bytes() == (made.out / file).read_bytes()
    same = str(made.out), str(tmp_path / "sprites")
    assert (made.out / CARD).read_text().replace(*same) == (tmp_path / "sprites" / CARD).read_text()
    assert done.advice and done.unscored.keys() == {"life"}


def test_what_is_done_is_not_done_again(films, made, monkeypatch):
    def not_again(*arguments, **named):
        raise AssertionError("this is done")

    for step in ("tokenizer", "world_model", "scheduled_sampling", "token_sampler", "dreams"):
        monkeypatch.setattr(steps, step, not_again)
    before = {path: path.read_bytes() for path in made.out.rglob("*") if path.is_file()}
    assert new_world(films.root, out=made.out, **HURRIED).directory == made.out
    assert {path: path.read_bytes() for path in made.out.rglob("*") if path.is_file()} == before


def test_a_pack_brings_its_tokenizer(films, made, tmp_path):
    packed = pack(films.root, tokenizer=str(made.out / TRAINED), out=tmp_path / "films.pack", clips=2).root
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, "world_model", interrupted(steps.world_model))
        new_world(packed, out=tmp_path / "world", **{k: v for k, v in HURRIED.items() if k != "tokenizer_steps"})
    assert json.loads((tmp_path / "world" / FILE).read_text())["choices"]["tokenizer"] is None
    assert fingerprint(load_world(tmp_path / "world" / TRAINED).tokenizer) == fingerprint(
        load_world(made.out).tokenizer
    )


# --- refusals, before anything is trained ---------------------------------------------------------------------------


def store_of(root: Path, make_episode, size: int = 64, **lengths: int) -> Path:
    store = EpisodeStore.create(root, source="video", size=size, settings={"frames_per_second": 15})
    for split, length in lengths.items():
        store.write(split, make_episode(np.zeros((length, size, size, 3), np.uint8)))
    return store.root


@pytest.mark.parametrize(
    "lengths, said",
    [
        ({"train": 15, "val": 40, "test": 40}, "expected an episode of 16 frames or more in split 'train', got 15"),
        ({"train": 40, "val": 33, "test": 40}, "expected an episode of 34 frames or more in split 'val', got 33"),
        ({"train": 40, "val": 40}, "expected an episode of 34 frames or more in split 'test', got 0"),
    ],
)
def test_films_that_are_too_short_or_too_few_are_refused(make_episode, tmp_path, lengths, said):
    data = store_of(tmp_path / "data", make_episode, **lengths)
    with pytest.raises(ValueError, match=f"{said} .*import longer films, three or more"):
        new_world(data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"preset": "large"}, r"expected a preset of \['gpu', .*\], got 'large'"),
        ({"minutes": 0.5}, "expected 1 minutes or more, of which the tokenizer gets 12%, got 0.5"),
        ({"minutes": -3.0}, "expected 1 minutes or more"),
        ({"minutes": float("nan")}, "expected 1 minutes or more"),
        ({"slots": 0}, "expected slots >= 1 and clips >= 2, got 0"),
        ({"clips": 1}, "expected slots >= 1 and clips >= 2, got .* and 1"),
        ({"patch_size": 7}, "expected image_size to be a multiple of patch_size"),
        ({"price": -1.0}, "expected information_price, last_price and free_nats >= 0"),
        ({"world_model_steps": 0}, "steps or minutes"),
        ({"seed": -1}, "expected seed in range"),
        ({"preset": "paper"}, "expected frames of a multiple of 28 px, .* the preset paper .* got 64 px"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(films, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        new_world(films.root, out=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of an episode store"):
        new_world(tmp_path / "nothing", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other, said",
    [
        ({"slots": 4}, r"choices\.slots 3 there, 4 here"),
        ({"seed": 1}, r"choices\.seed 0 there, 1 here"),
        ({"world_model_steps": 4}, r"choices\.world_model\.steps 3 there, 4 here"),
        ({"price": 0.5}, r"choices\.price 0\.6 there, 0\.5 here"),
        ({"preset": "small"}, r"choices\.preset tiny there, small here"),
    ],
)
def test_a_second_call_with_other_choices_is_refused(films, made, other, said):
    before = (made.out / FILE).read_bytes()
    with pytest.raises(ValueError, match=f"expected a world with the same settings, got .* {said}"):
        new_world(films.root, out=made.out, **HURRIED | other)
    assert (made.out / FILE).read_bytes() == before


def test_a_folder_with_another_run_is_refused(films, made, tmp_path):
    copy = Path(shutil.copytree(made.out / TRAINED, tmp_path / "run"))
    before = sorted(copy.rglob("*"))
    with pytest.raises(ValueError, match="expected an absent or empty folder, or a world that `flam-train new-world`"):
        new_world(films.root, out=copy, **HURRIED)
    assert sorted(copy.rglob("*")) == before


def test_a_damaged_plan_is_refused(films, made, tmp_path):
    copy = Path(shutil.copytree(made.out, tmp_path / "copy"))
    (copy / FILE).write_text("[]")
    with pytest.raises(ValueError, match=rf"{FILE}: expected"):
        new_world(films.root, out=copy, **HURRIED)


def test_processes_of_torchrun_are_refused(films, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="expected one process, got 2 of torchrun"):
        new_world(films.root, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
