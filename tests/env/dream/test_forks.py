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


LATE = """
import os, torch, flam_env

torch.ones(900, 900) @ torch.ones(900, 900)
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
import gymnasium
env = gymnasium.make("FLAM-Bigfish-v0")
env.reset(seed=0)
env.step(env.action_space.sample())
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_makes_its_environment_itself_steps_it():
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", LATE], env=environment, timeout=300).returncode == 0
