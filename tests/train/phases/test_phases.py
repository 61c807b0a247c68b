"""Both training phases on a world that can be learned in seconds: two bright squares that move on black."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import flam_env  # noqa: F401  (registers the environments)
from flam_env.dream.dream import Dream
from flam_env.models.tokenizer import Tokenizer
from flam_env.video.frames import to_float
from flam_env.worlds.checkpoint import fingerprint, save_network
from flam_env.worlds.clips import load_clips
from flam_env.worlds.loading import load_world
from flam_env.worlds.units import UnitConversion
from flam_train.engine import FitConfig
from flam_train.evaluate.pixels import frame_psnr
from flam_train.evaluate.rollouts import rollout_scores
from flam_train.phases import world_model as world_model_phase
from flam_train.phases.collapse import CollapseWarning
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.phases.tokenizer import load_tokenizer, tokenizer, tokenizer_scores
from flam_train.phases.world_model import world_model
from flam_train.store.clips import draw_clips

# What the hurried runs of this file deserve to hear.
pytestmark = pytest.mark.filterwarnings("ignore:the model copies the current frame")


@pytest.fixture
def with_tokenizer(trained_tokenizer, tmp_path) -> Path:
    """A run directory that has a trained tokenizer and nothing else."""
    out = tmp_path / "run"
    out.mkdir()
    shutil.copy(trained_tokenizer / "tokenizer.safetensors", out)
    return out


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """A copy of the trained run."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def never(*arguments, **named):
    raise AssertionError("this must not be called")


def test_the_tokenizer_learns_to_show_what_it_saw(store, trained):
    frames = torch.from_numpy(draw_clips(store, "test", 5, 18).frames).flatten(0, 1)
    scores = tokenizer_scores(load_tokenizer(trained), frames)
    pixels = to_float(frames)
    mean_colour = pixels.mean((0, 2, 3), keepdim=True).expand_as(pixels)
    assert scores["recon_psnr"] > frame_psnr(mean_colour, pixels).mean().item() + 10
    assert 3 <= scores["tokens_used"] <= 9


def test_the_world_model_learns_a_trivial_world(store, trained):
    scores = rollout_scores(Dream(load_world(trained)), draw_clips(store, "test", 12, 18))
    prediction, copy_last, sampled = (scores[f"{m}_psnr"].mean() for m in ("prediction", "copy_last", "sampled"))
    assert prediction > copy_last + 3
    assert prediction > sampled + 2
    assert scores["prediction_psnr"].shape == (12, 16)


def test_a_trained_world_is_an_environment(trained):
    world = load_world(trained)
    env = gym.make("FLAM-v0", checkpoint=str(trained))
    frame, _ = env.reset(seed=3, options={"start": 1})
    assert frame.shape == (32, 32, 3) and frame.dtype == np.uint8
    assert env.action_space.shape == (3, world.units.dim)
    frame, reward, terminated, _, _ = env.step(env.action_space.sample())
    assert frame.shape == (32, 32, 3) and reward == 0.0 and terminated is False


def test_a_trained_world_has_the_pace_of_its_store(store, trained):
    assert store.settings["frames_per_second"] == load_world(trained).settings.frames_per_second == 11


def test_a_trained_world_carries_starts_actions_and_clips_that_belong_together(trained):
    world = load_world(trained)
    clips, frames, patches = world.starts.tokens.shape
    assert (frames, patches) == (34, 64) and clips > 4
    assert world.starts.actions.shape == (clips, 33, 3, world.units.dim)
    assert world.starts.bank.shape[1:] == (3, world.units.dim) and len(world.starts.bank) == 2048
    assert (world.starts.actions.abs() <= 3).float().mean() >= 0.99
    inferred = world.model.infer(world.model.observe(world.starts.tokens[:2])).mean
    torch.testing.assert_close(
        UnitConversion(world.units).from_model(inferred), world.starts.actions[:2], atol=0.01, rtol=0.01
    )
    shown = load_clips(trained)
    assert shown.shape[1:] == (34, 32, 32, 3) and shown.dtype == np.uint8


def test_a_finished_run_is_not_trained_again(store, copied, phases, monkeypatch):
    before = load_world(copied)
    monkeypatch.setattr("flam_train.phases.tokenizer.reconstruction_loss", never)
    monkeypatch.setattr("flam_train.phases.world_model.world_model_loss", never)
    tokenizer(store.root, out=copied, **phases.tokenizer)
    world_model(store.root, out=copied, **phases.world_model)
    after = load_world(copied)
    assert fingerprint(after.tokenizer) == fingerprint(before.tokenizer)
    assert fingerprint(after.model) == fingerprint(before.model)


def test_the_folder_of_another_run_is_refused_and_stays_as_it_is(store, copied, phases):
    before = contents(copied)
    wider = phases.tokenizer | {"model": replace(phases.tokenizer["model"], width=24)}
    with pytest.raises(ValueError, match=r"expected .*width 20 there, 24 here; choose another output folder"):
        tokenizer(store.root, out=copied, **wider)
    fewer = phases.world_model | {"model": replace(phases.world_model["model"], slots=2)}
    with pytest.raises(ValueError, match=r"expected .*slots 3 there, 2 here; choose another output folder"):
        world_model(store.root, out=copied, **fewer)
    assert contents(copied) == before


def test_a_tokenizer_does_not_change_under_the_world_model_that_learned_on_it(store, copied, phases):
    before = contents(copied)
    longer = replace(phases.tokenizer["fit_config"], steps=phases.tokenizer["fit_config"].steps + 1)
    with pytest.raises(ValueError, match="expected a directory without a world model"):
        tokenizer(store.root, out=copied, **phases.tokenizer | {"fit_config": longer})
    assert contents(copied) == before


def test_a_run_on_other_data_is_refused(make_store, copied, phases, tmp_path):
    other = make_store(tmp_path / "other", {"train": (2, 19), "val": (1, 36), "test": (1, 35)})
    before = contents(copied)
    with pytest.raises(ValueError, match=r"expected .*frames 1080 there, 38 here"):
        tokenizer(other.root, out=copied, **phases.tokenizer)
    with pytest.raises(ValueError, match=r"expected .*frames 1080 there, 38 here"):
        world_model(other.root, out=copied, **phases.world_model)
    assert contents(copied) == before


def test_networks_from_elsewhere_are_not_overwritten(store, trained, phases, tmp_path):
    for file in ("tokenizer.safetensors", "world_model.safetensors", "starts.safetensors", "config.json"):
        shutil.copy(trained / file, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="choose another output folder"):
        tokenizer(store.root, out=tmp_path, **phases.tokenizer)
    with pytest.raises(ValueError, match="choose another output folder"):
        world_model(store.root, out=tmp_path, **phases.hurried)
    assert contents(tmp_path) == before


def test_a_world_model_needs_a_tokenizer(store, phases, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a tokenizer at .*flam-train tokenizer"):
        world_model(store.root, out=tmp_path / "run", **phases.world_model)
    assert not (tmp_path / "run").exists()


def test_a_world_model_refuses_the_tokenizer_of_another_run(store, copied, phases):
    torch.manual_seed(4)
    save_network(copied / "tokenizer.safetensors", Tokenizer(phases.tokenizer["model"]))
    with pytest.raises(ValueError, match=r"expected .*differs in identity\.tokenizer"):
        world_model(store.root, out=copied, **phases.world_model)
    with pytest.raises(ValueError, match=r"expected the tokenizer .* that the world model was trained on"):
        load_world(copied)


def test_frames_of_another_size_are_refused(make_store, with_tokenizer, phases, tmp_path):
    smaller = make_store(tmp_path / "smaller", {"train": (2, 17), "val": (1, 36), "test": (1, 35)}, size=24)
    with pytest.raises(ValueError, match=r"expected frames of 32 px, got 24 px; set --model\.image-size"):
        tokenizer(smaller.root, out=tmp_path / "new", **phases.tokenizer)
    with pytest.raises(ValueError, match="expected frames of 32 px, the tokenizer's size, got 24 px"):
        world_model(smaller.root, out=with_tokenizer, **phases.hurried)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("split, longest", [("train", 15), ("val", 33), ("test", 33)])
def test_video_that_is_too_short_is_noticed_before_training(
    make_store, with_tokenizer, phases, tmp_path, split, longest
):
    episodes = {"train": (2, 35), "val": (1, 36), "test": (1, 37)} | {split: (1, longest)}
    short = make_store(tmp_path / "short", episodes)
    with pytest.raises(ValueError, match=f"expected an episode of {longest + 1} frames in split '{split}'"):
        world_model(short.root, out=with_tokenizer, **phases.hurried)
    assert set(contents(with_tokenizer)) == {"tokenizer.safetensors"}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_store_without_one_of_the_splits_is_refused(make_store, with_tokenizer, phases, tmp_path, split):
    episodes = {"train": (1, 35), "val": (1, 36), "test": (1, 37)}
    del episodes[split]
    with pytest.raises(ValueError, match=f"expected .* in split '{split}', found none"):
        world_model(make_store(tmp_path / "partial", episodes).root, out=with_tokenizer, **phases.hurried)


def test_an_interrupted_run_is_no_world_and_goes_on_where_it_was(store, with_tokenizer, phases, monkeypatch):
    real, steps = world_model_phase.world_model_loss, []

    def interrupted(*arguments):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    longer = phases.hurried | {"fit_config": replace(phases.hurried["fit_config"], steps=4)}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(world_model_phase, "world_model_loss", interrupted)
        world_model(store.root, out=with_tokenizer, **longer)
    assert len(steps) == 2
    assert not (with_tokenizer / "config.json").exists()
    with pytest.raises(FileNotFoundError, match="expected a world directory"):
        load_world(with_tokenizer)
    world_model(store.root, out=with_tokenizer, **longer)
    assert load_world(with_tokenizer).starts.tokens.shape[-1] == 64


def test_a_failure_after_training_is_no_world(store, with_tokenizer, phases, monkeypatch):
    def disk_full(*arguments, **named):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("flam_env.worlds.saving.save", disk_full)
        world_model(store.root, out=with_tokenizer, **phases.hurried)
    assert not (with_tokenizer / "config.json").exists()
    assert not [name for name in contents(with_tokenizer) if name.endswith(".tmp")]


def test_collapse_is_named(store, with_tokenizer, phases):
    priceless = phases.hurried | {
        "fit_config": FitConfig(steps=30, batch_size=3, learning_rate=1e-2, ema=0.0, precision="fp32"),
        "loss": WorldModelLossConfig(information_price=1e4, free_share=0.0, ramp_share=0.0),
    }
    with pytest.warns(CollapseWarning, match="posterior collapse; lower --loss.information-price"):
        world_model(store.root, out=with_tokenizer, **priceless)
    assert load_world(with_tokenizer).units.dim == 5  # all dimensions are kept, so that it can be looked at


def test_same_seed_same_world_and_another_seed_another(store, with_tokenizer, phases, tmp_path):
    fingerprints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = Path(shutil.copytree(with_tokenizer, tmp_path / name))
        seeded = phases.hurried | {"fit_config": replace(phases.hurried["fit_config"], seed=seed)}
        fingerprints.append(fingerprint(load_world(world_model(store.root, out=out, **seeded)).model))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
