"""The worlds that come with the package replay real video."""

import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import pytest

from flam_env import Labeller, load_clips
from flam_env.registration import BUNDLED
from flam_env.worlds.finding import PRETRAINED

CLIPS = 4


@pytest.fixture(params=BUNDLED.items(), ids=BUNDLED)
def bundled(request) -> tuple[str, str]:
    environment_id, checkpoint = request.param
    if not (PRETRAINED / checkpoint / "config.json").is_file():
        pytest.skip(f"the world {checkpoint} is not bundled yet")
    return environment_id, checkpoint


def test_worlds_open_where_nothing_but_their_reader_was_imported():
    code = "import sys; from flam_env import load_world; [load_world(name) for name in sys.argv[1:]]"
    there = sorted({name for name in BUNDLED.values() if (PRETRAINED / name / "config.json").is_file()})
    done = subprocess.run([sys.executable, "-c", code, *there], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    """Mean over frames, dB."""
    error = ((one.astype(float) - two.astype(float)) ** 2).mean((-3, -2, -1)) / 255**2
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def test_making_and_resetting_takes_under_three_seconds(bundled):
    began = time.process_time()
    env = gym.make(bundled[0])
    env.reset(seed=0)
    assert time.process_time() - began < 3
    assert env.unwrapped.world.settings.source.split("/")[0] in ("procgen", "multigrid")


def test_labels_replay_real_video_better_than_standing_still(bundled):
    """By the likeliest tokens: those that are drawn are others each time."""
    environment_id, checkpoint = bundled
    env, labeller = gym.make(environment_id, draw_tokens=False).unwrapped, Labeller.from_pretrained(checkpoint)
    context = env.world.settings.context
    clips = load_clips(checkpoint)[:CLIPS, : context + env.horizon]
    replayed = []
    for clip in clips:
        env.reset(options={"start": clip[:context]})
        actions = labeller.label(clip).latent_actions[context - 1 :]
        replayed.append([env.step(action)[0] for action in actions])
    still = np.broadcast_to(clips[:, context - 1 : context], clips[:, context:].shape)
    assert psnr(np.array(replayed), clips[:, context:]) > psnr(still, clips[:, context:]) + 2


def test_real_actions_lie_in_the_box(bundled):
    bank = gym.make(bundled[0]).unwrapped.world.starts.bank
    assert (bank.abs() <= 3).float().mean() >= 0.999
