"""States that a policy visits, labelled."""

from dataclasses import dataclass

import numpy as np

from flam_train.players.first_actions import FirstActions
from flam_train.players.policy import Policy, choose
from flam_train.sources.procgen.games import distinct_actions
from flam_train.sources.procgen.simulators import Simulators, simulator_seed

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("the demonstrator needs tqdm: pip install 'flam-env[train]'") from error


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
    played = Simulators(game, config.games, native=True, seed=simulator_seed(levels))
    actions = distinct_actions(game)
    frames, values = list[np.ndarray](), list[np.ndarray]()
    with tqdm(total=config.states, unit=" states", desc=title) as progress:
        while len(frames) * config.games < config.states:
            frames.append(played.pictures())
            values.append(teacher.values(played.states(), rng, policy))
            best, guided = teacher.best(values[-1]), rng.random(config.games) < config.guided
            for _ in range(config.stride):
                own = best if policy is None else choose(policy, played.pictures(), rng)
                played.act(actions[np.where(guided, best, own)])
            progress.update(config.games)
    played.close()
    return np.concatenate(frames), np.concatenate(values)
