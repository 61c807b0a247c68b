"""A few typical latent actions of each slot to choose from, found by k-means among real ones."""

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

from flam_env.envs.actions import slot_count
from flam_env.envs.controls import check_continuous
from flam_env.validation import check_integer
from flam_env.worlds.units import BOUND
from flam_env.worlds.world import World


class ChoiceControl:
    """Offers each agent a few typical latent actions of each slot: the centres of its real actions.

    Args:
        world: whose bank of real actions.
        choices: how many for each slot; they are ordered by their size, so 0 is closest to rest.
        seed: of the clustering.
        slot: the only slot to choose for; default: one choice for each slot.

    Attributes:
        codebook: float32 (K, choices, A), what each choice stands for; one row for one slot.

    Raises:
        ValueError: fewer actions in the bank than choices, or a world whose actions are not continuous.
    """

    def __init__(self, world: World, choices: int = 8, seed: int = 0, slot: int | None = None):
        check_continuous(world)
        bank = world.starts.bank.numpy()
        choices = check_integer(choices, "choices among the actions of the bank", 1, len(bank))
        seed = check_integer(seed, "seed", 0)
        slots = range(slot_count(world)) if slot is None else [slot]
        self.codebook = np.stack([_centres(bank[:, each], choices, seed) for each in slots])
        self.action_space = Discrete(choices) if slot is not None else MultiDiscrete([choices] * len(slots))

    def latent_actions(self, choices: np.ndarray) -> np.ndarray:
        """Choices int (..., K) -> latent actions (..., K, A); for one slot int (...) -> (..., A)."""
        if isinstance(self.action_space, Discrete):
            return self.codebook[0, choices]
        return self.codebook[np.arange(len(self.codebook)), choices]


def _centres(points: np.ndarray, count: int, seed: int, rounds: int = 25) -> np.ndarray:
    """k-means: points (M, A) -> float32 (count, A) inside the box, ordered by their norm."""
    centres = points[np.random.default_rng(seed).choice(len(points), count, replace=False)].astype(np.float64)
    for _ in range(rounds):
        nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
        for i in np.unique(nearest):
            centres[i] = points[nearest == i].mean(0)
    order = np.linalg.norm(centres, axis=1).argsort(kind="stable")
    return centres[order].clip(-BOUND, BOUND).astype(np.float32)
