"""What Gymnasium, Stable-Baselines3 and a careful user expect of the environment."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import flam_env
from flam_env import FlamEnv, Labeller


def make(checkpoint, **arguments) -> gym.Env:
    return gym.make("FLAM-v0", checkpoint=str(checkpoint), **arguments)


def test_gymnasium_check_env_passes_without_a_warning(tiny_checkpoint):
    env = make(tiny_checkpoint, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_sb3_check_env_passes_but_for_its_advice_on_the_action_range(tiny_checkpoint):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checker.check_env(make(tiny_checkpoint).unwrapped)
    assert len(caught) <= 1
    assert all("symmetric and normalized" in str(warning.message) for warning in caught)


def test_spaces_and_metadata_are_those_of_the_world(tiny_checkpoint, tiny_world):
    env = make(tiny_checkpoint)
    assert env.action_space == gym.spaces.Box(-3, 3, (6, 5), np.float32)
    assert env.observation_space == gym.spaces.Box(0, 255, (48, 48, 3), np.uint8)
    assert env.metadata["render_modes"] == ["rgb_array"]
    assert env.metadata["render_fps"] == tiny_world.settings.frames_per_second


def test_two_environments_of_one_seed_are_equal_in_everything(tiny_checkpoint):
    first, second = make(tiny_checkpoint), make(tiny_checkpoint)
    observations = first.reset(seed=3), second.reset(seed=3)
    assert np.array_equal(observations[0][0], observations[1][0])
    assert observations[0][1] == observations[1][1]
    for _ in range(13):
        action = first.unwrapped.sample_latent_action()
        assert np.array_equal(action, second.unwrapped.sample_latent_action())
        one, two = first.step(action), second.step(action)
        assert np.array_equal(one[0], two[0])
        assert one[1:] == two[1:]
    assert first.reset()[1] == second.reset()[1]


def test_seeds_draw_different_starts(tiny_world):
    env = FlamEnv(world=tiny_world)
    assert len({env.reset(seed=seed)[1]["start"] for seed in range(20)}) > 5


def test_reset_shows_the_last_context_frame_of_the_chosen_start(tiny_world):
    env = FlamEnv(world=tiny_world)
    observation, info = env.reset(options={"start": 4})
    last = tiny_world.starts.tokens[4, tiny_world.settings.context - 1]
    expected = (tiny_world.tokenizer.decode(last[None])[0] * 255).round().byte().permute(1, 2, 0)
    assert np.array_equal(observation, expected.numpy())
    assert info == {"start": 4, "clipped": False, "refused": False}


def test_own_frames_start_a_dream(tiny_world):
    env = FlamEnv(world=tiny_world)
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    observation, info = env.reset(options={"start": frames})
    assert info["start"] == -1
    assert env.replay_actions.shape == (0, 6, 5)
    assert np.array_equal(env.reset(options={"start": frames})[0], observation)


def test_mirrored_and_read_only_frames_start_a_dream_without_a_warning(tiny_world):
    env, labeller = FlamEnv(world=tiny_world), Labeller(tiny_world)
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    frames.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for view in (frames, frames[..., ::-1], frames[::-1], frames[:, ::-1, ::-1]):
            assert np.array_equal(*(env.reset(options={"start": start})[0] for start in (view, view.copy())))
            assert np.array_equal(*(labeller.label(video).latent_actions for video in (view, view.copy())))


def test_replay_actions_are_those_that_follow_the_context(tiny_world):
    env = FlamEnv(world=tiny_world)
    env.reset(options={"start": 7})
    assert np.array_equal(env.replay_actions, tiny_world.starts.actions[7, 1:].numpy())


@pytest.mark.parametrize("size", [1e3, 1e300])
def test_finite_actions_outside_the_box_are_clipped_and_said_so(tiny_world, size):
    env, other = FlamEnv(world=tiny_world), FlamEnv(world=tiny_world)
    env.reset(seed=0), other.reset(seed=0)
    wild = env.sample_latent_action().astype(float) * size
    observation, *_, info = env.step(wild)
    assert info["clipped"] is True
    expected, *_, info = other.step(wild.clip(-3, 3))
    assert info["clipped"] is False
    assert np.array_equal(observation, expected)


def test_actions_at_the_edge_of_the_box_are_taken_in_any_precision(tiny_world):
    env = FlamEnv(world=tiny_world)
    env.reset(seed=0)
    for dtype in (np.float16, np.float32, np.float64):
        assert env.step(np.full((6, 5), 3, dtype))[4]["clipped"] is False
        assert env.step(np.full((6, 5), 6e4, dtype))[4]["clipped"] is True


def test_reward_and_flags_are_plain_python_and_zero_by_default(tiny_world):
    env = FlamEnv(world=tiny_world, horizon=2)
    env.reset(seed=0)
    for truncated in (False, True):
        _, *outcome, _ = env.step(env.action_space.sample())
        assert outcome == [0.0, False, truncated]
        assert [type(value) for value in outcome] == [float, bool, bool]


def test_horizon_is_the_worlds_own_unless_given(tiny_world):
    assert FlamEnv(world=tiny_world).horizon == 13
    assert FlamEnv(world=tiny_world, horizon=5).horizon == 5


def test_observations_share_no_memory(tiny_world):
    env = FlamEnv(world=tiny_world, render_mode="rgb_array")
    first, _ = env.reset(seed=0)
    second, *_ = env.step(env.action_space.sample())
    kept = second.copy()
    first[:], second[:] = 0, 0
    assert np.array_equal(env.render(), kept)
    env.render()[:] = 0
    assert np.array_equal(env.render(), kept)


def test_functions_give_rewards_and_ends(tiny_world):
    seen = []

    def reward(before, action, after):
        seen.append((before, action, after))
        return float(after.mean()) - float(before.mean())

    env = FlamEnv(world=tiny_world, reward_fn=reward, termination_fn=lambda frame, step: step == 2)
    start, _ = env.reset(seed=0)
    action = env.action_space.sample() * 2
    after, value, terminated, _, _ = env.step(action)
    assert not terminated
    assert value == pytest.approx(after.mean() - start.mean())
    before, taken, frame = seen[0]
    assert np.array_equal(before, start) and np.array_equal(frame, after)
    assert np.array_equal(taken, action.clip(-3, 3))
    assert env.step(action)[2] is True


def test_functions_can_be_named(tiny_checkpoint, tmp_path, monkeypatch):
    (tmp_path / "my_game.py").write_text(
        "def worth(*seen):\n    return 2\n\ndef over(frame, step):\n    return step == 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make(tiny_checkpoint, reward_fn="my_game:worth", termination_fn="my_game:over")
    assert env.spec.kwargs["reward_fn"] == "my_game:worth"
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    again.reset(seed=0)
    assert again.step(again.action_space.sample())[1:3] == (2.0, True)


def test_spec_survives_json(tiny_checkpoint):
    env = make(tiny_checkpoint, horizon=4, device="cpu")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert np.array_equal(env.reset(seed=1)[0], again.reset(seed=1)[0])
    assert again.unwrapped.horizon == 4


def test_slot_masks_are_shares_of_every_pixel(tiny_world):
    env = FlamEnv(world=tiny_world)
    env.reset(seed=0)
    masks = env.slot_masks()
    assert masks.shape == (6, 48, 48) and masks.dtype == np.float32
    np.testing.assert_allclose(masks.sum(0), 1, atol=1e-5)
    side = 48 // tiny_world.model.config.cell_grid
    assert np.array_equal(masks[:, ::side, ::side].repeat(side, 1).repeat(side, 2), masks)


def test_sampled_actions_are_real_ones_inside_the_box(tiny_world):
    env = FlamEnv(world=tiny_world)
    env.reset(seed=0)
    bank = tiny_world.starts.bank.numpy().clip(-3, 3)
    for _ in range(5):
        action = env.sample_latent_action()
        assert env.action_space.contains(action)
        assert (action == bank).all((1, 2)).any()
    assert env.action_space.contains(env.sample_latent_action(source="prior"))


def test_the_prior_is_standard_normal_inside_the_networks(tiny_world):
    units = replace(tiny_world.units, scale=(1.0, 0.5, 2.0, 1.0, 4.0))
    env = FlamEnv(world=replace(tiny_world, units=units))
    env.reset(seed=0)
    drawn = np.stack([env.sample_latent_action("prior") for _ in range(800)])
    np.testing.assert_allclose(drawn[..., [2, 4]].std((0, 1)), [0.5, 0.25], rtol=0.05)


def test_every_registered_world_names_its_checkpoint():
    ids = [name for name in gym.registry if name.startswith("FLAM-")]
    assert "FLAM-v0" in ids and "FLAM-Bigfish-v0" in ids
    assert gym.spec("FLAM-Bigfish-v0").kwargs == {"checkpoint": "bundled:bigfish"}
    assert all(gym.spec(name).max_episode_steps is None for name in ids)


def test_front_doors_open():
    assert set(flam_env.__all__) <= set(dir(flam_env))
    assert all(getattr(flam_env, name) is not None for name in flam_env.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Back'"):
        flam_env.Back  # noqa: B018
