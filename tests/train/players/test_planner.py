import numpy as np
import pytest

from flam_train.players.chance import RandomAgent
from flam_train.players.planner import Planner, PlannerConfig
from flam_train.players.planner_report import score_agent
from flam_train.sources.procgen.episodes import Game

pytest.importorskip("procgen")
FAST = PlannerConfig(plans=12, horizon=9, committed=2)


@pytest.fixture(scope="module")
def planner():
    return Planner("bigfish", FAST)


def test_planning_leaves_the_game_as_it_was(planner):
    planned, untouched = (Game("bigfish", "test", seed=3, size=64) for _ in range(2))
    planner.begin(np.random.default_rng(0))
    for _ in range(10):
        before = planned.state()
        action = planner.act(planned)
        assert planned.state() == before
        assert planned.step(action) == untouched.step(action)
        assert np.array_equal(planned.frame(), untouched.frame())


def test_planning_is_the_same_again_whatever_was_played_before(planner):
    played = []
    for _ in range(2):
        game = Game("bigfish", "test", seed=5, size=None)
        planner.begin(np.random.default_rng(1))
        played.append([])
        for _ in range(30):
            played[-1].append(planner.act(game))
            game.step(played[-1][-1])
    assert played[0] == played[1]


def test_a_plan_foretells_what_happens(planner):
    game = Game("bigfish", "test", seed=7, size=None)
    planner.begin(np.random.default_rng(2))
    plans = planner._propose()
    state = game.state()
    foretold = planner._evaluate(state, plans)[0]
    weight, happened = 1.0, 0.0
    for action in plans[0]:
        reward, ended = game.step(action)
        assert not ended, "choose a seed at which this short plan survives"
        happened += weight * reward
        weight *= FAST.discount
    assert foretold == pytest.approx(happened)


def test_every_first_action_is_tried(planner):
    planner.begin(np.random.default_rng(3))
    assert set(planner._propose()[:, 0]) == set(range(9))


def test_a_death_is_one_even_where_the_same_step_was_rewarded(planner, monkeypatch):
    class Scripted:
        """Plan 0 eats and dies at once, plan 1 wins, the others live on."""

        def __init__(self):
            self.steps = 0

        def callmethod(self, name, states):
            assert name == "set_state"

        def act(self, actions):
            self.steps += 1

        def observe(self):
            reward, ended = np.zeros(12), np.zeros(12, dtype=bool)
            if self.steps == 1:
                reward[:2], ended[:2] = (1.0, 10.0), True
            return reward, None, ended

    monkeypatch.setattr(planner, "_batch", Scripted())
    returns = planner._evaluate(b"", np.zeros((12, 9), dtype=np.int32))
    assert returns[0] == -9 and returns[1] == 10 and not returns[2:].any()


def test_equally_good_plans_keep_the_last_action_or_idle(planner, monkeypatch):
    planner.begin(np.random.default_rng(4))
    monkeypatch.setattr(planner, "_evaluate", lambda state, plans: np.zeros(len(plans)))
    assert planner.plan(b"")[0] == 4
    planner._last_action = 7
    assert planner.plan(b"")[0] == 7


def test_the_planner_beats_the_random_agent():
    expert = score_agent("bigfish", Planner("bigfish"), episodes=1, seed=0)
    novice = score_agent("bigfish", RandomAgent("bigfish"), episodes=10, seed=0)
    assert expert.returns.mean() >= 20 > 5 > novice.returns.mean()


def test_an_impossible_plan_is_refused():
    with pytest.raises(ValueError, match="committed <= horizon"):
        PlannerConfig(horizon=3, committed=4)
