"""Clones of players of a game of pictures: algorithms of Stable-Baselines3, built by name and kept in one file.

SB3's own zip holds pickles, which run what is in them when they are opened, and names where classes are. The file of a
clone holds weights and a few words; `load_clone(file).save("policy.zip")` makes SB3's zip of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from flam_train.impala_extractor import ImpalaExtractor
from flam_train.players.weights import read_weights, restore_weights, weights_of, write_weights

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

ALGORITHMS = ("PPO", "A2C")
POLICY_ARGUMENTS: dict[str, dict[str, Any]] = {
    "nature": {},  # SB3's own for a CnnPolicy
    "impala": {"features_extractor_class": ImpalaExtractor, "net_arch": []},
}


@dataclass(frozen=True, kw_only=True)
class CloneConfig:
    """What it takes to build a clone.

    Attributes:
        algorithm: PPO or A2C.
        features: the network that sees: nature or impala.
        size: height and width of the pictures.
        actions: how many real actions there are.
    """

    algorithm: str
    features: str
    size: int
    actions: int

    def __post_init__(self):
        if self.algorithm not in ALGORITHMS or self.features not in POLICY_ARGUMENTS:
            raise ValueError(
                f"expected an algorithm of {[*ALGORITHMS]} and features of {[*POLICY_ARGUMENTS]}, got "
                f"{self.algorithm!r} and {self.features!r}; name one of each"
            )


def new_clone(
    config: CloneConfig, env: "VecEnv | None" = None, *, seed: int | None = None, device: str = "auto"
) -> "OnPolicyAlgorithm":
    """An untrained algorithm with a CnnPolicy.

    Args:
        config: what it is.
        env: in which it may learn; its pictures and actions are those of the config.
        seed: decides the weights.
        device: as for the algorithm.

    Raises:
        ValueError: the environment has other pictures or actions.
        ImportError: Stable-Baselines3 is missing.
    """
    import stable_baselines3

    kind = getattr(stable_baselines3, config.algorithm)
    model = kind(
        "CnnPolicy",
        env,
        policy_kwargs=POLICY_ARGUMENTS[config.features],
        seed=seed,
        device=device,
        _init_setup_model=env is not None,
    )
    seen, actions = gym.spaces.Box(0, 255, (3, config.size, config.size), np.uint8), gym.spaces.Discrete(config.actions)
    if env is None:  # as SB3's own `load` does
        model.observation_space, model.action_space, model.n_envs = seen, actions, 1
        model._setup_model()
    elif (model.observation_space, model.action_space) != (seen, actions):
        raise ValueError(
            f"expected an environment of {seen} and {actions}, as the clone has, got {model.observation_space} and "
            f"{model.action_space}; give it pictures of that size"
        )
    return model


def save_clone(path: Path | str, model: "OnPolicyAlgorithm", config: CloneConfig) -> None:
    """Writes the weights of a clone's policy, at once or not at all; path ends in .safetensors."""
    write_weights(Path(path), config, weights_of(model.policy))


def load_clone(path: Path | str, env: "VecEnv | None" = None, *, device: str = "auto") -> "OnPolicyAlgorithm":
    """The clone in a file, which plays as it did, and learns on with `.learn()` where an environment is given.

    Args:
        path: what `save_clone` wrote, as the policy.safetensors of `flam-train clone`.
        env: as for `new_clone`, whose errors it raises.
        device: as for `new_clone`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, a zip of Stable-Baselines3, or something else.
    """
    config, tensors = read_weights(Path(path), CloneConfig)
    model = new_clone(config, env, device=device)
    restore_weights(model.policy, tensors, path)
    return model
