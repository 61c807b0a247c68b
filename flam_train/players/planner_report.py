"""How well and how fast the planner plays: `python -m flam_train.players.planner_report bigfish --episodes 20`."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import tyro

from flam_train.players.planner import PRESETS, Planner, PlannerConfig
from flam_train.sources.procgen.simulators import Agent, Game, RandomAgent, check_game


@dataclass(frozen=True, kw_only=True)
class PlayReport:
    """Outcome of some episodes.

    Attributes:
        returns: float64 (episodes,), undiscounted.
        lengths: int64 (episodes,), in frames.
        seconds: processor time of one core for all of them.
    """

    returns: np.ndarray
    lengths: np.ndarray
    seconds: float

    def __str__(self) -> str:
        error = self.returns.std(ddof=1) / np.sqrt(len(self.returns)) if len(self.returns) > 1 else float("nan")
        return (
            f"return {self.returns.mean():.2f} +- {error:.2f} (standard error of {len(self.returns)} episodes), "
            f"{self.lengths.mean():.0f} frames per episode, {self.lengths.sum() / self.seconds:.0f} frames/s per core"
        )


def play(
    game: str, agent: Agent, *, episodes: int, seed: int, split: str = "test", size: int | None = None
) -> PlayReport:
    """Plays whole episodes on levels of a split; with a size, pictures are made too (and thrown away).

    Raises:
        ValueError: no episode was asked for.
    """
    if episodes < 1:
        raise ValueError(f"expected episodes >= 1, got {episodes}; ask for at least one")
    returns, lengths, seconds = [], [], 0.0
    for child in np.random.SeedSequence(seed).spawn(episodes):
        level, choices = child.spawn(2)
        played = Game(game, split, seed=int(level.generate_state(1)[0] >> 1), size=size)
        started = time.process_time()  # opening the first simulator loads pictures: not counted
        rewards = _play_once(played, agent, np.random.default_rng(choices))
        seconds += time.process_time() - started
        played.close()
        returns.append(sum(rewards))
        lengths.append(len(rewards))
    return PlayReport(returns=np.array(returns), lengths=np.array(lengths), seconds=seconds)


def _play_once(played: Game, agent: Agent, rng: np.random.Generator) -> list[float]:
    agent.begin(rng)
    rewards, ended = [], False
    while not ended:
        if played.size is not None:
            played.frame()
        reward, ended = played.step(agent.act(played))
        rewards.append(reward)
    return rewards


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
) -> PlayReport:
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
    outcome = play(game, player, episodes=episodes, seed=seed, size=size)
    print(f"{game}, {agent}{_describe(config) if agent == 'planner' else ''}: {outcome}")
    return outcome


def _describe(config: PlannerConfig) -> str:
    return " (" + ", ".join(f"{key} {value}" for key, value in asdict(config).items()) + ")"


if __name__ == "__main__":
    tyro.cli(report)
