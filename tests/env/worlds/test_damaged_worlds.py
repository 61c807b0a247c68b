"""A world whose files are missing, damaged or of something else is refused by name; nothing in it is run."""

import json
import pickle
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flam_env import FlamEnv, Labeller, load_clips, load_world
from flam_env.worlds.checkpoint import read_tensors


@pytest.fixture
def world_copy(tiny_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "world"))


def config_of(directory: Path) -> dict:
    return json.loads((directory / "config.json").read_text())


def change_config(directory: Path, **changes) -> None:
    (directory / "config.json").write_text(json.dumps(config_of(directory) | changes))


def rewrite(path: Path, **metadata: str) -> None:
    header, _ = read_tensors(path)
    save_file(load_file(path), path, header | metadata)


def test_missing_world():
    with pytest.raises(FileNotFoundError, match=r"one of \[.*\], got 'bigfisch'; a world is made by `flam-train"):
        gym.make("FLAM-v0", checkpoint="bigfisch")
    with pytest.raises(FileNotFoundError):
        Labeller.from_pretrained("/nowhere/at/all")


def test_a_name_in_place_of_a_world():
    with pytest.raises(ValueError, match=r"expected a live World, got 'bigfish'; .* Labeller.from_pretrained"):
        Labeller("bigfish")


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", r"expected a JSON object, got \[1\]"),
        (b"null", "expected a JSON object, got None"),
        (b'{"format": "\xff"}', "expected JSON, got .*codec can't decode"),
        (b"[" * 100_000, "expected JSON, got maximum recursion"),
    ],
    ids=["list", "null", "latin-1", "deep"],
)
def test_config_of_something_else(world_copy, content, message):
    (world_copy / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config.json: {message}.*; copy the world again"):
        load_world(world_copy)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("units", None, "action units with a latent_dim of 7, got None"),
        ("units", {"kept": [0, 1, 3, 4, 7]}, r"kept to be ascending indices in \[0, 6\], got"),
        ("units", {"kept": [1, 0, 3, 4, 6]}, "kept to be ascending"),
        ("units", {"kept": [], "scale": []}, "kept to be ascending"),
        ("units", {"kept": 3}, r"kept of ActionUnits to be tuple\[int, ...\], got 3"),
        ("units", {"scale": [1.0, 1]}, "scale to be 5 positive numbers"),
        ("units", {"scale": [1.0, 1.0, float("inf"), 1.0, 1.0]}, "scale to be 5 positive numbers"),
        ("units", {"scale": [1.0, 0, 1.0, 1.0, 1.0]}, "scale to be 5 positive numbers"),
        ("units", {"latent_dim": 9}, "action units with a latent_dim of 7, got 9"),
        ("settings", [], r"WorldSettings: expected a JSON object, got \[\]"),
        ("settings", {"context": "2"}, "context of WorldSettings to be int, got '2'"),
        ("settings", {"context": 0}, "context of WorldSettings to be an integer of at least 1, got 0"),
        ("settings", {"context": 10}, "a context within the model's window, at most 9, got 10"),
        ("settings", {"horizon": True}, "horizon of WorldSettings to be int, got True"),
        ("settings", {"frames_per_second": "15"}, "frames_per_second of WorldSettings to be float, got '15'"),
        ("settings", {"frames_per_second": 0}, "frames_per_second of WorldSettings above 0, got 0"),
        ("settings", {"fit": "squeeze"}, "fit of WorldSettings to be .*, got 'squeeze'"),
        ("settings", {"source": 3}, "source of WorldSettings to be str, got 3"),
    ],
)
def test_units_and_settings_that_do_not_fit(world_copy, part, value, message):
    change_config(world_copy, **{part: config_of(world_copy)[part] | value if isinstance(value, dict) else value})
    with pytest.raises(ValueError, match=rf"{world_copy}.*{message}"):
        load_world(world_copy)


@pytest.mark.parametrize("entry", ["config", "header"])
@pytest.mark.parametrize("content", ["{", "[1]", "null"])
def test_a_network_with_a_damaged_header(world_copy, entry, content):
    path = world_copy / "tokenizer.safetensors"
    rewrite(path, **{entry: content})
    with pytest.raises(ValueError, match=r"tokenizer.safetensors: expected (JSON|a JSON object), got .*copy the world"):
        load_world(world_copy)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "tokenizer",
            {"architecture": "vit"},
            r"architecture of TokenizerConfig to be Literal\['impala', 'patch', 'magvit'\]",
        ),
        ("world_model", {"target": "x"}, "target of WorldModelConfig to be Literal.*got 'x'"),
        ("world_model", {"slots": 0}, "slots of WorldModelConfig to be an integer of at least 1, got 0"),
        ("world_model", {"cell_context": 1}, "cell_context of WorldModelConfig to be bool, got 1"),
        ("world_model", {"levels": None}, r"levels of WorldModelConfig to be tuple\[int, ...\], got None"),
        ("world_model", {"group": 5}, "grid to be a multiple of group"),
    ],
)
def test_a_network_of_impossible_sizes(world_copy, name, change, message):
    path = world_copy / f"{name}.safetensors"
    rewrite(path, config=json.dumps(json.loads(read_tensors(path)[0]["config"]) | change))
    with pytest.raises(ValueError, match=rf"{name}.safetensors: .*{message}.*export it again"):
        load_world(world_copy)


@pytest.mark.parametrize("write", [pickle.dumps, "zip"])
def test_pickle_where_safetensors_belong(world_copy, write):
    path = world_copy / "tokenizer.safetensors"
    content = {"weight": torch.zeros(2)}
    torch.save(content, path) if write == "zip" else path.write_bytes(write(content))
    with pytest.raises(ValueError, match="expected a whole safetensors file, got a pickle or zip archive"):
        FlamEnv(world_copy)


def test_wrong_version(world_copy):
    change_config(world_copy, version="3")
    with pytest.raises(ValueError, match=r"expected format 'flam' version '2', got .*'3'.*export the world again"):
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
    settings = config_of(world_copy)["settings"]
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


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokens", lambda x: x[:, :1], r"start tokens of shape \(11, 2, 144\), got \(11, 1, 144\)"),
        ("tokens", lambda x: x[..., :9], r"start tokens of shape \(11, 8, 144\), got \(11, 8, 9\)"),
        ("tokens", lambda x: x[0, 0], "start tokens of shape"),
        ("tokens", lambda x: x + 144, r"start tokens in \[0, 143\], got others"),
        ("actions", lambda x: x[:, 1:], r"start actions of shape \(11, 7, 6, 5\), got \(11, 6, 6, 5\)"),
        ("actions", lambda x: x / 0, "finite start actions and bank, got others"),
        ("bank", lambda x: x[:, 1:], r"a bank of shape \(37, 6, 5\), got \(37, 5, 5\)"),
        ("bank", lambda x: x[0, 0, 0], r"a bank of shape \(6, 5\), got \(\)"),
        ("bank", lambda x: x * float("nan"), "finite start actions and bank, got others"),
    ],
)
def test_starts_that_do_not_fit(world_copy, name, change, message):
    path = world_copy / "starts.safetensors"
    starts = {key: value.int() if key == "tokens" else value for key, value in load_file(path).items()}
    save_file(starts | {name: change(starts[name]).contiguous()}, path)
    with pytest.raises(ValueError, match=rf"expected {message}"):
        load_world(world_copy)


def test_clips(world_copy):
    with pytest.raises(FileNotFoundError, match=r"expected real clips at .*clips.npz"):
        load_clips(world_copy)
    for content in (b"", b"PK\x03\x04 not a zip", pickle.dumps([1])):
        (world_copy / "clips.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"clips.npz: expected an archive with frames"):
            load_clips(world_copy)
    with (world_copy / "clips.npz").open("wb") as file:
        np.save(file, np.zeros((2, 3, 48, 48, 3), np.uint8))
    with pytest.raises(ValueError, match=r"clips.npz: expected an archive with frames"):
        load_clips(world_copy)
    for frames in (np.zeros((3, 48, 48, 3), np.uint8), np.zeros((2, 3, 48, 48, 3))):
        np.savez(world_copy / "clips.npz", frames=frames)
        with pytest.raises(ValueError, match=r"clips.npz: expected frames uint8 \(S, T, H, W, 3\), got"):
            load_clips(world_copy)
    np.savez(world_copy / "clips.npz", frames=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(ValueError, match=r"clips.npz: expected an archive with frames"):
        load_clips(world_copy)
