"""Whoever brings a world model of another kind gets the house: training, a world on disk, dreams, scores, labels."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from sketches import CodeModel, SceneModel, SketchConfig, StillModel
from torch.nn.functional import cross_entropy

from flam_env import Dream, Labeller, SteerSlot, load_clips, load_world
from flam_env.worlds.checkpoint import Kinds
from flam_env.worlds.world import WorldSettings
from flam_train.engine import FitConfig
from flam_train.evaluate.evaluate import evaluate
from flam_train.phases.export import bare_world
from flam_train.phases.tokenizer import load_tokenizer
from flam_train.phases.world_model import bare, train_world
from flam_train.store.store import EpisodeStore

pytestmark = pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")
FIT = FitConfig(steps=60, batch_size=6, learning_rate=3e-2, precision="fp32")
SPACES = {
    SceneModel: gym.spaces.Box(-3, 3, (1, 3), np.float32),
    CodeModel: gym.spaces.Discrete(7),
    StillModel: gym.spaces.Discrete(1),
}


def objective(network, tokens, progress):
    prediction = network(tokens)
    loss = cross_entropy(prediction.output.flatten(0, 2), tokens[:, 1:].flatten())
    nats = torch.zeros(()) if prediction.posterior is None else prediction.posterior.nats.sum(-1).mean()
    return loss + 1e-3 * nats, {"prediction": loss.detach()}


@pytest.fixture(scope="module", params=SPACES, ids=lambda kind: kind.__name__)
def kind(request) -> type:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(kind, store: EpisodeStore, trained_tokenizer: Path, tmp_path_factory) -> Path:
    """The directory of a world whose model is a sketch, trained for a moment."""
    out = Path(shutil.copytree(trained_tokenizer, tmp_path_factory.mktemp("sketches") / kind.__name__))
    torch.manual_seed(0)
    tokenizer = load_tokenizer(out)
    model = kind(SketchConfig(grid=tokenizer.config.grid, levels=tokenizer.config.levels))
    world = bare_world(tokenizer, model, WorldSettings(source=store.source))
    return train_world(world, store, objective, FIT, out, "sketch", {"kind": kind.__name__}, evaluate_every=0)


def test_its_world_is_read_back(kind, checkpoint):
    world = load_world(checkpoint)
    assert type(world.model) is kind and not world.laws.permanence
    assert world.starts.actions.shape[2:] == world.starts.bank.shape[1:] == world.action_shape
    assert (world.units is None) == (kind is not SceneModel)
    assert list(world.heads) == list(json.loads((checkpoint / "config.json").read_text())["heads"]) == ["road"]


def test_a_long_dream_equals_one_pass_over_its_frames(checkpoint):
    world = load_world(checkpoint)
    dream = Dream(world)
    state = dream.reset(world.starts.tokens[:3, :2])
    tokens = [world.starts.tokens[:3, :2]]
    for action in world.starts.actions[:3, 1:6].unbind(1):
        state, frame = dream.step(state, action)
        tokens.append(state.tokens[:, None])
    assert frame.shape == (3, 32, 32, 3)
    whole = world.model.observe(torch.cat(tokens, 1))
    torch.testing.assert_close(state.slots, whole.slots[:, -1])


def test_it_is_an_environment(kind, checkpoint):
    env = gym.make("flam_env:FLAM-v0", checkpoint=str(checkpoint), horizon=4)
    assert env.action_space == SPACES[kind]
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=3)
    for source in ("bank", "prior"):
        frame, *_, truncated, info = env.step(env.unwrapped.sample_latent_action(source))
    assert frame.shape == (32, 32, 3) and not truncated
    assert 0 <= info["off_road"] <= 1, "which models that say one thing, and those without actions, know as well"
    assert env.unwrapped.slot_masks().sum(0) == pytest.approx(np.ones((32, 32)), abs=1e-5)


def test_a_batch_of_it_does_what_single_environments_do(checkpoint):
    envs = gym.make_vec("FLAM-v0", 3, vectorization_mode="vector_entry_point", checkpoint=str(checkpoint))
    frames, _ = envs.reset(seed=5)
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(4)]
    batch = [frames, *(envs.step(each)[0] for each in actions)]
    for row in range(3):
        env = gym.make("FLAM-v0", checkpoint=str(checkpoint))
        alone = [env.reset(seed=5 + row)[0], *(env.step(each[row])[0] for each in actions)]
        assert all(np.array_equal(one, other[row]) for one, other in zip(alone, batch, strict=True))


def test_it_is_scored(kind, checkpoint, store, tmp_path):
    report = evaluate(str(checkpoint), store.root, clips=6, horizon=5, device="cpu", out=tmp_path)
    measures = report["measures"]
    assert 0 < report["scores"]["all"]["prediction_psnr"] <= report["scores"]["all"]["recon_psnr"]
    assert (measures["nats_per_frame"] > 0) == (kind is not StillModel)
    assert measures["labels_inside_box"] > 0.99 and 0 <= measures["nats_lost_by_units"] < 0.05
    assert ("rate" in report) == (kind is not StillModel)
    assert "steering_density_ratio" not in measures, "one action for all moves no slot of its own"


def test_it_labels_or_says_that_it_cannot(kind, checkpoint):
    world = load_world(checkpoint)
    if kind is StillModel:
        with pytest.raises(ValueError, match=r"infers latent actions, got a StillModel .* dreamt in .* not label"):
            Labeller(world)
        with pytest.raises(ValueError, match="not label"):
            world.model.infer(world.model.observe(world.starts.tokens))
        return
    clip = load_clips(checkpoint)[0]
    labels = Labeller(world).label(clip, starts=[7])
    assert labels.latent_actions.shape == (len(clip) - 1, *world.action_shape)
    assert labels.labelled.tolist() == [index != 6 for index in range(len(clip) - 1)]
    none = labels.latent_actions[6]
    assert np.isnan(none).all() if kind is SceneModel else (none == -1).all()


def test_who_steers_one_slot_needs_vectors(kind, checkpoint):
    env = gym.make("flam_env:FLAM-v0", checkpoint=str(checkpoint))
    if kind is not SceneModel:
        with pytest.raises(ValueError, match="latent actions"):
            SteerSlot(env, 0)
        return
    steered = SteerSlot(env, 0)
    steered.reset(seed=0)
    assert steered.step(steered.action_space.sample())[4]["others"] == "data"


def test_a_checkpoint_names_a_kind_and_never_code(checkpoint, kind):
    """Without the module that brings the kind, the world does not open, and the error says what to do."""
    code = f"import flam_env; flam_env.load_world({str(checkpoint)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert f"got '{kind.__name__}'; import the package that brings this kind" in done.stderr


def test_two_classes_of_one_name_are_refused():
    kinds = Kinds("world model")
    kinds.register(SketchConfig)(SceneModel)
    kinds.register(SketchConfig)(SceneModel)  # reloading a module is no harm
    with pytest.raises(ValueError, match="expected another name than SceneModel for a world model"):
        kinds.register(SketchConfig)(type("SceneModel", (torch.nn.Module,), {}))


def test_the_model_under_torch_compile_is_the_model():
    model = SceneModel(SketchConfig(grid=2, levels=(3, 3)))
    assert bare(torch.compile(model)) is model and bare(model) is model
