"""Every wrong input gives one error that says what was expected, what came and what to do."""

import json
import pickle
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flam_env import Dream, FlamEnv, FlamVectorEnv, Labeller, load_clips, load_world
from flam_env.checkpoint import read_tensors


@pytest.fixture
def world_copy(tiny_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "world"))


@pytest.fixture
def env(tiny_world) -> FlamEnv:
    env = FlamEnv(world=tiny_world)
    env.reset(seed=0)
    return env


def change_config(directory: Path, **changes) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(path: Path, **metadata: str) -> None:
    header, _ = read_tensors(path)
    save_file(load_file(path), path, header | metadata)


def test_missing_world():
    with pytest.raises(FileNotFoundError, match=r"one of \[.*\], got 'bigfisch'; a world is made by `flam-train"):
        gym.make("FLAM-v0", checkpoint="bigfisch")
    with pytest.raises(FileNotFoundError):
        Labeller.from_pretrained("/nowhere/at/all")


def test_missing_file(world_copy):
    (world_copy / "world_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a checkpoint file at .*world_model.safetensors"):
        FlamEnv(world_copy)


@pytest.mark.parametrize("name", ["tokenizer", "world_model", "starts"])
@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_truncated_file(world_copy, name, kept):
    path = world_copy / f"{name}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(
        ValueError, match=rf"{name}.safetensors: expected a whole safetensors file, got .*copy it again"
    ):
        FlamEnv(world_copy)


def test_truncated_config(world_copy):
    path = world_copy / "config.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"config.json: expected JSON, got .*copy the world again"):
        FlamEnv(world_copy)


@pytest.mark.parametrize("write", [pickle.dumps, "zip"])
def test_pickle_where_safetensors_belong(world_copy, write):
    path = world_copy / "tokenizer.safetensors"
    content = {"weight": torch.zeros(2)}
    torch.save(content, path) if write == "zip" else path.write_bytes(write(content))
    with pytest.raises(ValueError, match="expected a whole safetensors file, got a pickle or zip archive"):
        FlamEnv(world_copy)


def test_wrong_version(world_copy):
    change_config(world_copy, version="2")
    with pytest.raises(ValueError, match=r"expected format 'flam' version '1', got .*'2'.*export the world again"):
        FlamEnv(world_copy)
    change_config(world_copy, version="1")
    rewrite(world_copy / "world_model.safetensors", version="0")
    with pytest.raises(ValueError, match=r"expected .*'version': '1'.*got .*'version': '0'.*export it again"):
        FlamEnv(world_copy)


def test_unknown_and_missing_keys(world_copy):
    change_config(world_copy, colour="red")
    with pytest.raises(ValueError, match=r"expected the keys .*got .*'colour'"):
        FlamEnv(world_copy)


def test_unknown_setting(world_copy):
    settings = json.loads((world_copy / "config.json").read_text())["settings"]
    change_config(world_copy, settings=settings | {"speed": 3})
    with pytest.raises(ValueError, match=r"unknown keys \['speed'\] in WorldSettings; known are"):
        FlamEnv(world_copy)
    settings.pop("horizon")
    change_config(world_copy, settings=settings)
    with pytest.raises(ValueError, match=r"missing keys \['horizon'\] in WorldSettings"):
        FlamEnv(world_copy)


def test_unknown_key_of_a_network(world_copy):
    path = world_copy / "tokenizer.safetensors"
    config = json.loads(read_tensors(path)[0]["config"])
    rewrite(path, config=json.dumps(config | {"depth": 9}))
    with pytest.raises(ValueError, match=r"tokenizer.safetensors: unknown keys \['depth'\] in TokenizerConfig"):
        FlamEnv(world_copy)


def test_a_network_without_its_config(world_copy):
    path = world_copy / "tokenizer.safetensors"
    header, _ = read_tensors(path)
    save_file(load_file(path), path, {key: header[key] for key in ("format", "version", "kind")})
    with pytest.raises(ValueError, match=r"tokenizer.safetensors: expected a config and a header, got none of"):
        FlamEnv(world_copy)


def test_weights_of_another_size(world_copy):
    path = world_copy / "world_model.safetensors"
    config = json.loads(read_tensors(path)[0]["config"])
    rewrite(path, config=json.dumps(config | {"slots": 8}))
    with pytest.raises(ValueError, match=r"expected factorizer.slot_embedding of shape \(8, 16\), got \(6, 16\)"):
        FlamEnv(world_copy)


def test_files_of_two_worlds(world_copy):
    path = world_copy / "tokenizer.safetensors"
    weights = load_file(path)
    weights["to_code.bias"] += 1
    save_file(weights, path, read_tensors(path)[0])
    with pytest.raises(ValueError, match=r"expected the tokenizer .* copy both files from the same run"):
        load_world(world_copy)


def test_starts_of_something_else(world_copy):
    save_file({"frames": torch.zeros(2)}, world_copy / "starts.safetensors")
    with pytest.raises(ValueError, match=r"expected starts of tokens, actions, bank, got \['frames'\]"):
        load_world(world_copy)


def test_clips(world_copy):
    with pytest.raises(FileNotFoundError, match=r"expected real clips at .*clips.npz"):
        load_clips(world_copy)
    for content in (b"", b"PK\x03\x04 not a zip", pickle.dumps([1])):
        (world_copy / "clips.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"clips.npz: expected an archive with frames"):
            load_clips(world_copy)
    np.savez(world_copy / "clips.npz", frames=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(ValueError, match=r"clips.npz: expected an archive with frames"):
        load_clips(world_copy)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((5, 6), np.float32), r"of shape \(6, 5\) .*got shape \(5, 6\); pass one vector per slot"),
        (np.zeros(30), r"got shape \(30,\)"),
        (0.0, r"got shape \(\)"),
        (np.zeros((6, 5), int), r"got dtype int64; convert with \.astype\(np\.float32\)"),
        (np.zeros((6, 5), bool), "got dtype bool"),
        (np.full((6, 5), None), "got dtype object"),
        (np.full((6, 5), np.nan), r"all finite, got nan at \[0, 0\]"),
        (np.full((6, 5), np.inf), "all finite, got inf"),
    ],
)
def test_wrong_actions(env, tiny_world, action, message):
    before = env._episodes.frames
    with pytest.raises(ValueError, match=r"expected latent actions.*" + message):
        env.step(action)
    assert env._episodes.frames is before and env._episodes.steps.tolist() == [0]
    envs = FlamVectorEnv(2, world=tiny_world)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="expected latent actions"):
        envs.step(np.stack([action, action]))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.zeros((2, 64, 64, 3), np.uint8), r"got shape \(2, 64, 64, 3\); resize the frames to 48 x 48"),
        (np.zeros((48, 48, 3), np.uint8), r"got shape \(48, 48, 3\)"),
        (np.zeros((2, 3, 48, 48), np.uint8), r"got shape \(2, 3, 48, 48\)"),
        (np.zeros((2, 48, 48, 3), np.float32), r"got dtype float32; convert to uint8"),
        (np.zeros((0, 48, 48, 3), np.uint8), "expected 1 to 9 uint8 frames .*got 0 frames"),
        (np.zeros((10, 48, 48, 3), np.uint8), "expected 1 to 9 uint8 frames .*got 10 frames"),
        (11, r"expected a start in \[0, 11\), got 11"),
        (-1, r"expected a start in \[0, 11\), got -1"),
        (1.5, "to be an index .*got float"),
        (True, "to be an index .*got bool"),
        ("first", "to be an index .*got str"),
    ],
)
def test_wrong_starts(env, tiny_world, start, message):
    before = env._episodes.frames
    with pytest.raises(ValueError, match=message):
        env.reset(options={"start": start})
    assert env._episodes.frames is before
    with pytest.raises(ValueError, match=message):
        FlamVectorEnv(2, world=tiny_world).reset(options={"start": start})


def test_unknown_options(env, tiny_world):
    with pytest.raises(ValueError, match=r"expected reset options among \['start'\], got \['begin'\]"):
        env.reset(options={"begin": 3})
    envs = FlamVectorEnv(2, world=tiny_world)
    with pytest.raises(ValueError, match=r"among \['start', 'reset_mask'\], got \['begin'\]"):
        envs.reset(options={"begin": 3})
    for mask in (np.array([1, 0]), np.array([True]), np.array([False, False])):
        with pytest.raises(ValueError, match=r"expected options\['reset_mask'\] of dtype bool and shape \(2,\)"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="expected seed to have num_envs=2 entries, got 3"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match=r"expected options\['start'\] to have num_envs=2 entries, got 1"):
        envs.reset(options={"start": [4]})


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 48, 48, 3), np.uint8), "expected 2 or more uint8 frames .*got 1 frames"),
        (np.zeros((5, 40, 48, 3), np.uint8), "resize the frames to 48 x 48"),
        (np.zeros((5, 48, 48, 3)), "got dtype float64; convert to uint8"),
    ],
)
def test_wrong_videos(tiny_world, frames, message):
    with pytest.raises(ValueError, match=message):
        Labeller(tiny_world).label(frames)


def test_wrong_arguments(tiny_world, tiny_checkpoint):
    with pytest.raises(ValueError, match=r"expected either checkpoint= .* or world="):
        FlamEnv()
    with pytest.raises(ValueError, match=r"expected either checkpoint= .* or world="):
        FlamEnv(tiny_checkpoint, world=tiny_world)
    with pytest.raises(ValueError, match="expected a horizon of at least 1 step, got 0"):
        FlamEnv(world=tiny_world, horizon=0)
    with pytest.raises(ValueError, match="expected render_mode to be None or 'rgb_array', got 'human'"):
        FlamEnv(world=tiny_world, render_mode="human")
    with pytest.raises(ValueError, match="expected render_mode='rgb_array', got None"):
        FlamEnv(world=tiny_world).render()
    with pytest.raises(ValueError, match="expected at least 1 environment"):
        FlamVectorEnv(0, world=tiny_world)
    with pytest.raises(ValueError, match="expected source to be one of"):
        FlamEnv(world=tiny_world).sample_latent_action("dream")


@pytest.mark.parametrize("name", ["tpu9", "cuda:99", "meat"])
def test_no_such_device(tiny_world, name):
    with pytest.raises(ValueError, match=rf"expected a device of this machine, got '{name}' .*try 'auto'"):
        Dream(tiny_world, name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("statistics", "got 'statistics'"),
        ("no_such_module:f", "is it on the Python path"),
        ("statistics:no_such", "the module statistics has no function no_such"),
        (3, "expected reward_fn to be a callable or 'module:function', got 3"),
    ],
)
def test_functions_that_are_none(tiny_world, given, message):
    with pytest.raises(ValueError, match=message):
        FlamEnv(world=tiny_world, reward_fn=given)


@pytest.mark.parametrize("value", [None, "much", float("nan"), np.zeros(2)])
def test_rewards_that_are_none(tiny_world, value):
    env = FlamEnv(world=tiny_world, reward_fn=lambda *_: value)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected reward_fn to return a finite number"):
        env.step(env.action_space.sample())


def test_ends_that_are_none(tiny_world):
    env = FlamEnv(world=tiny_world, termination_fn=lambda frame, step: 1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected termination_fn to return a bool, got 1"):
        env.step(env.action_space.sample())


def test_step_before_reset(tiny_world):
    with pytest.raises(gym.error.ResetNeeded):
        FlamEnv(world=tiny_world).step(np.zeros((6, 5)))
