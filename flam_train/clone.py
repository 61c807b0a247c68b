"""`flam-train clone`: clones the player of a Procgen store into a Stable-Baselines3 policy, and lets it play."""

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flam_env.worlds.writing import write_atomically
from flam_train.engine import FitConfig
from flam_train.players.behaviour_cloning import CLONING, BehaviourCloning, CloningConfig, CloningResult
from flam_train.players.demonstrations import Demonstrations, Told, read_demonstrations
from flam_train.players.saved_clones import CloneConfig, load_clone, new_clone, save_clone
from flam_train.players.scores import play_and_close
from flam_train.presets import SMALL
from flam_train.sources.procgen.games import ACTIONS
from flam_train.sources.procgen.vec_env import ProcgenVecEnv
from flam_train.store.store import EpisodeStore

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

__all__ = [
    "BehaviourCloning",
    "CloneConfig",
    "CloningConfig",
    "CloningResult",
    "Demonstrations",
    "clone",
    "load_clone",
    "new_clone",
    "new_model",
    "save_clone",
]

FILE, WEIGHTS, SCORES = "policy.zip", "policy.safetensors", "levels.json"
HELD_OUT_PAIRS, HELD_OUT_SHARE = 2048, 0.1
SIMULATORS = 16  # that the clone plays at once


def clone(
    data: Path,
    *,
    out: Path,
    algorithm: Literal["PPO", "A2C"] = "PPO",
    features: Literal["nature", "impala"] = "impala",
    agent: str = "planner",
    labels: Told = "true",
    game: Literal["bigfish", "leaper", "starpilot"] | None = None,
    pairs: int = 200_000,
    episodes_per_env: int = 4,
    config: CloningConfig = CLONING,
    fit_config: FitConfig = SMALL.clone_fit,
) -> Path:
    """Clones who plays in a store of a Procgen game, and writes `out/policy.zip` for Stable-Baselines3.

    The same policy is in `out/policy.safetensors`, which holds weights only: give that one to others, who open it with
    `flam_train.clone.load_clone`, for a zip of Stable-Baselines3 runs what is in it when it is opened.

    Learns from the train split, keeps what does best on the val split, or where there is none on a tenth of the
    episodes, and plays the test split's levels in the end, sampling actions; those scores go to `out/levels.json`.

    Args:
        data: a store of episodes of bigfish, leaper or starpilot, with their actions or labelled by `flam-train label`.
        out: the directory of the clone; training logs go to `out/training/clone`. A run that was interrupted goes on
            where it was.
        algorithm: what the policy belongs to, and is fine-tuned by.
        features: the network that sees: NatureCNN, or IMPALA with 16, 32, 32 channels.
        agent: who is cloned; `video` in a store of videos.
        labels: learn from true actions, or from the probabilities that a world with an action decoder told.
        game: what videos show; a store that was collected knows its game.
        pairs: frames to learn from at most; the first episodes are taken whole.
        episodes_per_env: episodes that each of 16 simulators plays in the end; 0 for none.
        config: what is asked of the clone.
        fit_config: budget and optimiser.

    Returns:
        The file that was written: `PPO.load(file, env=...)` opens it, `.learn()` goes on with it.

    Raises:
        ValueError: no such store, none of Procgen, no such episodes, or `out` holds another run.
        ImportError: an optional package is missing.
    """
    if episodes_per_env < 0:
        raise ValueError(f"expected episodes_per_env >= 0, got {episodes_per_env}; give 0 for no play")
    store = EpisodeStore.open(data)
    model = new_model(store, algorithm=algorithm, features=features, seed=fit_config.seed, game=game)
    demonstrations = read_demonstrations(store, "train", agent=agent, labels=labels, pairs=pairs)
    held_out: Demonstrations | float = HELD_OUT_SHARE
    if any(record.agent == agent for record in store.episodes("val")):
        held_out = read_demonstrations(store, "val", agent=agent, labels=labels, pairs=HELD_OUT_PAIRS, spread=True)
    cloning = BehaviourCloning(model, demonstrations, held_out, config=config, fit_config=fit_config)
    result = cloning.train(Path(out) / "training" / "clone", product=Path(out) / FILE)
    if result.main:
        save_clone(Path(out) / WEIGHTS, model, config_of(store, algorithm=algorithm, features=features))
        _write_zip(Path(out) / FILE, model)
        scores: dict[str, Any] = {"kept_step": result.step, "held_out": result.metrics}
        if episodes_per_env:
            env = ProcgenVecEnv.of_store(store, SIMULATORS, split="test", game=game)
            played = play_and_close(model, env, episodes_per_env=episodes_per_env, seed=fit_config.seed)
            scores["levels"] = played.summary()
        write_atomically(Path(out) / SCORES, json.dumps(scores, indent=1).encode())
    return Path(out) / FILE


def new_model(
    store: EpisodeStore,
    *,
    algorithm: Literal["PPO", "A2C"] = "PPO",
    features: Literal["nature", "impala"] = "impala",
    seed: int = 0,
    game: str | None = None,
) -> "OnPolicyAlgorithm":
    """An untrained algorithm with a CnnPolicy for the game that was recorded.

    Args:
        store: of a game of Procgen, whose pictures the policy will see.
        algorithm: PPO or A2C.
        features: the network that sees: nature or impala.
        seed: decides the weights.
        game: what videos show; a store that was collected knows its game.

    Raises:
        ValueError: an argument is none of these; clone from other sources with `BehaviourCloning`.
        ImportError: Procgen is missing.
    """
    config = config_of(store, algorithm=algorithm, features=features)
    return new_clone(config, ProcgenVecEnv.of_store(store, game=game), seed=seed)


def config_of(store: EpisodeStore, *, algorithm: str = "PPO", features: str = "impala") -> CloneConfig:
    """What a clone of who plays in a store of a game of Procgen is."""
    return CloneConfig(algorithm=algorithm, features=features, size=store.size, actions=ACTIONS)


def _write_zip(path: Path, model: "OnPolicyAlgorithm") -> None:
    """Writes an algorithm as a zip of Stable-Baselines3, at once or not at all."""
    file = BytesIO()
    model.save(file)
    write_atomically(path, file.getvalue())
