"""States that a policy visits, labelled; and how well it plays on levels that nobody learned from."""

import time
from dataclasses import dataclass

import numpy as np

from flam_train.players.first_actions import FirstActions
from flam_train.players.planner_report import PlayReport
from flam_train.players.policy import Policy, choose
from flam_train.sources.procgen.arena import Arena
from flam_train.sources.procgen.simulators import NOOP, distinct_actions

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("the demonstrator needs tqdm: pip install 'flam-env[train]'") from error


WAYS = ("drawn", "greedy")
"""How a policy may take its actions when it is scored."""


@dataclass(frozen=True, kw_only=True)
class VisitConfig:
    """Which states are labelled.

    Attributes:
        states: how many at least; whole moments of all games are kept.
        games: played side by side, on levels of the train split.
        stride: frames from one labelled state to the next.
        guided: share of the stretches between labelled states in which the best first action is held, instead of the
            policy playing.
    """

    states: int = 6144
    games: int = 64
    stride: int = 6
    guided: float = 0.5

    def __post_init__(self):
        if not (min(self.states, self.games, self.stride) >= 1 and 0 <= self.guided <= 1):
            raise ValueError(f"expected states, games, stride >= 1 and 0 <= guided <= 1, got {self}; change these")


def visit(
    game: str,
    policy: Policy | None,
    teacher: FirstActions,
    config: VisitConfig,
    *,
    seed: list[int],
    title: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Plays many games and labels every few frames of each.

    Args:
        game: name of the game.
        policy: plays with actions drawn at its temperature, where it is not guided, and plays on after each first
            action; without one, all games are guided.
        teacher: gives the labels.
        config: how many states, and who plays.
        seed: non-negative integers that decide everything.
        title: of the progress bar.

    Returns:
        frames uint8 (S, 64, 64, 3) and the values of their first actions float32 (S, A), S >= config.states.
    """
    levels, choices = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(choices)
    arena = Arena(game, "train", number=config.games, seed=int(levels.generate_state(1)[0] >> 1))
    actions = distinct_actions(game)
    frames, values = list[np.ndarray](), list[np.ndarray]()
    with tqdm(total=config.states, unit=" states", desc=title) as progress:
        while len(frames) * config.games < config.states:
            frames.append(arena.frames())
            values.append(teacher.values(arena.states(), rng, policy))
            best, guided = teacher.best(values[-1]), rng.random(config.games) < config.guided
            for _ in range(config.stride):
                own = best if policy is None else choose(policy, arena.frames(), rng)
                arena.step(actions[np.where(guided, best, own)])
            progress.update(config.games)
    arena.close()
    return np.concatenate(frames), np.concatenate(values)


def score(
    policy: Policy, *, split: str, episodes: int, seed: int, greedy: bool, max_frames: int | None = None
) -> PlayReport:
    """Plays one episode in each of many games side by side: none is counted more because it is short.

    Args:
        policy: who plays the game of its config.
        split: decides the range of levels.
        episodes: how many.
        seed: decides levels and actions.
        greedy: take the preferred action instead of drawing one at the policy's temperature.
        max_frames: an episode is cut there; by default it is played to its end.
    """
    started = time.process_time()
    rng, actions = np.random.default_rng(seed), distinct_actions(policy.config.game)
    arena = Arena(policy.config.game, split, number=episodes, seed=seed)
    returns, lengths, playing = np.zeros(episodes), np.zeros(episodes, np.int64), np.ones(episodes, bool)
    while playing.any() and lengths.max() != max_frames:
        chosen = np.full(episodes, NOOP)
        chosen[playing] = actions[choose(policy, arena.frames()[playing], None if greedy else rng)]
        rewards, ended = arena.step(chosen)
        returns += playing * rewards
        lengths += playing
        playing &= ~ended
    arena.close()
    return PlayReport(returns=returns, lengths=lengths, seconds=time.process_time() - started)


def val_scores(policy: Policy, *, episodes: int, seed: int) -> dict[str, float]:
    """Mean returns and lengths on levels of the val split, either way, in episodes of at most 1000 frames."""
    scores: dict[str, float] = {}
    for way in WAYS:
        played = score(policy, split="val", episodes=episodes, seed=seed, greedy=way == "greedy", max_frames=1000)
        scores |= {way: float(played.returns.mean()), f"{way}_frames": float(played.lengths.mean())}
    return scores


def print_test_scores(policy: Policy, *, episodes: int, seed: int) -> None:
    """Says how well a policy plays whole episodes on levels of the test split, either way."""
    for way in WAYS:
        played = score(policy, split="test", episodes=episodes, seed=seed, greedy=way == "greedy")
        print(f"{policy.config.game}, {way} actions, unseen levels: {played}")
