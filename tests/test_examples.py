"""The examples run, on a tiny world and for a moment."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from flam_env.worlds.clips import save_clips


def test_dream_random(run_example, tiny_checkpoint, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    out = run_example("dream_random.py", "--checkpoint", tiny_checkpoint, "--out", str(tmp_path / "dream.mp4"))
    assert out.startswith("wrote 14 frames of 4 dreams")
    assert imageio.imread(tmp_path / "dream.mp4", plugin="pyav").shape == (14, 48, 4 * 48, 3)


def test_label_video(run_example, tiny_checkpoint, tmp_path):
    world = Path(shutil.copytree(tiny_checkpoint, tmp_path / "world"))
    save_clips(world, np.random.default_rng(0).integers(0, 256, (1, 9, 48, 48, 3)).astype(np.uint8))
    out = run_example("label_video.py", "--checkpoint", world, "--out", str(tmp_path / "actions.npy"))
    assert "9 frames -> latent actions (8, 6, 5)" in out and "replayed from 2 frames" in out
    assert np.load(tmp_path / "actions.npy").shape == (8, 6, 5)


def test_your_own_video(run_example, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    for package in ("av", "scipy", "scenedetect"):
        pytest.importorskip(package)
    out = run_example("your_own_video.py", "--out", tmp_path, "--steps", "2")
    assert "3 films, 3 episodes, 1,200 frames" in out and "predictions: " in out
    assert out.splitlines()[-1] == f"gym.make('FLAM-v0', checkpoint='{tmp_path / 'world'}')"
    assert imageio.imread(tmp_path / "dream.gif").shape[1:] == (128, 512, 3)


def test_ppo_in_a_dream(run_example, tiny_checkpoint):
    pytest.importorskip("stable_baselines3")
    out = run_example("ppo_in_a_dream.py", "--checkpoint", tiny_checkpoint, "--steps", "512")
    assert "mean return" in out and "after learning" in out


def test_dream_beside_game(run_example, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    for package in ("procgen", "scipy"):
        pytest.importorskip(package)
    film = tmp_path / "beside.mp4"
    out = run_example("dream_beside_game.py", "--episodes", "2", "--steps", "8", "--out", film)
    assert out.startswith("wrote 2 episodes of bigfish beside dreams, 8 steps under the same keys")
    assert [line.split(":")[0] for line in out.splitlines()[2:]] == ["  after step 1", "  after step 8"]
    frames = imageio.imread(film, plugin="pyav").astype(int)
    assert frames.shape == (9, 2 * (3 * 64 + 2 + 14), 2 * (3 * 64 + 2), 3)
    game, dream = np.split(frames[:, 14:206], 2, axis=2)
    assert abs(game[0] - dream[0]).mean() < 3 < abs(game[0]).mean()  # they begin alike
    assert all((abs(side[0] - side[-1]) > 64).any() for side in (game, dream))  # and go on
