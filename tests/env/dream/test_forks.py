"""A forked process, as Gymnasium's AsyncVectorEnv starts by default, goes on where its parent has used threads."""

import os
import signal
import subprocess
import sys

import pytest

CODE = """
import multiprocessing, gymnasium, flam_env

envs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make("FLAM-v0", checkpoint="bigfish")] * 2)
envs.reset(seed=0)
frames, *_ = envs.step(envs.action_space.sample())
envs.close()
print(frames.shape, flush=True)

labeller, clip = flam_env.Labeller.from_pretrained("bigfish"), flam_env.load_clips("bigfish")[0, :3]
labeller.label(clip)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply(labeller.label, (clip,)).latent_actions.shape)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_children_step_environments_and_label():
    # A large world and two threads: what is small, or has one thread, never waits for others.
    command, environment = [sys.executable, "-c", CODE], os.environ | {"OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its children, too
    assert (process.returncode, out.splitlines()) == (0, ["(2, 64, 64, 3)", "(2, 16, 16)"])
