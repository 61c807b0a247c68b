"""How well the policy of a demonstrator plays levels that nobody learned from."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flam_env.worlds.writing import write_atomically
from flam_train.players.policy import Demonstrator, Policy
from flam_train.players.scores import LevelScores, play_and_close
from flam_train.sources.procgen.games import NOOP
from flam_train.sources.procgen.simulators import Simulators

WAYS = ("drawn", "greedy")
"""How a policy may take its actions when it is scored."""
VAL_FRAMES = 1000  # of an episode on levels of the val split, at most


def score_policy(
    policy: Policy, *, split: str, episodes: int, seed: int, greedy: bool, max_frames: int | None = None
) -> LevelScores:
    """Plays one episode in each of many games side by side: none is counted more because it is short.

    Args:
        policy: who plays the game of its config.
        split: decides the range of levels.
        episodes: how many.
        seed: decides levels and actions.
        greedy: take the preferred action instead of drawing one at the policy's temperature.
        max_frames: an episode is cut there; by default it is played to its end.
    """
    player = Demonstrator(policy, greedy=greedy)
    player.begin(np.random.default_rng(seed))
    games = Simulators(policy.config.game, episodes, split=split, native=True, seed=seed)
    return play_and_close(player, games, episodes_per_env=1, seed=seed, idle=NOOP, max_steps=max_frames)


def write_val_scores(path: Path, policy: Policy, facts: Mapping[str, float], *, episodes: int, seed: int) -> None:
    """Prints and writes facts, and mean returns and lengths on levels of the val split, either way."""
    scores = dict(facts)
    for way in WAYS:
        greedy = way == "greedy"
        played = score_policy(policy, split="val", episodes=episodes, seed=seed, greedy=greedy, max_frames=VAL_FRAMES)
        scores |= {way: played.mean, f"{way}_frames": float(played.lengths.mean())}
    print(f"{policy.config.game}: " + ", ".join(f"{key} {value:.4g}" for key, value in scores.items()))
    write_atomically(path, json.dumps(scores).encode())


def print_test_scores(policy: Policy, *, episodes: int, seed: int) -> None:
    """Says how well a policy plays whole episodes on levels of the test split, either way."""
    for way in WAYS:
        played = score_policy(policy, split="test", episodes=episodes, seed=seed, greedy=way == "greedy")
        print(f"{policy.config.game}, {way} actions, unseen levels: {played}")
