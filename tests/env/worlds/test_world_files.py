"""A world on disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch

from flam_env import Dream, load_clips, load_world, save_world
from flam_env.worlds.checkpoint import read_tensors
from flam_env.worlds.clips import save_clips


def test_saving_what_was_loaded_changes_no_bit(tiny_checkpoint, tmp_path):
    save_world(tmp_path / "again", load_world(tiny_checkpoint))
    files = sorted(path.name for path in tiny_checkpoint.iterdir())
    assert files == ["config.json", "starts.safetensors", "tokenizer.safetensors", "world_model.safetensors"]
    assert (tmp_path / "again" / "config.json").read_bytes() == (tiny_checkpoint / "config.json").read_bytes()
    for name in files[1:]:
        (header, tensors), (header_again, again) = (
            read_tensors(d / name) for d in (tiny_checkpoint, tmp_path / "again")
        )
        assert header == header_again
        assert {key: (t.dtype, t.tolist()) for key, t in tensors.items()} == {
            key: (t.dtype, t.tolist()) for key, t in again.items()
        }


def test_a_loaded_world_dreams_the_same(tiny_world, tmp_path):
    save_world(tmp_path / "again", tiny_world)
    again = load_world(tmp_path / "again")
    actions = tiny_world.starts.actions[:3]
    tokens = []
    for world in (tiny_world, again):
        dream = Dream(world)
        state = dream.reset(world.starts.tokens[:3, :2])
        for t in range(1, 5):
            state, _ = dream.step(state, actions[:, t])
        tokens.append(state.tokens)
    assert torch.equal(*tokens)
    assert tiny_world.settings == again.settings and tiny_world.units == again.units


def test_clips_come_back_as_they_were(tiny_world, tmp_path):
    save_world(tmp_path, tiny_world)
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 48, 48, 3)).astype(np.uint8)
    save_clips(tmp_path, frames)
    assert np.array_equal(load_clips(tmp_path), frames)


def test_a_world_that_does_not_say_how_frames_became_square_stretched_them(tiny_checkpoint, tmp_path):
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    assert config["settings"].pop("fit") == "stretch"
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "before"))
    (copy / "config.json").write_text(json.dumps(config))
    assert load_world(copy).settings == load_world(tiny_checkpoint).settings
