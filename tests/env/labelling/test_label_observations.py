"""Latent actions of a live environment."""

import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import Autoreset

from flam_env import Labeller, LabelObservations

LENGTH = 4


class Noise(gym.Env):
    """Shows noise for four steps."""

    action_space = Discrete(3)

    def __init__(self, height: int = 48, width: int = 48):
        self.observation_space = Box(0, 255, (height, width, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._show(), {"time": 0}

    def step(self, action):
        self.time += 1
        return self._show(), 0.0, self.time == LENGTH, False, {"time": self.time}

    def _show(self):
        return self.np_random.integers(0, 256, self.observation_space.shape, np.uint8)


@pytest.fixture(scope="module")
def labeller(tiny_world) -> Labeller:
    return Labeller(tiny_world)


def played(env: gym.Env, seed: int) -> tuple[np.ndarray, list[dict]]:
    """Frames and infos of one episode."""
    observation, info = env.reset(seed=seed)
    frames, infos, over = [observation], [info], False
    while not over:
        observation, _, terminated, truncated, info = env.step(0)
        frames.append(observation)
        infos.append(info)
        over = terminated or truncated
    return np.stack(frames), infos


def test_the_environment_checker_is_content(labeller):
    with warnings.catch_warnings(action="error"):
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(LabelObservations(Noise(), labeller), skip_render_check=True)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (None, None),
        (10, None),
        (30, r"30 frames a second .* had 10, so in a step less .*; repeat each action for about 3 steps inside"),
        (5, r"5 frames a second .* had 10, so in a step more .*; take a world of that pace"),
    ],
)
def test_an_environment_of_another_pace_than_the_worlds_is_warned_of(labeller, rate, said):
    env = Noise()
    env.metadata = {} if rate is None else {"render_fps": rate}
    with warnings.catch_warnings(record=True, action="always") as warned:
        LabelObservations(env, labeller)
    assert len(warned) == (said is not None)
    for each in warned:
        assert re.search(said, str(each.message)) and each.filename == __file__


def test_infos_hold_the_labels_of_the_episode_and_nothing_of_the_one_before(labeller):
    env = LabelObservations(Noise(), labeller)
    for seed in (3, 5):
        frames, infos = played(env, seed)
        assert "latent_action" not in infos[0]
        latent_actions = np.stack([info["latent_action"] for info in infos[1:]])
        assert latent_actions.shape == (LENGTH, 6, 5) and latent_actions.dtype == np.float32
        np.testing.assert_allclose(latent_actions, labeller.label(frames).latent_actions, atol=2e-4)
        assert [info["time"] for info in infos] == list(range(LENGTH + 1))


def test_an_episode_that_begins_by_itself_is_noticed(labeller):
    env = LabelObservations(Autoreset(Noise()), labeller)
    played(env, seed=3)
    observation, *_, info = env.step(0)
    assert "latent_action" not in info
    after, *_, info = env.step(0)
    expected = labeller.label(np.stack([observation, after])).latent_actions[0]
    np.testing.assert_allclose(info["latent_action"], expected, atol=2e-4)


def test_environments_of_a_vector_share_a_labeller_and_keep_their_episodes_apart(labeller):
    envs = gym.vector.SyncVectorEnv([lambda: LabelObservations(Noise(), labeller)] * 3)
    alone = [played(LabelObservations(Noise(), labeller), seed)[1] for seed in (7, 8, 9)]
    _, info = envs.reset(seed=7)
    assert "latent_action" not in info
    for t in range(1, LENGTH + 1):
        *_, info = envs.step(np.zeros(3, int))
        assert info["latent_action"].shape == (3, 6, 5) and info["_latent_action"].all()
        for row, infos in enumerate(alone):
            assert np.array_equal(info["latent_action"][row], infos[t]["latent_action"])
    *_, info = envs.step(np.zeros(3, int))  # the step that resets
    assert "latent_action" not in info


def test_frames_of_any_size_are_resized_and_a_warning_says_so_once(labeller):
    env = LabelObservations(Noise(height=40, width=56), labeller)
    with pytest.warns(UserWarning, match="these of 40 x 56 are resized") as said:
        frames, infos = played(env, seed=1)
        played(env, seed=2)
    assert len(said) == 1 and frames.shape[1:] == (40, 56, 3)
    assert all(info["latent_action"].shape == (6, 5) for info in infos[1:])


def test_it_is_made_again_from_its_spec(tiny_checkpoint):
    gym.register("Noise-v0", entry_point=f"{__name__}:Noise")
    try:
        env = LabelObservations(gym.make("Noise-v0"), str(tiny_checkpoint))
        again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
        pairs = zip(played(env, seed=4)[1], played(again, seed=4)[1], strict=True)
        assert all(np.array_equal(a.get("latent_action"), b.get("latent_action")) for a, b in pairs)
    finally:
        del gym.registry["Noise-v0"]


@pytest.mark.parametrize("space", [Box(0, 1, (48, 48, 3)), Box(0, 255, (3, 48, 48), np.uint8), Discrete(4)])
def test_other_observations_are_refused(labeller, space):
    env = Noise()
    env.observation_space = space
    with pytest.raises(ValueError, match=r"expected an environment with observations uint8 \(H, W, 3\), got"):
        LabelObservations(env, labeller)
