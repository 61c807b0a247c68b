"""A clone in a file is what it was, and opening it runs no code."""

import base64
import json
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from flam_train.clone import CloneConfig, load_clone, new_clone, save_clone
from flam_train.players.weights import read_weights, write_weights

ACTIONS, SIZE = 5, 48
FRAMES = np.random.default_rng(0).integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)


class Pictures(gym.Env):
    """Noise to look at."""

    def __init__(self, size=SIZE):
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(ACTIONS)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


def config(**changes) -> CloneConfig:
    return CloneConfig(**{"algorithm": "PPO", "features": "impala", "size": SIZE, "actions": ACTIONS} | changes)


@pytest.fixture
def file(tmp_path):
    save_clone(tmp_path / "policy.safetensors", new_clone(config(), seed=3, device="cpu"), config())
    return tmp_path / "policy.safetensors"


def same(one, other) -> bool:
    one, other = one.policy.state_dict(), other.policy.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("features", ["nature", "impala"])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_clone_in_a_file_is_what_it_was_and_learns_on(tmp_path, algorithm, features):
    what, env = config(algorithm=algorithm.__name__, features=features), DummyVecEnv([Pictures])
    model = new_clone(what, env, seed=3, device="cpu")
    save_clone(tmp_path / "policy.safetensors", model, what)
    again = load_clone(tmp_path / "policy.safetensors", device="cpu")
    assert isinstance(again, algorithm) and same(again, model)
    assert np.array_equal(*(each.predict(FRAMES, deterministic=True)[0] for each in (again, model)))
    learner = load_clone(tmp_path / "policy.safetensors", env, device="cpu")
    learner.n_steps = 4
    learner._setup_model()
    learner.learn(4)


def test_a_zip_of_stable_baselines3_is_made_on_demand(file, tmp_path):
    load_clone(file, device="cpu").save(tmp_path / "policy.zip")
    assert same(PPO.load(tmp_path / "policy.zip", device="cpu"), load_clone(file, device="cpu"))


def test_zips_name_where_the_network_is_and_there_it_stays(tmp_path):
    """A zip that somebody has kept opens as long as this module is there."""
    new_clone(config(), device="cpu").save(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as zipped:
        pickled = json.loads(zipped.read("data"))["policy_kwargs"][":serialized:"]
    assert b"flam_train.impala_extractor" in base64.b64decode(pickled)


def test_a_zip_is_refused_before_anything_in_it_runs(file, tmp_path):
    load_clone(file, device="cpu").save(tmp_path / "policy.zip")
    with pytest.raises(ValueError, match="expected a whole safetensors file, got a pickle or zip archive"):
        load_clone(tmp_path / "policy.zip")


def test_files_that_hold_something_else_are_refused(file, tmp_path):
    what, weights = read_weights(file, CloneConfig)
    name = "action_net.bias"
    with pytest.raises(ValueError, match=f"expected finite weights, got .* in {name}"):
        write_weights(tmp_path / "changed.safetensors", what, weights | {name: weights[name] * float("nan")})
    for changed, message in (
        (weights | {name: weights[name][:3]}, rf"expected weights of another network, got others in \['{name}'\]"),
        ({key: weights[key] for key in weights if key != name}, rf"got others in \['{name}'\]"),
    ):
        write_weights(tmp_path / "changed.safetensors", what, changed)
        with pytest.raises(ValueError, match=message):
            load_clone(tmp_path / "changed.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        load_clone(tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match=r"expected a file of .*'kind': 'CloneConfig'.* got .*'kind': 'Policy'"):
        load_clone(bundled_demonstrator())
    with pytest.raises(FileNotFoundError, match="expected a checkpoint file"):
        load_clone(tmp_path / "nothing.safetensors")


def bundled_demonstrator():
    from importlib.resources import files

    return files("flam_train") / "pretrained" / "bigfish" / "demonstrator.safetensors"


def test_another_environment_is_refused(file):
    with pytest.raises(ValueError, match=r"expected an environment of .* got Box\(0, 255, \(3, 52, 52\), uint8\)"):
        load_clone(file, DummyVecEnv([lambda: Pictures(52)]), device="cpu")


@pytest.mark.parametrize("changes", [{"algorithm": "DQN"}, {"features": "resnet"}])
def test_what_nobody_can_build_is_refused(changes):
    with pytest.raises(ValueError, match=r"expected an algorithm of \['PPO', 'A2C'\] and features of"):
        config(**changes)
