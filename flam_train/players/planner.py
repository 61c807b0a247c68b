"""An expert that needs no training: random-shooting model-predictive control over the simulator's own state.

From the saved state of the game, a batch of simulators without pictures tries sticky random plans; the best is
followed for a few steps, then planned anew. Nothing is written back, so the game never notices.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flam_train.sources.procgen.episodes import Game
from flam_train.sources.procgen.games import NOOP, distinct_actions, straight_first
from flam_train.sources.procgen.simulators import open_simulators

TERMINAL_BONUS = 5.0
"""Reaching the goal pays 10 in every game, other rewards of one step less than this: an end below it is a death."""


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """What decides how well and how fast the planner plays.

    Attributes:
        plans: plans tried per decision.
        horizon: steps of a plan.
        committed: steps of the best plan that are followed before planning again.
        stickiness: probability that a plan repeats its last action.
        discount: weight of a reward one step later.
        death_penalty: subtracted where a plan dies.
        forward_action: the way to a goal that may lie beyond the horizon.
        forward_bonus: reward of each living step that takes it; small against the game's own.
    """

    plans: int = 24
    horizon: int = 25
    committed: int = 3
    stickiness: float = 0.85
    discount: float = 0.97
    death_penalty: float = 10.0
    forward_action: int = NOOP
    forward_bonus: float = 0.0

    def __post_init__(self):
        if not (self.plans >= 1 and 1 <= self.committed <= self.horizon):
            raise ValueError(f"expected plans >= 1 and 1 <= committed <= horizon, got {self}; change these")


PRESETS = {
    "bigfish": PlannerConfig(),
    "leaper": PlannerConfig(committed=5, forward_action=5, forward_bonus=0.01),
    "starpilot": PlannerConfig(plans=16, horizon=20),
}
"""The fastest settings that were measured to play well, see `planner_report`."""


class Planner:
    """Plays one game by looking ahead in copies of it.

    Args:
        game: name of the game.
        config: how to plan; the preset of the game by default.
    """

    name = "planner"

    def __init__(self, game: str, config: PlannerConfig | None = None):
        self._actions = distinct_actions(game)
        self.config = config or PRESETS[game]
        self._number = max(self.config.plans, len(self._actions) + 1)
        self._batch = open_simulators(game, self._number, first_level=0, levels=1, seed=0, render=False)
        self._rank = {action: rank for rank, action in enumerate(straight_first(game))}

    def begin(self, rng: np.random.Generator) -> None:
        """Forgets the last episode."""
        self._rng = rng
        self._plan: np.ndarray | None = None
        self._followed = 0
        self._last_action = NOOP

    def act(self, game: Game) -> int:
        """Follows the current plan, or makes one from the state of the game, which stays as it is."""
        if self._plan is None or self._followed == self.config.committed:
            self._plan = self.plan(game.state())
            self._followed = 0
        self._last_action = int(self._plan[self._followed])
        self._followed += 1
        return self._last_action

    def plan(self, state: bytes) -> np.ndarray:
        """Best plan found from a saved state, int32 (horizon,)."""
        plans = self._propose()
        returns = self._evaluate(state, plans)
        best = np.flatnonzero(returns >= returns.max() - 1e-6)
        return plans[min(best, key=lambda i: self._preference(plans[i, 0], i))]

    def _preference(self, action: int, index: int) -> tuple[bool, int, int]:
        """Among equally good plans: keep on, else idle, else a fixed order. Clones learn better without noise."""
        return action != self._last_action, self._rank[int(action)], index

    def _propose(self) -> np.ndarray:
        """Sticky random plans, int32 (plans, horizon): the rest of the last one, then each first action."""
        shape = (self._number, self.config.horizon)
        plans = self._rng.choice(self._actions, shape)
        plans[1 : len(self._actions) + 1, 0] = self._actions
        redrawn = self._rng.random(shape) >= self.config.stickiness
        redrawn[:, 0] = True
        source = np.maximum.accumulate(np.where(redrawn, np.arange(shape[1]), 0), axis=1)
        plans = np.take_along_axis(plans, source, axis=1)
        if self._plan is not None:
            rest = self._plan[self.config.committed :]
            plans[0] = np.concatenate([rest, np.full(self.config.committed, self._plan[-1])])
        return plans

    def _evaluate(self, state: bytes, plans: np.ndarray) -> np.ndarray:
        """Discounted return of each plan from a state, (plans, horizon) -> float64 (plans,)."""
        return discounted_returns(self._batch, [state] * len(plans), np.ascontiguousarray(plans.T), self.config)


def discounted_returns(
    batch: Any, states: list[bytes], plans: Iterable[np.ndarray], config: PlannerConfig
) -> np.ndarray:
    """What each plan earns from its own state: its return until it ends or dies, which costs a penalty.

    Args:
        batch: simulators of one game, one for each plan; they forget what they were doing.
        states: saved states, one for each plan.
        plans: the actions of each step, int32 (plans,); what yields them may look at the simulators first.
        config: discount, penalty and bonus.

    Returns:
        float64 (plans,).
    """
    batch.callmethod("set_state", states)
    returns, alive, weight = np.zeros(len(states)), np.ones(len(states), dtype=bool), 1.0
    for actions in plans:
        batch.act(actions)
        reward, _, ended = batch.observe()
        died = ended & (reward < TERMINAL_BONUS)  # a fish may eat one and be eaten in the same step
        bonus = config.forward_bonus * (actions == config.forward_action)
        returns += weight * alive * (reward + bonus - config.death_penalty * died)
        alive &= ~ended
        weight *= config.discount
        if not alive.any():
            break
    return returns
