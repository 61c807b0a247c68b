"""How well and how fast the planner plays: `python -m flam_train.players.planner_report bigfish --episodes 20`."""

import contextlib
import time
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import tyro

from flam_train.players.chance import RandomAgent
from flam_train.players.planner import PRESETS, Planner, PlannerConfig
from flam_train.players.scores import LevelScores
from flam_train.sources.procgen.episodes import Agent, open_game, play
from flam_train.sources.procgen.games import check_game


def score_agent(
    game: str, agent: Agent, *, episodes: int, seed: int, split: str = "test", size: int | None = None
) -> LevelScores:
    """Plays whole episodes one after another on levels of a split.

    Args:
        game: name of the game.
        agent: who plays.
        episodes: how many.
        seed: decides the levels and what the agent draws.
        split: train, val or test.
        size: also makes pictures of this size, which nobody looks at.

    Returns:
        Scores of one environment; opening the simulators is not in their time.

    Raises:
        ValueError: no episode was asked for.
    """
    if episodes < 1:
        raise ValueError(f"expected episodes >= 1, got {episodes}; ask for at least one")
    returns, lengths, seconds = [], [], 0.0
    for child in np.random.SeedSequence(seed).spawn(episodes):
        played, rng = open_game(game, split, child, size=size)
        started = time.process_time()
        with contextlib.closing(played):
            rewards = [step.reward for step in play(played, agent, rng)]
            seconds += time.process_time() - started
        returns.append(sum(rewards))
        lengths.append(len(rewards))
    return LevelScores(returns=np.array([returns]), lengths=np.array([lengths]), seconds=seconds)


def report(
    game: tyro.conf.Positional[Literal["bigfish", "leaper", "starpilot"]],
    agent: Literal["planner", "random"] = "planner",
    episodes: int = 20,
    seed: int = 0,
    size: int | None = None,
    plans: int | None = None,
    horizon: int | None = None,
    committed: int | None = None,
    stickiness: float | None = None,
) -> LevelScores:
    """Plays unseen levels with the planner of a game, or another setting of it, and prints how it went.

    Args:
        game: which game.
        agent: who plays.
        episodes: whole episodes, on levels of the test split.
        seed: decides the levels and the plans.
        size: also render frames of this size, as a collection does.
        plans: plans per decision instead of the preset's.
        horizon: steps of a plan instead of the preset's.
        committed: steps followed per plan instead of the preset's.
        stickiness: probability to repeat an action instead of the preset's.
    """
    given: dict[str, Any] = {"plans": plans, "horizon": horizon, "committed": committed, "stickiness": stickiness}
    config = replace(PRESETS[check_game(game)], **{key: value for key, value in given.items() if value is not None})
    player = Planner(game, config) if agent == "planner" else RandomAgent(game)
    outcome = score_agent(game, player, episodes=episodes, seed=seed, size=size)
    print(f"{game}, {agent}{_describe(config) if agent == 'planner' else ''}: {outcome}")
    return outcome


def _describe(config: PlannerConfig) -> str:
    return " (" + ", ".join(f"{key} {value}" for key, value in asdict(config).items()) + ")"


if __name__ == "__main__":
    tyro.cli(report)
