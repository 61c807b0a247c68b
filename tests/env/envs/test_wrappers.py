"""Who moves what."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from flam_env import DiscreteLatentActions, FlamEnv, SteerSlot


class Recorder(gym.ActionWrapper):
    """Remembers the latent actions that reach the environment."""

    def action(self, action):
        self.last = action
        return action


@pytest.fixture
def recorder(tiny_world) -> Recorder:
    return Recorder(FlamEnv(world=tiny_world))


def others_of(actions: np.ndarray, slot: int) -> np.ndarray:
    return np.delete(actions, slot, axis=0)


def test_others_replay_their_own_actions_and_then_rest(recorder):
    env = SteerSlot(recorder, slot=2, others="replay")
    env.reset(options={"start": 1})
    replay = env.unwrapped.replay_actions
    for t in range(len(replay) + 2):
        mine = env.action_space.sample()
        *_, info = env.step(mine)
        assert np.array_equal(recorder.last[2], mine)
        expected = replay[t].clip(-3, 3) if t < len(replay) else np.zeros((6, 5))
        assert np.array_equal(others_of(recorder.last, 2), others_of(expected, 2))
        assert info["others"] == ("replay" if t < len(replay) else "zero")


def test_others_draw_real_actions_or_those_of_the_prior_or_rest(recorder, tiny_world):
    bank = tiny_world.starts.bank.numpy().clip(-3, 3)[:, 1:]
    for others in ("data", "prior", "zero"):
        env = SteerSlot(recorder, slot=0, others=others)
        env.reset(seed=0)
        *_, info = env.step(np.zeros(5, np.float32))
        rest = others_of(recorder.last, 0)
        assert (bank == rest).all((1, 2)).any() == (others == "data")
        assert rest.any() == (others != "zero") and (abs(rest) <= 3).all()
        assert info["others"] == others


def test_nothing_moves_before_the_first_reset(recorder):
    for others in ("data", "zero"):
        with pytest.raises(gym.error.ResetNeeded):
            SteerSlot(recorder, slot=0, others=others).step(np.zeros(5, np.float32))


def test_steering_replayed_actions_is_replaying(tiny_world):
    plain, steered = FlamEnv(world=tiny_world), SteerSlot(FlamEnv(world=tiny_world), slot=3, others="replay")
    plain.reset(options={"start": 2}), steered.reset(options={"start": 2})
    for action in plain.replay_actions:
        assert np.array_equal(plain.step(action)[0], steered.step(action[3])[0])


def test_clipping_is_reported_for_the_steered_slot(tiny_world):
    env = SteerSlot(FlamEnv(world=tiny_world), slot=1)
    env.reset(seed=0)
    assert env.step(np.full(5, 9.0))[4]["clipped"] is True
    assert env.step(np.full(5, -1e300))[4]["clipped"] is True
    assert env.step(np.full(5, 1.0))[4]["clipped"] is False


def test_choices_are_typical_actions_of_each_slot(recorder, tiny_world):
    env = DiscreteLatentActions(recorder, choices=4)
    assert env.action_space == gym.spaces.MultiDiscrete([4] * 6)
    assert env.codebook.shape == (6, 4, 5)
    sizes = np.linalg.norm(env.codebook, axis=-1)
    assert (np.diff(sizes, axis=1) >= 0).all()
    bank = tiny_world.starts.bank.numpy()
    nearest = ((bank[:, :, None] - env.codebook) ** 2).sum(-1).min(-1).mean()
    assert nearest < 0.8 * bank.var(0).sum(-1).mean()
    env.reset(seed=0)
    env.step(np.array([0, 1, 2, 3, 0, 1]))
    assert np.array_equal(recorder.last, env.codebook[np.arange(6), [0, 1, 2, 3, 0, 1]])


def test_choices_are_the_same_for_the_same_seed(tiny_world):
    codebooks = [DiscreteLatentActions(FlamEnv(world=tiny_world), 5, seed).codebook for seed in (1, 1, 2)]
    assert np.array_equal(codebooks[0], codebooks[1])
    assert not np.array_equal(codebooks[0], codebooks[2])


def test_one_steered_slot_has_one_discrete_choice(recorder):
    env = DiscreteLatentActions(SteerSlot(recorder, slot=4, others="zero"), choices=3)
    whole = DiscreteLatentActions(recorder, choices=3)
    assert env.action_space == gym.spaces.Discrete(3)
    assert np.array_equal(env.codebook[0], whole.codebook[4])
    env.reset(seed=0)
    env.step(np.int64(2))
    assert np.array_equal(recorder.last[4], env.codebook[0, 2])


def test_wrapped_environments_have_a_json_spec(tiny_checkpoint):
    env = DiscreteLatentActions(SteerSlot(gym.make("FLAM-v0", checkpoint=str(tiny_checkpoint)), slot=2), choices=3)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert np.array_equal(again.get_wrapper_attr("codebook"), env.codebook)
    assert again.get_wrapper_attr("slot") == 2


@pytest.mark.parametrize("steered", [False, True])
@pytest.mark.parametrize("wrap", [lambda env: gym.wrappers.RescaleAction(env, -1, 1), DiscreteLatentActions])
def test_actions_that_another_wrapper_has_changed_are_refused(tiny_world, steered, wrap):
    env = FlamEnv(world=tiny_world)
    changed = wrap(SteerSlot(env, slot=0) if steered else env)
    for wrapper in (DiscreteLatentActions, lambda env: SteerSlot(env, slot=1)):
        with pytest.raises(ValueError, match=r"expected a FLAM environment with latent actions \(.*in \[-3, 3\]"):
            wrapper(changed)


@pytest.mark.parametrize("action", [3, -1, 1.0, np.array([1]), None])
def test_choices_that_do_not_exist_are_refused(tiny_world, action):
    env = DiscreteLatentActions(SteerSlot(FlamEnv(world=tiny_world), slot=0), choices=3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected integers in \[0, 3\) of shape \(\)"):
        env.step(action)


def test_wrong_arguments_are_refused(tiny_world):
    env = FlamEnv(world=tiny_world)
    for slot in (6, -1, 1.5, True, "a", None):
        with pytest.raises(ValueError, match=rf"expected slot to be an integer in \[0, 5\], got {slot!r}"):
            SteerSlot(env, slot=slot)
    with pytest.raises(ValueError, match="expected others to be"):
        SteerSlot(env, slot=0, others="sleep")
    with pytest.raises(ValueError, match=r"expected a FLAM environment with latent actions \(K, A\)"):
        SteerSlot(SteerSlot(env, slot=0), slot=1)
    with pytest.raises(ValueError, match="expected a FLAM environment"):
        SteerSlot(gym.make("CartPole-v1"), slot=0)
    with pytest.raises(ValueError, match="expected a FLAM environment"):
        DiscreteLatentActions(gym.make("MountainCarContinuous-v0"))
    for choices in (38, 0, 2.5, "a"):
        with pytest.raises(ValueError, match=rf"expected choices .* to be an integer in \[1, 37\], got {choices!r}"):
            DiscreteLatentActions(env, choices=choices)
    with pytest.raises(ValueError, match="expected seed to be an integer"):
        DiscreteLatentActions(env, seed="a")
    steered = SteerSlot(env, slot=0)
    steered.reset(seed=0)
    with pytest.raises(ValueError, match=r"of shape \(5,\)"):
        steered.step(np.zeros((6, 5), np.float32))
