"""What importing and running flam_env needs, seen from fresh interpreters."""

import subprocess
import sys

import pytest

ONLY_BASE_PACKAGES = """
import sys

BASE = {"flam_env", "torch", "gymnasium", "numpy", "einops", "safetensors"}
THEIR_OWN = {
    "cloudpickle", "farama_notifications", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe",
    "filelock", "fsspec", "torchgen", "functorch", "triton", "nvidia", "cuda",
}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in BASE | THEIR_OWN | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {top!r} (refused by a test)", name=top)

sys.meta_path.insert(0, Refuse())
"""

NO_NETWORK = """
import sys

def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(f"{event}{arguments} (refused by a test)")

sys.addaudithook(refuse)
"""

IMPORT_COST = """
import time
before = time.process_time()
import flam_env
print(time.process_time() - before)
"""

RUN_ALL = """
import gymnasium as gym, numpy as np
checkpoint = sys.argv[1]
print(gym.make("flam_env:FLAM-v0", checkpoint=checkpoint).action_space.shape)
import flam_env
gym.make("FLAM-Bigfish-v0").reset(seed=0)
env = gym.make("FLAM-v0", checkpoint=checkpoint)
frame, _ = env.reset(seed=0)
frames = np.stack([frame] + [env.step(env.unwrapped.sample_latent_action())[0] for _ in range(3)])
envs = gym.make_vec("FLAM-v0", num_envs=3, checkpoint=checkpoint)
envs.reset(seed=0)
envs.step(envs.action_space.sample())
print(flam_env.Labeller.from_pretrained(checkpoint).label(frames).latent_actions.shape)
steered = flam_env.DiscreteLatentActions(flam_env.SteerSlot(env, slot=0), choices=2)
steered.reset(seed=0)
steered.step(1)
try:
    import flam_env.envs.sb3_vec_env
except ModuleNotFoundError as error:
    print(error)
"""


NEVER_BASELINES = """
import sys
from importlib.util import find_spec
import gymnasium as gym

gym.make("flam_env:FLAM-v0", checkpoint=sys.argv[1]).reset(seed=0)
print(find_spec("baselines") is not None, {"flam_train", "baselines"} & sys.modules.keys())
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_registers_the_ids_and_leaves_torch_alone():
    out = run("import sys, flam_env, gymnasium; print('torch' in sys.modules, 'FLAM-Bigfish-v0' in gymnasium.registry)")
    assert out.split() == ["False", "True"]


def test_the_import_takes_less_than_300_milliseconds():
    """Time on the processor, the best of a few tries: what else the machine is doing counts little."""
    assert any(float(run(IMPORT_COST)) < 0.3 for _ in range(5))


@pytest.fixture(scope="module")
def said(tiny_checkpoint) -> list[str]:
    """What an interpreter says that has the base packages and no network, and does all that there is to do."""
    return run(NO_NETWORK + ONLY_BASE_PACKAGES + RUN_ALL, str(tiny_checkpoint)).splitlines()


def test_the_package_name_before_the_id_is_enough(said):
    assert said[0] == "(6, 5)"


def test_everything_runs_on_the_base_packages_alone_and_without_a_network(said):
    assert said[1:] == ["(3, 6, 5)", "flam_env.envs.sb3_vec_env needs Stable-Baselines3: pip install 'flam-env[rl]'"]


def test_a_world_that_opens_brings_neither_trainings_nor_baselines(tiny_checkpoint):
    """They are there to be imported, from where the tests are run."""
    assert run(NEVER_BASELINES, str(tiny_checkpoint)) == "True set()\n"
