"""A world that learned what is likely in a state draws latent actions from that, on every face of the environment."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded

from flam_env import Dream, FlamEnv, FlamVectorEnv, SteerSlot, load_world, save_world
from flam_env.envs import vector_wrappers as vector
from flam_env.envs.controls import Scene, other_actions
from flam_env.sb3 import FlamSB3VecEnv
from flam_env.worlds.units import clip_to_box

K, A = 6, 5


def expected_draws(dream: Dream, frame, generators) -> np.ndarray:
    """What the model's own prior draws in a frame (B, 1, ...) with the noise of each row's generator."""
    with torch.inference_mode():
        prior = dream.model.prior(frame)
        noise = np.stack([generator.standard_normal((1, K, prior.noise), np.float32) for generator in generators])
        return clip_to_box(dream.units.from_model(prior.draw(torch.from_numpy(noise)))[:, 0]).numpy()


def test_by_default_an_action_is_drawn_from_the_prior_in_the_state(tiny_prior_world):
    env = FlamEnv(world=tiny_prior_world)
    for start in (2, 7):
        env.reset(seed=1, options={"start": start})
        frame = env.dream.reset(tiny_prior_world.starts.tokens[start : start + 1, :2]).frame
        for source in (None, "prior"):
            stream = np.random.Generator(np.random.PCG64())
            stream.bit_generator.state = env.np_random.bit_generator.state
            drawn = env.sample_latent_action(source)
            assert env.action_space.contains(drawn)
            np.testing.assert_allclose(drawn, expected_draws(env.dream, frame, [stream])[0], atol=1e-4)


def test_what_is_drawn_depends_on_the_state_and_on_the_seed_alone(tiny_prior_world):
    drawn = {}
    for start in (2, 7):
        for seed in (0, 0, 1):
            env = FlamEnv(world=tiny_prior_world)
            env.reset(seed=seed, options={"start": start})
            actions = []
            for _ in range(4):
                actions.append(env.sample_latent_action())
                env.step(actions[-1])
            seen = drawn.setdefault((start, seed), np.array(actions))
            assert np.array_equal(seen, np.array(actions)), "the same seed draws the same"
    assert not np.allclose(drawn[2, 0], drawn[2, 1]) and not np.allclose(drawn[2, 0][0], drawn[7, 0][0])


def test_the_bank_is_drawn_from_where_that_is_asked_for(tiny_prior_world):
    env = FlamEnv(world=tiny_prior_world)
    env.reset(seed=0)
    bank = tiny_prior_world.starts.bank.numpy().clip(-3, 3)
    assert (env.sample_latent_action("bank") == bank).all((1, 2)).any()
    assert not (env.sample_latent_action() == bank).all((1, 2)).any()


def test_draws_lie_inside_the_box_however_wide_the_prior_is(tiny_prior_world):
    envs = FlamVectorEnv(40, world=tiny_prior_world)
    envs.reset(seed=0)
    drawn = envs.sample_latent_action()
    assert drawn.shape == (40, K, A) and drawn.dtype == np.float32
    assert np.abs(drawn).max() == 3.0 and np.isfinite(drawn).all()
    assert np.unique(drawn[:, 0], axis=0).shape[0] == 40


def test_a_saved_world_opens_and_draws_the_same(tiny_prior_world, tmp_path):
    save_world(tmp_path, tiny_prior_world)
    again = load_world(tmp_path)
    assert again.model.learns_prior and again.model.config == tiny_prior_world.model.config
    envs = FlamEnv(world=tiny_prior_world), gym.make("flam_env:FLAM-v0", checkpoint=str(tmp_path)).unwrapped
    for env in envs:
        env.reset(seed=3)
    for _ in range(4):
        one, other = (env.sample_latent_action() for env in envs)
        assert np.array_equal(one, other)
        assert np.array_equal(*(env.step(one)[0] for env in envs))


def test_rows_of_a_batch_draw_what_single_environments_seeded_alike_do(tiny_prior_world):
    envs = FlamVectorEnv(3, world=tiny_prior_world)
    singles = [FlamEnv(world=tiny_prior_world) for _ in range(3)]
    envs.reset(seed=5)
    for row, env in enumerate(singles):
        env.reset(seed=5 + row)
    for _ in range(5):
        drawn = envs.sample_latent_action()
        alone = np.stack([env.sample_latent_action() for env in singles])
        np.testing.assert_allclose(drawn, alone, atol=1e-3)
        envs.step(alone)
        for action, env in zip(alone, singles, strict=True):
            env.step(action)


@pytest.mark.parametrize("source", [None, "prior", "bank"])
def test_nothing_is_drawn_before_the_first_reset(tiny_prior_world, source):
    with pytest.raises(ResetNeeded, match="call reset"):
        FlamEnv(world=tiny_prior_world).sample_latent_action(source)
    envs = FlamVectorEnv(2, world=tiny_prior_world)
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match="call reset"):
        envs.sample_latent_action(source)


# --- what moves the rest ----------------------------------------------------------------------------------------


@pytest.fixture
def scene(tiny_prior_world) -> Scene:
    """Four episodes, the second of which only begins anew with the coming step."""
    dream = Dream(tiny_prior_world)
    return Scene(
        dream=dream,
        frame=dream.reset(tiny_prior_world.starts.tokens[:4, :2]).frame,
        clips=np.arange(4),
        steps=np.array([0, 6, 1, 2]),
        active=np.array([True, False, True, True]),
        generators=[np.random.default_rng(seed) for seed in range(4)],
    )


def test_rows_that_only_begin_anew_draw_nothing_and_the_others_draw_in_their_own_state(scene):
    actions, sources = other_actions("prior", scene)
    assert sources.tolist() == ["prior", "zero", "prior", "prior"]
    expected = expected_draws(scene.dream, scene.frame, [np.random.default_rng(seed) for seed in range(4)])
    np.testing.assert_allclose(actions[scene.active], expected[scene.active], atol=1e-3)
    assert not actions[1].any()
    assert scene.generators[1].random() == np.random.default_rng(1).random()
    assert scene.generators[2].random() != np.random.default_rng(2).random()


def test_nothing_is_drawn_where_no_row_takes_a_step(scene):
    actions, sources = other_actions("prior", scene._replace(active=np.zeros(4, bool)))
    assert not actions.any() and sources.tolist() == ["zero"] * 4


def test_by_default_the_rest_is_moved_by_the_learned_prior_and_without_one_by_real_actions(
    tiny_prior_world, tiny_world
):
    for world, others in ((tiny_prior_world, "prior"), (tiny_world, "data")):
        single = SteerSlot(FlamEnv(world=world), 2)
        batch = vector.SteerSlot(FlamVectorEnv(2, world=world), 2)
        for steered in (single, batch):
            assert steered.others == others
            steered.reset(seed=0)
        mine = np.zeros(A, np.float32)
        assert single.step(mine)[-1]["others"] == others
        assert batch.step(np.stack([mine, mine]))[-1]["others"].tolist() == [others] * 2
        assert single.unwrapped.other_actions()[1] == others
        assert batch.unwrapped.other_actions()[1] == [others] * 2
        sb3 = FlamSB3VecEnv(num_envs=2, world=world, slot=2)
        sb3.reset()
        assert [info["others"] for info in sb3.step(np.stack([mine, mine]))[-1]] == [others] * 2


def test_in_a_world_without_a_learned_prior_nothing_need_have_begun_to_draw(tiny_world):
    assert FlamEnv(world=tiny_world).sample_latent_action().shape == (K, A)
    assert FlamVectorEnv(2, world=tiny_world).sample_latent_action("prior").shape == (2, K, A)
