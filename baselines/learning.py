"""How a baseline is learned: as FLAM is, by the same loop on the same tokens, and into a world of the same files."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from flam_env.models.protocol import WorldModel
from flam_env.models.tokenizer import Tokenizer
from flam_env.worlds.checkpoint import as_written
from flam_env.worlds.world import WorldSettings
from flam_train.engine import FitConfig, Loss
from flam_train.phases.export import bare_world
from flam_train.phases.tokenizer import choose_tokenizer
from flam_train.phases.world_model import train_world
from flam_train.store.rates import learned_rate
from flam_train.store.training_data import open_data

Config = TypeVar("Config")


def learn(
    build: Callable[[Tokenizer], WorldModel],
    objective: Loss,
    loss: Any,
    data: Path,
    out: Path,
    fit_config: FitConfig,
    evaluate_every: int,
    **identity: Any,
) -> Path:
    """Trains a world model on a store or a pack, with the tokenizer that `out` or the pack holds.

    Args:
        build: makes the model, whose weights come from the seed of the run.
        objective: what is minimised.
        loss: the config of the objective, a dataclass.
        data: as for `flam_train.phases.world_model.world_model`, and so are all others.
        out: the directory of the world.
        fit_config: budget and optimiser.
        evaluate_every: steps between looks at held-out rollouts.
        **identity: what else makes the run what it is, JSON-able.

    Returns:
        The directory of the world.

    Raises:
        FileNotFoundError: there is no tokenizer yet.
        ValueError: no such data, frames of another size, or `out` holds another run.
    """
    store = open_data(data)
    tokenizer = choose_tokenizer(store, out)
    torch.manual_seed(fit_config.seed)
    model = build(tokenizer)
    world = bare_world(tokenizer, model, WorldSettings(source=store.source, frames_per_second=learned_rate(store)))
    identity |= {"kind": type(model).__name__, "model": as_written(model.config), "loss": asdict(loss)}
    return train_world(world, store, objective, fit_config, Path(out), "world_model", identity, evaluate_every)


def fitted(config: Config, tokenizer: Tokenizer) -> Config:
    """A config with the `grid` and the `levels` of the tokenizer, whatever it had."""
    sizes: Any = {"grid": tokenizer.config.grid, "levels": tokenizer.config.levels}
    return replace(config, **sizes)  # type: ignore[type-var]
