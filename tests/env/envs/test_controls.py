"""What moves which slot, in a batch; what the faces make of it is in test_wrappers and test_vector_env."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from flam_env import Dream
from flam_env.envs import controls
from flam_env.envs.actions import sample_actions
from flam_env.envs.choices import ChoiceControl
from flam_env.envs.controls import RealActionControl, Scene, SlotControl, other_actions, read

K, A = 6, 5


@pytest.fixture
def scene(tiny_world) -> Scene:
    """Four episodes: of a start whose clip goes on, of one whose clip is over, of own frames, and one not active."""
    dream = Dream(tiny_world)
    return Scene(
        dream=dream,
        frame=dream.reset(torch.zeros(4, 1, tiny_world.model.patches, dtype=torch.long)).frame,
        clips=np.array([3, 5, -1, 7]),
        steps=np.array([2, 6, 0, 1]),
        active=np.array([True, True, True, False]),
        generators=[np.random.default_rng(seed) for seed in range(4)],
    )


def test_the_rest_replays_its_own_clip_while_that_lasts(scene, tiny_world):
    actions, sources = other_actions("replay", scene)
    assert sources.tolist() == ["replay", "zero", "zero", "zero"]
    assert np.array_equal(actions[0], tiny_world.starts.actions[3, 1 + 2].numpy().clip(-3, 3))
    assert not actions[1:].any() and actions.shape == (4, K, A) and actions.dtype == np.float32


@pytest.mark.parametrize("others", ["data", "prior"])
def test_what_is_drawn_comes_from_each_rows_own_stream_and_only_where_a_step_is_taken(scene, others):
    actions, sources = other_actions(others, scene)
    assert sources.tolist() == [others] * 3 + ["zero"]
    for row in range(3):
        expected = sample_actions(scene.dream, [np.random.default_rng(row)], {"data": "bank"}.get(others, others))
        assert np.array_equal(actions[row], expected[0])
    assert not actions[3].any()
    assert scene.generators[3].random() == np.random.default_rng(3).random()


def test_nobody_else_moves_where_the_rest_is_zero(scene):
    actions, sources = other_actions("zero", scene)
    assert not actions.any() and sources.tolist() == ["zero"] * 4


def test_a_steered_slot_takes_the_agents_actions_in_every_row(scene, tiny_world):
    mine = np.arange(4 * A, dtype=np.float32).reshape(4, A)
    move = SlotControl(tiny_world, 2, "replay")(mine, scene)
    rest, sources = other_actions("replay", scene)
    assert np.array_equal(move.actions[:, 2], mine)
    assert np.array_equal(np.delete(move.actions, 2, 1), np.delete(rest, 2, 1))
    assert move.infos.keys() == {"others"} and move.infos["others"].tolist() == sources.tolist()


def test_choices_are_looked_up_for_all_rows_at_once(tiny_world):
    every, one = ChoiceControl(tiny_world, 3), ChoiceControl(tiny_world, 3, slot=4)
    choices = np.random.default_rng(0).integers(0, 3, (7, K))
    latent_actions = every.latent_actions(choices)
    assert latent_actions.shape == (7, K, A)
    for row, slot in np.ndindex(7, K):
        assert np.array_equal(latent_actions[row, slot], every.codebook[slot, choices[row, slot]])
    assert np.array_equal(one.latent_actions(choices[:, 4]), latent_actions[:, 4])


@pytest.mark.parametrize("space", [MultiDiscrete([9] * K), Discrete(1)])
@pytest.mark.parametrize("control", [ChoiceControl, RealActionControl, lambda world: SlotControl(world, 0)])
def test_a_world_whose_actions_are_no_vectors_is_refused(tiny_world, monkeypatch, space, control):
    monkeypatch.setattr(controls, "latent_action_space", lambda world: space)
    with pytest.raises(
        ValueError, match=r"expected a world with continuous latent actions, got one with actions .*Disc"
    ):
        control(tiny_world)


def test_actions_of_any_space_are_read_for_one_agent_or_many():
    assert read(3, Discrete(4)) == 3
    assert read([3, 0], Discrete(4), (2,)).tolist() == [3, 0]
    assert read([[2, 4]], MultiDiscrete([3, 5]), (1,)).tolist() == [[2, 4]]
    assert read(np.ones((2, A)), Box(-3, 3, (A,)), (2,)).dtype == np.float32
    for wrong, space in ((4, Discrete(4)), ([0, 5], MultiDiscrete([9, 5])), ([-1, 0], MultiDiscrete([9, 5]))):
        with pytest.raises(ValueError, match="expected integers in"):
            read(wrong, space)
    with pytest.raises(ValueError, match=r"of shape \(2, 5\)"):
        read(np.ones(A), Box(-3, 3, (A,)), (2,))
