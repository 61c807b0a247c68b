"""The vector environment does what as many single ones do."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import flam_env
from flam_env import FlamEnv, FlamVectorEnv
from flam_env.envs import vector_wrappers as vector


def ends_at(frame: np.ndarray, step: int) -> bool:
    """Ends every episode at a step that depends on what is seen, coarsely, so that a batch falls out of step."""
    return step >= 2 + int(frame.mean() / 4) % 4


def test_make_vec_gives_the_native_vector_environment(tiny_checkpoint):
    for mode in (None, "vector_entry_point"):
        envs = gym.make_vec("FLAM-v0", 3, vectorization_mode=mode, checkpoint=str(tiny_checkpoint), horizon=7)
        assert isinstance(envs.unwrapped, FlamVectorEnv)
        assert envs.action_space.shape == (3, 6, 5) and envs.observation_space.shape == (3, 48, 48, 3)
        assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        assert envs.reset(seed=0)[0].shape == (3, 48, 48, 3)


def test_make_vec_hands_on_a_time_limit_and_a_mode(tiny_checkpoint):
    envs = gym.make_vec(
        "FLAM-v0", 2, checkpoint=str(tiny_checkpoint), max_episode_steps=3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert envs.unwrapped.horizon == 3
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@pytest.mark.parametrize("source", ["bank", "prior"])
def test_row_i_is_the_single_environment_of_seed_s_plus_i(tiny_world, source):
    rows, steps = 4, 16
    envs = FlamVectorEnv(rows, world=tiny_world, horizon=steps)
    singles = [FlamEnv(world=tiny_world, horizon=steps) for _ in range(rows)]
    _, infos = envs.reset(seed=5)
    assert infos["start"].tolist() == [env.reset(seed=5 + i)[1]["start"] for i, env in enumerate(singles)]
    equal = []
    for _ in range(steps):
        actions = envs.sample_latent_action(source)
        assert np.array_equal(actions, np.stack([env.sample_latent_action(source) for env in singles]))
        *_, truncated, _ = envs.step(actions)
        assert truncated.tolist() == [env.step(action)[3] for env, action in zip(singles, actions, strict=True)]
        tokens = envs._episodes._state.tokens
        equal += [(tokens[i] == env._episodes._state.tokens[0]).float().mean() for i, env in enumerate(singles)]
    assert np.mean(equal) >= 0.999


def test_one_seed_and_all_seeds_say_the_same(tiny_world):
    envs = FlamVectorEnv(3, world=tiny_world)
    drawn = []
    for seed in (5, np.int64(5), [5, 6, 7], (5, np.int64(6), 7), np.arange(5, 8), range(5, 8)):
        _, infos = envs.reset(seed=seed)
        drawn.append((infos["start"].tolist(), envs.sample_latent_action().tolist()))
    assert all(each == drawn[0] for each in drawn)


CONTROLS = {
    "latent": lambda faces, env: env,
    "slot": lambda faces, env: faces.SteerSlot(env, 3),
    "real": lambda faces, env: faces.RealActions(env, "data"),
    "real, several slots": lambda faces, env: faces.RealActions(env, "prior", slots=(1, 5)),
    "choices": lambda faces, env: faces.DiscreteLatentActions(env, 3),
    "choices of a slot": lambda faces, env: faces.DiscreteLatentActions(faces.SteerSlot(env, 2, "zero"), 4),
}
NEXT, SAME = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


@pytest.mark.parametrize("control, mode", [*((name, NEXT) for name in CONTROLS), ("latent", SAME), ("real", SAME)])
def test_controls_and_autoreset_are_those_of_gymnasiums_own_vector_environment(decoded_world, control, mode):
    arguments = {"world": decoded_world, "horizon": 9, "termination_fn": ends_at, "reward_fn": lambda *s: s[2].mean()}
    expected = gym.vector.SyncVectorEnv(
        [lambda: CONTROLS[control](flam_env, FlamEnv(**arguments))] * 3, autoreset_mode=mode
    )
    envs = CONTROLS[control](vector, FlamVectorEnv(3, **arguments, autoreset_mode=mode))
    assert envs.single_action_space == expected.single_action_space and envs.action_space == expected.action_space
    same(envs.reset(seed=2), expected.reset(seed=2))
    expected.action_space.seed(0)
    told, ended = set(), 0
    for _ in range(14):
        actions = expected.action_space.sample()
        ours, theirs = envs.step(actions), expected.step(actions)
        same(ours, theirs)
        ended += (ours[2] | ours[3]).sum()
        told |= theirs[-1].keys()
    assert ended >= 6
    assert ("others" in told, "known_action" in told) == (
        control not in ("latent", "choices"),
        control.startswith("real"),
    )


def same(ours, theirs) -> None:
    """Equal observations, rewards, flags and infos, up to the rounding of batches of different size."""
    for one, two in zip(ours[:-1], theirs[:-1], strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one.astype(float), two.astype(float), atol=1, rtol=1e-3)
    same_infos(ours[-1], theirs[-1])


def same_infos(ours: dict, theirs: dict) -> None:
    """Equal infos; rows that an info does not speak of are not compared."""
    assert not any(ours[name].any() for name in set(ours) - set(theirs) if name.startswith("_"))
    for name, value in theirs.items():
        if name.startswith("_"):
            assert np.array_equal(ours[name], value), name
        elif isinstance(value, dict):
            same_infos(ours[name], value)
        else:
            assert ours[name].dtype == value.dtype, name
            for row in np.flatnonzero(theirs[f"_{name}"]):
                if name == "final_obs":
                    np.testing.assert_allclose(ours[name][row].astype(float), value[row].astype(float), atol=1)
                else:
                    assert ours[name][row] == value[row], name


def test_disabled_autoreset_touches_only_the_rows_of_the_mask(tiny_world):
    envs = FlamVectorEnv(3, world=tiny_world, horizon=2, autoreset_mode="Disabled")
    _, infos = envs.reset(seed=0)
    envs.step(envs.sample_latent_action())
    mask = np.array([False, True, False])
    state = envs._episodes._state
    _, later = envs.reset(seed=[None, 9, None], options={"reset_mask": mask, "start": 3})
    assert later["start"].tolist() == [infos["start"][0], 3, infos["start"][2]]
    for old, new in zip(tensors(state), tensors(envs._episodes._state), strict=True):
        assert (old[~mask] == new[~mask]).all()
        assert (old[mask] != new[mask]).any()
    assert envs._episodes.steps.tolist() == [1, 0, 1]
    *_, truncated, _ = envs.step(envs.sample_latent_action())
    assert truncated.tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"ended ones in environments \[0, 2\]"):
        envs.step(envs.sample_latent_action())
    envs.reset(options={"reset_mask": truncated})
    envs.step(envs.sample_latent_action())


def tensors(state) -> tuple:
    return (*state.frame[:4], *state.frame.history)


def test_every_row_may_have_its_own_start(tiny_world):
    envs = FlamVectorEnv(3, world=tiny_world)
    frames = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3)).astype(np.uint8)
    observations, infos = envs.reset(seed=0, options={"start": [6, frames, frames[-1:]]})
    assert infos["start"].tolist() == [6, -1, -1]
    single = FlamEnv(world=tiny_world)
    for row, start in enumerate((6, frames, frames[-1:])):
        assert np.array_equal(single.reset(options={"start": start})[0], observations[row])
    assert np.array_equal(observations[1], observations[2])
    assert not (envs._episodes._state.slots[1] == envs._episodes._state.slots[2]).all()


def test_observations_and_renders_share_no_memory(tiny_world):
    envs = FlamVectorEnv(2, world=tiny_world, render_mode="rgb_array")
    frames, _ = envs.reset(seed=0)
    kept = frames.copy()
    frames[:] = 0
    assert np.array_equal(np.stack(envs.render()), kept)
    assert envs.slot_masks().shape == (2, 6, 48, 48)


def test_wild_actions_are_clipped_in_their_row_only(tiny_world):
    envs = FlamVectorEnv(2, world=tiny_world)
    envs.reset(seed=0)
    actions = np.zeros((2, 6, 5))
    actions[1] = 1e300
    assert envs.step(actions)[-1]["clipped"].tolist() == [False, True]


def test_no_step_before_every_row_was_reset(tiny_world):
    envs = FlamVectorEnv(2, world=tiny_world)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(envs.action_space.sample())


@pytest.mark.parametrize("control", [name for name in CONTROLS if name != "latent"])
def test_a_control_goes_around_its_own_kind_of_environment(decoded_world, control):
    control = CONTROLS[control]
    single, batch = FlamEnv(world=decoded_world), FlamVectorEnv(2, world=decoded_world)
    of_singles = gym.vector.SyncVectorEnv([lambda: single])
    rooms = "has the wrappers of single environments, flam_env.envs.vector_wrappers those of vector ones"
    for faces, env, message in (
        (flam_env, batch, rf"expected a FLAM environment, got .*FlamVectorEnv.*{rooms}"),
        (vector, single, rf"expected a FLAM vector environment, got .*FlamEnv.*{rooms}"),
        (vector, of_singles, r"latent actions \(K, A\) in \[-3, 3\], got SyncVectorEnv"),
        (vector, vector.DiscreteLatentActions(batch), r"got .* with MultiDiscrete"),
    ):
        with pytest.raises(ValueError, match=message):
            control(faces, env)


@pytest.mark.parametrize("actions", [np.zeros(3, int), np.array([0, 3]), np.array([-1, 0]), np.zeros(2), [True, False]])
def test_choices_that_do_not_exist_are_refused(tiny_world, actions):
    envs = vector.DiscreteLatentActions(vector.SteerSlot(FlamVectorEnv(2, world=tiny_world), 0), choices=3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected integers in \[0, 3\) of shape \(2,\)"):
        envs.step(actions)
    assert envs.unwrapped.scene.steps.tolist() == [0, 0]
