"""Stable-Baselines3 over one batch of dreams."""

import sys
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecVideoRecorder

from flam_env import FlamVectorEnv, SteerSlot
from flam_env.envs import vector_wrappers as vector
from flam_env.envs.env import FlamEnv
from flam_env.envs.sb3_vec_env import FlamSB3VecEnv


def brightness(before: np.ndarray, action: np.ndarray, after: np.ndarray) -> float:
    return float(after.mean()) / 255


def test_rows_are_those_of_the_same_step_vector_environment(tiny_world):
    arguments = {"world": tiny_world, "horizon": 2, "reward_fn": brightness}
    sb3, envs = FlamSB3VecEnv(num_envs=3, **arguments), FlamVectorEnv(3, **arguments, autoreset_mode="SameStep")
    sb3.seed(4)
    expected, infos = envs.reset(seed=4)
    assert np.array_equal(sb3.reset(), expected)
    assert [info["start"] for info in sb3.reset_infos] == infos["start"].tolist()
    for ends in (False, True, False):
        actions = envs.action_space.sample()
        frames, rewards, dones, listed = sb3.step(actions)
        expected, expected_rewards, _, truncated, infos = envs.step(actions)
        assert np.array_equal(frames, expected)
        assert rewards.dtype == np.float32 and np.allclose(rewards, expected_rewards)
        assert dones.tolist() == truncated.tolist() == [ends] * 3
        for i, info in enumerate(listed):
            assert info["TimeLimit.truncated"] is ends
            assert ("terminal_observation" in info) is ends
            if ends:
                assert np.array_equal(info["terminal_observation"], infos["final_obs"][i])
                assert not np.array_equal(info["terminal_observation"], frames[i])


def test_a_termination_is_no_time_limit(tiny_world):
    sb3 = FlamSB3VecEnv(num_envs=2, world=tiny_world, horizon=1, termination_fn=lambda frame, step: True)
    sb3.reset()
    _, _, dones, infos = sb3.step(np.zeros((2, 6, 5), np.float32))
    assert dones.all() and not any(info["TimeLimit.truncated"] for info in infos)


def test_one_slot_is_steered_as_by_the_wrapper(tiny_world):
    sb3 = FlamSB3VecEnv(num_envs=2, world=tiny_world, slot=3, others="replay")
    single = SteerSlot(FlamEnv(world=tiny_world), slot=3, others="replay")
    assert sb3.action_space == single.action_space
    sb3.set_options({"start": 5})
    first = sb3.reset()[1]
    assert np.array_equal(first, single.reset(options={"start": 5})[0])
    action = np.full(5, 1.5, np.float32)
    frames, *_ = sb3.step(np.stack([action, action]))
    close = np.isclose(frames[1].astype(int), single.step(action)[0].astype(int), atol=1)
    assert close.mean() >= 0.999


CONTROLS = [
    ({"slot": 3, "others": "data"}, lambda envs: vector.SteerSlot(envs, 3, "data")),
    ({"slot": 3, "choices": 4}, lambda envs: vector.DiscreteLatentActions(vector.SteerSlot(envs, 3), 4)),
    ({"choices": 3}, lambda envs: vector.DiscreteLatentActions(envs, 3)),
    ({"real_actions": True, "others": "prior"}, lambda envs: vector.RealActions(envs, "prior")),
    ({"real_actions": True, "slots": [0, 2]}, lambda envs: vector.RealActions(envs, slots=[0, 2])),
]


@pytest.mark.parametrize("arguments, wrap", CONTROLS)
def test_arguments_and_infos_are_those_of_the_vector_wrappers(decoded_world, arguments, wrap):
    sb3 = FlamSB3VecEnv(num_envs=3, world=decoded_world, horizon=2, **arguments)
    envs = wrap(FlamVectorEnv(3, world=decoded_world, horizon=2, autoreset_mode="SameStep"))
    assert sb3.action_space == envs.single_action_space
    sb3.seed(7)
    sb3.reset(), envs.reset(seed=7), envs.action_space.seed(0)
    for ends in (False, True, False):
        actions = envs.action_space.sample()
        (frames, _, _, listed), (expected, *_, infos) = sb3.step(actions), envs.step(actions)
        assert np.array_equal(frames, expected)
        told = infos["final_info"] if ends else infos
        names = {name for name in told if f"_{name}" in told}
        assert ("known_action" in names) == ("real_actions" in arguments)
        for row, info in enumerate(listed):
            assert info.keys() == names | {"TimeLimit.truncated"} | ({"terminal_observation"} if ends else set())
            assert all(info[name] == told[name][row] for name in names)
            assert all(type(info[name]) in (bool, int, str) for name in names)
        assert all(info.keys() == {"start", "clipped", "refused"} for info in sb3.reset_infos)


def test_arguments_that_exclude_each_other_or_say_nothing_are_refused(decoded_world):
    for arguments, message in (
        ({"slot": 1, "real_actions": True}, "expected either real_actions or slot, got both"),
        ({"choices": 3, "real_actions": True}, "expected either real_actions or choices, got both"),
        ({"others": "data"}, "expected others together with real_actions or slot, got 'data' alone"),
        ({"others": "data", "choices": 2}, "expected others together with"),
        ({"slots": [1], "slot": 1}, r"expected slots together with real_actions, got \[1\] alone"),
        ({"real_actions": True, "slots": []}, r"expected slots to be a list of at least one slot, got \[\]"),
        ({"real_actions": True, "slots": 4}, "expected slots to be a list of at least one slot, got 4"),
        ({"real_actions": True, "slots": [6]}, r"expected slot to be an integer in \[0, 5\], got 6"),
    ):
        with pytest.raises(ValueError, match=message):
            FlamSB3VecEnv(num_envs=2, world=decoded_world, **arguments)


def test_films_run_at_the_speed_of_the_world(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "moviepy", ModuleType("moviepy"))  # the recorder only asks whether it is there
    sb3 = FlamSB3VecEnv(num_envs=2, world=tiny_world, render_mode="rgb_array")
    assert sb3.metadata["render_modes"] == ["rgb_array"]
    for env in (sb3, VecMonitor(sb3)):
        recorder = VecVideoRecorder(env, str(tmp_path), lambda step: False)
        assert recorder.frames_per_sec == tiny_world.settings.frames_per_second == 10
    assert sb3.get_attr("metadata")[0]["render_fps"] == 10


def test_ppo_learns_saves_and_is_evaluated(tiny_world, tmp_path):
    env = VecMonitor(FlamSB3VecEnv(num_envs=4, world=tiny_world, horizon=4, slot=0, reward_fn=brightness))
    model = PPO("CnnPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=0).learn(64)
    assert len(model.ep_info_buffer) > 0
    assert all(episode["l"] == 4 for episode in model.ep_info_buffer)
    model.save(tmp_path / "policy")
    again = PPO.load(tmp_path / "policy", env=env)
    mean, _ = evaluate_policy(again, env, n_eval_episodes=4)
    assert 0 < mean < 4


def test_attributes_and_methods_of_the_batch(tiny_world):
    sb3 = FlamSB3VecEnv(num_envs=3, world=tiny_world, render_mode="rgb_array")
    frames = sb3.reset()
    assert np.array_equal(np.stack(sb3.get_images()), frames)
    assert sb3.get_attr("horizon") == [13] * 3
    assert FlamSB3VecEnv(num_envs=2, world=tiny_world, slot=4, choices=2).get_attr("slot") == [4, 4]
    assert sb3.env_method("slot_masks", indices=[0, 2])[1].shape == (6, 48, 48)
    (actions, source), _ = sb3.env_method("other_actions", "replay", indices=[2, 0])
    assert np.array_equal(actions, sb3.envs.other_actions("replay")[0][2]) and source == "replay"
    assert np.array_equal(sb3.env_method("render", indices=1)[0], frames[1])
    assert sb3.env_is_wrapped(SteerSlot) == [False] * 3
    with pytest.raises(NotImplementedError, match="all environments share it"):
        sb3.set_attr("horizon", 3)
    with pytest.raises(ValueError, match=r"expected a batched method of .*got 'reset'"):
        sb3.env_method("reset")


def test_wrong_arguments_are_refused(tiny_world):
    for slot in (6, 1.5, True):
        with pytest.raises(ValueError, match=rf"expected slot to be an integer in \[0, 5\], got {slot}"):
            FlamSB3VecEnv(num_envs=2, world=tiny_world, slot=slot)
    with pytest.raises(ValueError, match="expected others to be one of"):
        FlamSB3VecEnv(num_envs=2, world=tiny_world, slot=1, others="x")
    sb3 = FlamSB3VecEnv(num_envs=2, world=tiny_world, slot=1)
    for options, message in (({"frames": 3}, r"got \['frames'\]"), ({"start": 99}, "got 99"), ([{}, "x"], "as a dict")):
        sb3.set_options(options)
        with pytest.raises(ValueError, match=message):
            sb3.reset()
        sb3.reset()


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 6, 5), np.float32), r"got shape \(2, 6, 5\)"),
        (np.zeros((2, 5), int), "got dtype int64"),
        (np.zeros((2, 5), complex), "got dtype complex128"),
        (np.full((2, 5), np.nan), r"got nan at \[0, 0\]"),
    ],
)
def test_wrong_actions_of_one_slot_are_refused(tiny_world, actions, message):
    sb3 = FlamSB3VecEnv(num_envs=2, world=tiny_world, slot=1)
    sb3.reset()
    with pytest.raises(ValueError, match=r"expected latent actions of shape \(2, 5\) .*" + message):
        sb3.step(actions)
    sb3.step(np.full((2, 5), 1e300))
