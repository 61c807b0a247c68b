"""Phase two: learns the factored world model on the tokens of a store (paper 4.2, equation 6)."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.models.protocol import WorldModel
from flam_env.worlds.checkpoint import as_written, fingerprint, round_as_stored, save_network
from flam_env.worlds.clips import save_clips
from flam_env.worlds.saving import save_world
from flam_env.worlds.units import ActionUnits
from flam_env.worlds.world import World, WorldSettings
from flam_train.engine import Batch, DrawBatch, FitConfig, Loss, Progress, fit, training_device
from flam_train.evaluate.rollouts import quick_scores
from flam_train.evaluate.rooms.clips import draw_room_clips, holds_rooms
from flam_train.phases.collapse import warn_of_collapse
from flam_train.phases.export import START_FRAMES, bare_world, finish_world
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss
from flam_train.phases.tokenizer import FILE as TOKENIZER
from flam_train.phases.tokenizer import choose_tokenizer
from flam_train.phases.warm_start import warm_start
from flam_train.presets import SMALL
from flam_train.store.clips import Clips, check_length, draw_clips
from flam_train.store.header import FIT
from flam_train.store.rates import learned_rate
from flam_train.store.taken import split_actions
from flam_train.store.tokens import TokenSplit
from flam_train.store.training_data import TrainingData, open_data, token_splits

CLIP_FRAMES = 16  # frames of a training clip; every one but the last is a transition
WATCHED_CLIPS, WATCHED_STEPS = 32, 16  # held-out clips, and predicted frames, that are looked at during training
SHOWN_CLIPS = 16  # real held-out clips that a world carries, to show itself on


def world_model(
    data: Path,
    *,
    out: Path,
    model: WorldModelConfig = SMALL.world_model,
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: WorldModelLossConfig = SMALL.loss,
    start: str | None = None,
    evaluate_every: int = 1000,
) -> Path:
    """Trains a world model on a store or a pack, with the tokenizer that `out` holds, and completes the world in `out`.

    Args:
        data: a store of episodes, or a pack, which brings the tokenizer if `out` has none; its train split is learned,
            its val split watched and used for starts.
        out: the directory of the world; training logs go to `out/training/world_model`. A run that was interrupted
            goes on where it was.
        model: sizes; `grid` and `levels` are the tokenizer's, whatever is given.
        fit_config: budget and optimiser.
        loss: the objective.
        start: a world whose weights the model starts from, of the same sizes; a learned prior may be new. One of
            another game saves most of the way (docs/simulators.md), with a warning. By default from nothing.
        evaluate_every: steps between looks at held-out rollouts.

    Returns:
        The directory of the world, ready for `gym.make("FLAM-v0", checkpoint=...)`.

    Raises:
        FileNotFoundError: `out` has no tokenizer yet, or no such world to start from.
        ValueError: no such data, frames of another size, a start of other sizes, or `out` holds another run.
    """
    store = open_data(data)
    tokenizer = choose_tokenizer(store, out)
    model = replace(model, grid=tokenizer.config.grid, levels=tokenizer.config.levels)
    torch.manual_seed(fit_config.seed)
    settings = WorldSettings(
        source=store.source, frames_per_second=learned_rate(store), fit=store.settings.get(FIT, "stretch")
    )
    world = bare_world(tokenizer, FactoredWorldModel(model), settings)

    def objective(network: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        return world_model_loss(bare(network), tokens, network(tokens), loss, progress.share)

    identity: dict[str, Any] = {"model": as_written(model), "loss": asdict(loss)}
    if start is not None:
        identity["start"] = warm_start(world.model, tokenizer, start)
    return train_world(world, store, objective, fit_config, Path(out), "world_model", identity, evaluate_every)


def train_world(
    world: World,
    store: TrainingData,
    objective: Loss,
    fit_config: FitConfig,
    out: Path,
    phase: str,
    identity: dict[str, Any],
    evaluate_every: int,
    units: ActionUnits | None = None,
) -> Path:
    """Fits a world's model to the tokens of a store, watched on held-out levels, and completes the world in `out`.

    A pack does as well as a store. Action units are those given, by default measured anew. The objective gets tokens
    (B, T, N), or for a model that takes known actions `tokens` and `known`, what was done at each frame.

    Raises:
        ValueError: video that is too short, `out` holds another run, or actions are needed that nobody knows.
    """
    watched = _clips_to_watch(world, store)
    shown = draw_clips(store, "test", SHOWN_CLIPS, START_FRAMES)
    for split, length in (("train", CLIP_FRAMES), ("val", START_FRAMES)):  # complain now, not after the training
        check_length(store, split, length)
    splits, known = token_splits(store, world.tokenizer, training_device()), None
    if world.model.actions.known:
        known = {split: split_actions(store, split) for split in ("train", "val")}
    if not (out / TOKENIZER).is_file():  # so that the run can go on with a store too
        save_network(out / TOKENIZER, world.tokenizer, source=store.source)

    def look(averaged: WorldModel) -> dict[str, float]:
        scores = quick_scores(replace(world, model=averaged), watched)
        warn_of_collapse(scores, averaged.slots, averaged.actions.inferred)
        return scores

    clips = splits["train"].reader(CLIP_FRAMES, training_device())

    def objective_of_clips(network: nn.Module, batch: Batch, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        read = clips(batch) if isinstance(batch, Tensor) else batch | {"tokens": clips(batch["tokens"])}
        return objective(network, read, progress)

    result = fit(
        world.model,
        objective_of_clips,
        _start_batches(splits["train"], None if known is None else known["train"]),
        fit_config,
        out / "training" / phase,
        evaluate=look,
        evaluate_every=evaluate_every,
        frames_per_batch=fit_config.batch_size * CLIP_FRAMES,
        identity=identity | {"tokenizer": fingerprint(world.tokenizer)} | store.identity(),
        product=out / "world_model.safetensors",
    )
    world.model.load_state_dict(result.ema)
    if result.main:
        save_clips(out, shown.frames)
        round_as_stored(world.model.eval())
        finished = finish_world(world, splits, units, known=known)
        world.model.cpu()
        save_world(out, finished)
    return out


def clip_batches(split: TokenSplit) -> DrawBatch:
    """Draws training clips: tokens (B, T, N).

    Raises:
        ValueError: no episode is long enough.
    """
    starts = split.starts(CLIP_FRAMES)

    def batches(generator: torch.Generator, count: int) -> Tensor:
        return split.clips(starts[torch.randint(len(starts), (count,), generator=generator).numpy()], CLIP_FRAMES)

    return batches


def _start_batches(split: TokenSplit, known: np.ndarray | None) -> DrawBatch:
    """Draws where the same clips begin, int64 (B,), to be read where they are trained on.

    Or `tokens`, where they begin, and `known`, if it is known what was done at each frame.
    """
    starts = split.starts(CLIP_FRAMES)

    def batches(generator: torch.Generator, count: int) -> Batch:
        chosen = starts[torch.randint(len(starts), (count,), generator=generator).numpy()]
        begin = torch.from_numpy(chosen)
        if known is None:
            return begin
        return {"tokens": begin, "known": torch.from_numpy(known[chosen[:, None] + np.arange(CLIP_FRAMES)])}

    return batches


def _clips_to_watch(world: World, store: TrainingData) -> Clips:
    length = world.settings.context + WATCHED_STEPS
    if holds_rooms(store):
        return draw_room_clips(store, "val", WATCHED_CLIPS, length)
    return draw_clips(store, "val", WATCHED_CLIPS, length, known=world.model.actions.known)


def bare(network: nn.Module) -> Any:
    """The model under torch.compile's wrapper."""
    return getattr(network, "_orig_mod", network)  # type: ignore[arg-type]
