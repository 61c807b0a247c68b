"""The examples run, on a tiny world and for a moment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flam_env.world import save_clips

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, checkpoint: Path, *arguments: str) -> str:
    command = [sys.executable, EXAMPLES / name, "--checkpoint", checkpoint, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dream_random(tiny_checkpoint, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    out = run("dream_random.py", tiny_checkpoint, "--out", str(tmp_path / "dream.mp4"))
    assert out.startswith("wrote 14 frames of 4 dreams")
    assert imageio.imread(tmp_path / "dream.mp4", plugin="pyav").shape == (14, 48, 4 * 48, 3)


def test_label_video(tiny_checkpoint, tmp_path):
    world = Path(shutil.copytree(tiny_checkpoint, tmp_path / "world"))
    save_clips(world, np.random.default_rng(0).integers(0, 256, (1, 9, 48, 48, 3)).astype(np.uint8))
    out = run("label_video.py", world, "--out", str(tmp_path / "actions.npy"))
    assert "9 frames -> latent actions (8, 6, 5)" in out and "replayed from 2 frames" in out
    assert np.load(tmp_path / "actions.npy").shape == (8, 6, 5)


def test_ppo_in_a_dream(tiny_checkpoint):
    pytest.importorskip("stable_baselines3")
    out = run("ppo_in_a_dream.py", tiny_checkpoint, "--steps", "512")
    assert "mean return" in out and "after learning" in out
