"""Worlds in pieces of minutes: what ends goes on, what is done stays done, and what goes home is small and whole."""

import json
import math
import signal
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from flam_env.worlds.loading import load_world
from flam_train.engine import FitConfig, fit
from flam_train.engine.state import read_header
from flam_train.phases.pack import pack
from flam_train.presets import BOUND, PRESETS
from flam_train.studies.recipe import archives, worlds
from flam_train.studies.recipe import recipe as command
from flam_train.studies.recipe.archives import archive
from flam_train.studies.recipe.games import GAMES, GameOptions
from flam_train.studies.recipe.pieces import PieceOver, piece
from flam_train.studies.recipe.recipe import recipe
from flam_train.studies.recipe.worlds import Scoring

pytestmark = pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")

SCORING = Scoring(clips=4, long_dreams=4)
HURRIED = {"preset": "tiny", "minutes": 0.02, "sampling_share": 0.4, "scoring": SCORING, "workers": 1}


@pytest.fixture
def here(in_turn):
    """Worlds are made in this process, one after the other; returns the names of those that were begun."""
    return in_turn(command)


@pytest.fixture(scope="module")
def squares(store, trained_tokenizer, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "squares.pack"
    pack(store.root, tokenizer=str(trained_tokenizer), out=out, clips=8)
    return out


# --- a rehearsal ------------------------------------------------------------------------------------------------------


def test_a_recipe_in_two_pieces_leaves_archives_and_a_table(squares, here, tmp_path, monkeypatch):
    smaller = replace(PRESETS["tiny"].world_model, dim=16, heads=2, slots=3)
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], world_model=smaller))
    monkeypatch.setitem(GAMES, "squares", GameOptions(model=BOUND, loss={"information_price": 0.4}, metrics=("slots",)))
    home = tmp_path / "squares-0.tar.gz"
    with monkeypatch.context() as patch:
        patch.setattr(worlds, "world_model", takes_long(worlds.world_model))
        table = recipe((squares,), out=tmp_path, piece_minutes=0.05, **HURRIED)
    assert not home.exists() and "Not done yet: squares-0." in table.read_text()
    before = read_header(tmp_path / "trained/squares-0/training/world_model/resume.safetensors")
    assert before.record["fit"]["seed"] == 0 and before.record["identity"]["loss"]["information_price"] == 0.4
    assert recipe((squares,), out=tmp_path, **HURRIED) == table
    after = read_header(tmp_path / "trained/squares-0/training/world_model/resume.safetensors")
    assert after.seconds >= max(before.seconds, 0.02 * 0.6 * 60)
    with tarfile.open(home) as file:
        file.extractall(tmp_path / "home", filter="data")
    world = load_world(tmp_path / "home/squares-0")
    assert world.model.config.background_sink and world.model.config.dim == 16 and "road" in world.heads
    report = json.loads((tmp_path / "home/squares-0/report.json").read_text())
    assert report["clips"] == 4 and {"scores", "rate", "slots"} <= report.keys()
    logs = {path.parent.name for path in (tmp_path / "home").glob("squares-0/training/*/metrics.jsonl")}
    assert logs == {"world_model", "scheduled_sampling"}
    assert "| squares-0 | " in table.read_text() and "Not done" not in table.read_text()
    recipe((squares,), out=tmp_path, **HURRIED)
    assert here == ["squares-0"] * 2, "what has an archive is not made again"


def takes_long(train):
    """A training that would outlast any piece."""

    def train_long(*arguments, fit_config, **named):
        return train(*arguments, fit_config=replace(fit_config, minutes=60.0), **named)

    return train_long


def test_a_world_that_fails_leaves_the_others_alone(squares, here, tmp_path, monkeypatch):
    made = []

    def make(planned, deadline):
        made.append(planned.name)
        if planned.seed == 3:
            raise ValueError("no luck")

    monkeypatch.setattr(command, "make_world", make)
    with pytest.raises(ChildProcessError, match=r"got squares-3: no luck; see log.txt"):
        recipe((squares,), out=tmp_path, seeds=(3, 4), **HURRIED)
    assert made == ["squares-3", "squares-4"]
    assert "Not done yet: squares-3, squares-4." in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "huge"}, "expected a preset of"),
        ({"minutes": 0.0}, "expected minutes > 0"),
        ({"sampling_share": 1.0}, r"sampling_share in \[0, 1\)"),
        ({"seeds": ()}, "and seeds"),
        ({"workers": -1}, "expected workers >= 0"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(squares, here, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        recipe((squares,), out=tmp_path, **(HURRIED | changes))
    for packs in ((), (squares, squares)):
        with pytest.raises(ValueError, match="expected packs with names that differ"):
            recipe(packs, out=tmp_path, **HURRIED)
    assert not here and not [*tmp_path.iterdir()]


def test_options_of_games_are_fields_of_their_configs():
    for options in GAMES.values():
        for preset in PRESETS.values():
            replace(preset.world_model, **options.model)
            replace(preset.loss, **options.loss)


def test_games_are_what_the_preset_is_and_rooms_have_cells_and_cheap_nats_from_the_unit_normal():
    gpu = PRESETS["gpu"]
    for game in ("bigfish", "starpilot", "leaper"):
        options = GAMES[f"procgen/{game}"]
        assert not options.model and not options.loss and "horizon" in options.metrics
    rooms = GAMES["multigrid"]
    model, loss = replace(gpu.world_model, **rooms.model), replace(gpu.loss, **rooms.loss)
    assert (model.slots, model.group, model.persistence, model.prior_components) == (4, 1, 2.5, None)
    assert (loss.information_price, loss.last_price, loss.free_share) == (0.15, None, 0.1)


# --- pieces -----------------------------------------------------------------------------------------------------------


def test_a_training_ends_with_a_checkpoint_when_its_piece_is_over(tmp_path):
    def error(model, batch, progress):
        return model(batch).square().mean(), {}

    def draw(generator, size):
        return torch.randn(size, 3, generator=generator)

    config = FitConfig(minutes=10, batch_size=2, learning_rate=0.1, log_every=1)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PieceOver), piece(time.time() + 0.5):
        fit(nn.Linear(3, 2), error, draw, config, tmp_path)
    assert read_header(tmp_path / "resume.safetensors").step > 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_whatever_else_is_done_unwinds_and_other_endings_are_their_own():
    tidied = []
    with pytest.raises(PieceOver), piece(time.time() + 0.1):
        try:
            time.sleep(60)
        finally:
            tidied.append(True)
    assert tidied
    with pytest.raises(PieceOver), piece(time.time()):
        raise AssertionError("nothing begins after the time")
    with pytest.raises(SystemExit), piece(math.inf):
        signal.raise_signal(signal.SIGTERM)
    with piece(math.inf):
        pass


# --- archives ---------------------------------------------------------------------------------------------------------


def test_an_archive_that_is_too_large_is_refused_and_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 5000)
    with pytest.raises(ValueError, match=r"expected an archive of at most 0 MB, got 0\.\d MB; take a smaller"):
        archive(tiny_checkpoint, tmp_path / "tiny.tar.gz")
    assert not [*tmp_path.iterdir()]


def test_an_archive_holds_a_world_and_no_checkpoint_of_its_training(tiny_checkpoint, tmp_path):
    (world := tmp_path / "tiny").mkdir()
    for path in tiny_checkpoint.iterdir():
        (world / path.name).write_bytes(path.read_bytes())
    (training := world / "training" / "world_model").mkdir(parents=True)
    for name in ("metrics.jsonl", "resume.safetensors"):
        (training / name).write_text("{}")
    (world / ".lock").write_text("")
    archive(world, tmp_path / "tiny.tar.gz")
    with tarfile.open(tmp_path / "tiny.tar.gz") as file:
        names = set(file.getnames())
    expected = {f"tiny/{path.name}" for path in tiny_checkpoint.iterdir()} | {"tiny/training/world_model/metrics.jsonl"}
    assert names == expected
