"""What each first action is worth, by looking ahead from a saved state: labels that a policy can be taught with.

A planner follows a plan that no frame shows, and finds it by knowing what no frame shows, such as fish that are yet to
come. So the worth of a first action is what follows when it is held for a few steps and a policy plays on: one that
sees frames only, or, where there is none yet, a random one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from einops import repeat

from flam_train.engine.precision import uses_bf16
from flam_train.players.planner import PRESETS, PlannerConfig, discounted_returns
from flam_train.players.policy import Policy, choose
from flam_train.sources.procgen.games import distinct_actions, first_of_best
from flam_train.sources.procgen.simulators import open_simulators

STATES_AT_ONCE = 16
"""More at once is no faster, and takes more memory."""


class FirstActions:
    """Tells what each distinct first action of a game is worth in a saved state.

    Args:
        game: name of the game.
        held: steps for which each action is held when a policy plays on, the first one included.
        config: horizon, stickiness and rewards; those of the planner's preset by default.
    """

    def __init__(self, game: str, held: int = 5, config: PlannerConfig | None = None):
        self._game, self.actions = game, distinct_actions(game)
        self.config = config or PRESETS[game]
        self._held = held
        number = STATES_AT_ONCE * len(self.actions)
        self._batch = open_simulators(game, number, first_level=0, levels=1, seed=0, render=False)

    def values(self, states: list[bytes], rng: np.random.Generator, policy: Policy | None = None) -> np.ndarray:
        """Discounted return after each first action, float32 (S, A); A as in `actions`.

        Args:
            states: saved states of S games, which stay as they are.
            rng: decides what follows the first action.
            policy: plays on, with actions drawn at its temperature. Without one, a sticky random plan follows, the same
                for all first actions of a state, so that luck does not tell them apart.
        """
        chunks = [states[start : start + STATES_AT_ONCE] for start in range(0, len(states), STATES_AT_ONCE)]
        return np.concatenate([self._values(chunk, rng, policy) for chunk in chunks])

    def best(self, values: np.ndarray) -> np.ndarray:
        """Which action to take by its value, ties settled in a fixed order; values (S, A) -> indices int64 (S,)."""
        return first_of_best(values, self._game, tolerance=1e-6)

    def close(self) -> None:
        """Frees the simulators."""
        self._batch.close()

    def _values(self, states: list[bytes], rng: np.random.Generator, policy: Policy | None) -> np.ndarray:
        filled = states + states[-1:] * (STATES_AT_ONCE - len(states))
        plans = self._random(rng) if policy is None else self._played(policy, rng)
        copies = [state for state in filled for _ in self.actions]
        returns = discounted_returns(self._batch, copies, plans, self.config)
        return returns.reshape(STATES_AT_ONCE, len(self.actions))[: len(states)].astype(np.float32)

    def _random(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Each step of sticky random plans, int32 (states x actions,), which begin with each first action."""
        actions = np.tile(self.actions, (STATES_AT_ONCE, 1))
        yield actions.reshape(-1)
        for _ in range(1, self.config.horizon):
            redrawn = rng.random((STATES_AT_ONCE, 1)) >= self.config.stickiness
            actions = np.where(redrawn, rng.choice(self.actions, (STATES_AT_ONCE, 1)), actions)
            yield actions.reshape(-1)

    def _played(self, policy: Policy, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Each step of what the policy plays after each first action, int32 (states x actions,)."""
        actions = repeat(self.actions, "a -> (s a)", s=STATES_AT_ONCE)
        bf16 = uses_bf16("auto", torch.device("cpu"))
        for step in range(self.config.horizon):
            if step and step % self._held == 0:
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    actions = self.actions[choose(policy, self._batch.observe()[1]["rgb"], rng)]
            yield actions
