import numpy as np
import pytest
import torch

from flam_train.players.first_actions import FirstActions
from flam_train.players.planner import PlannerConfig
from flam_train.players.policy import Policy, PolicyConfig
from flam_train.sources.procgen.games import NOOP, distinct_actions
from flam_train.sources.procgen.simulators import Simulators

pytest.importorskip("procgen")
ACTIONS = distinct_actions("bigfish")
SHORT = PlannerConfig(horizon=7)


@pytest.fixture(scope="module")
def teacher():
    teacher = FirstActions("bigfish", held=3, config=SHORT)
    yield teacher
    teacher.close()


def tiny_policy():
    torch.manual_seed(0)
    return Policy(PolicyConfig(game="bigfish", widths=(4, 6), features=5)).eval()


def arena(games=3):
    return Simulators("bigfish", games, split="val", native=True, seed=1)


def played_on(games, steps):
    """Rewards, ends and frames of random actions."""
    rng, seen = np.random.default_rng(2), []
    for _ in range(steps):
        rewards, ended = games.act(rng.choice(ACTIONS, 3))
        seen.append((rewards.tolist(), ended.tolist(), games.pictures().tobytes()))
    return seen


@pytest.mark.parametrize("policy", [None, tiny_policy()], ids=["random", "policy"])
def test_labelling_leaves_the_games_as_they_were(teacher, policy):
    labelled, untouched = arena(), arena()
    before = labelled.states()
    teacher.values(before, np.random.default_rng(0), policy)
    assert labelled.states() == before
    assert played_on(labelled, 12) == played_on(untouched, 12)


@pytest.mark.parametrize("policy", [None, tiny_policy()], ids=["random", "policy"])
def test_labels_depend_on_state_generator_and_policy_only(teacher, policy):
    games = arena(19)  # more than are looked at together
    played_on(games, 0)
    states = games.states()
    first, again = (teacher.values(states, np.random.default_rng(3), policy) for _ in range(2))
    assert first.shape == (19, 9) and first.dtype == np.float32
    assert np.array_equal(first, again)


class Scripted:
    """Simulators in which action 7 eats in the first step, and action 1 dies in it."""

    def __init__(self, number):
        self.number, self.steps = number, 0

    def callmethod(self, name, states):
        assert name == "set_state" and len(states) == self.number
        self.steps = 0

    def act(self, actions):
        self.actions, self.steps = actions, self.steps + 1

    def observe(self):
        first = self.steps == 1
        return np.where(first & (self.actions == 7), 1.0, 0.0), None, first & (self.actions == 1)


def test_the_action_that_eats_is_worth_most_and_the_one_that_dies_least(teacher, monkeypatch):
    monkeypatch.setattr(teacher, "_batch", Scripted(16 * len(ACTIONS)))
    values = teacher.values([b""] * 2, np.random.default_rng(0))
    assert values.shape == (2, 9)
    assert (ACTIONS[values.argmax(axis=1)] == 7).all() and (values.max(axis=1) == 1).all()
    assert (ACTIONS[values.argmin(axis=1)] == 1).all() and (values.min(axis=1) == -10).all()


def test_the_first_action_counts_and_luck_does_not(teacher):
    """All first actions of a state go on alike, but for how long the first one lasts."""
    steps = np.stack(list(teacher._random(np.random.default_rng(4)))).reshape(SHORT.horizon, 16, len(ACTIONS))
    assert (steps[0] == ACTIONS).all()
    held = (steps == ACTIONS).all(axis=2)
    assert (held | (steps == steps[..., :1]).all(axis=2)).all()
    assert held[1].any() and not held[-1].all()


def test_a_policy_plays_on_after_the_first_action_was_held(teacher, monkeypatch):
    always = int(np.flatnonzero(ACTIONS == 6)[0])
    monkeypatch.setattr(
        "flam_train.players.first_actions.choose", lambda policy, frames, rng: np.full(len(frames), always)
    )
    steps = np.stack(list(teacher._played(tiny_policy(), np.random.default_rng(5))))
    assert (steps[:3].reshape(3, 16, -1) == ACTIONS).all() and (steps[3:] == 6).all()


def test_ties_are_settled_in_a_fixed_order(teacher):
    values = np.zeros((3, 9), np.float32)
    values[1, NOOP] = -1
    values[2, [0, 7]] = 1e-3
    assert ACTIONS[teacher.best(values)].tolist() == [NOOP, 1, 7]  # idle, then straight moves, then the others


def test_looking_ahead_sees_what_is_about_to_happen(teacher):
    """Somewhere in a game an action pays at once: its value says so."""
    games, rng = arena(1), np.random.default_rng(0)
    while True:
        before = games.states()
        action = rng.choice(ACTIONS, 1)
        rewards, ended = games.act(action)
        if rewards[0] > 0 and not ended[0]:
            break
    values = teacher.values(before, np.random.default_rng(1))[0]
    assert values[action[0] == ACTIONS] >= rewards[0] - SHORT.death_penalty
    assert values.max() >= 1
