"""Phase two: learns the factored world model on the tokens of a store (paper 4.2, equation 6)."""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from flam_env.checkpoint import fingerprint
from flam_env.models.world_model import FactoredWorldModel, WorldModelConfig
from flam_env.world import WorldSettings, save_clips, save_world
from flam_train.cli import Positional, run_command
from flam_train.collapse import warn_of_collapse
from flam_train.data.store import EpisodeStore
from flam_train.data.tokens import TokenSplit, token_cache
from flam_train.engine import DrawBatch, FitConfig, Loss, Progress, fit
from flam_train.evaluate.clips import draw_clips
from flam_train.evaluate.rollouts import quick_scores
from flam_train.export import START_FRAMES, bare_world, finish_world
from flam_train.losses import WorldModelLossConfig, own_guesses, world_model_loss
from flam_train.presets import SMALL
from flam_train.tokenizer import load_tokenizer

CLIP_FRAMES = 16  # frames of a training clip; every one but the last is a transition
WATCHED_CLIPS = 32  # held-out clips that are looked at during training
SHOWN_CLIPS = 16  # real held-out clips that a world carries, to show itself on


def world_model(
    data: Positional[Path],
    *,
    out: Path,
    model: WorldModelConfig = SMALL.world_model,
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: WorldModelLossConfig = SMALL.loss,
    evaluate_every: int = 1000,
) -> Path:
    """Trains a world model on a store, with the tokenizer that `out` holds, and completes the world in `out`.

    Args:
        data: a store of episodes; its train split is learned, its val split watched and used for starts.
        out: the directory of the world; training logs go to `out/training/world_model`. A run that was interrupted
            goes on where it was.
        model: sizes; `grid` and `levels` are the tokenizer's, whatever is given.
        fit_config: budget and optimiser.
        loss: the objective.
        evaluate_every: steps between looks at held-out rollouts.

    Returns:
        The directory of the world, ready for `gym.make("FLAM-v0", checkpoint=...)`.

    Raises:
        FileNotFoundError: `out` has no tokenizer yet.
        ValueError: no such store, frames of another size, or `out` holds another run.
    """
    store, tokenizer = EpisodeStore.open(data), load_tokenizer(out)
    settings = WorldSettings(source=store.source)
    watched = draw_clips(store, "val", WATCHED_CLIPS, settings.context + settings.horizon)
    shown = draw_clips(store, "test", SHOWN_CLIPS, START_FRAMES)
    for split, length in (("train", CLIP_FRAMES), ("val", START_FRAMES)):  # complain now, not after the training
        draw_clips(store, split, 1, length)
    splits = token_cache(store, tokenizer)
    model = replace(model, grid=tokenizer.config.grid, levels=tokenizer.config.levels)
    torch.manual_seed(fit_config.seed)
    network = FactoredWorldModel(model)

    def look(averaged: FactoredWorldModel) -> dict[str, float]:
        scores = quick_scores(bare_world(tokenizer, averaged, settings), watched)
        warn_of_collapse(scores, slots=model.slots)
        return scores

    result = fit(
        network,
        _objective(loss),
        _clip_batches(splits["train"]),
        fit_config,
        Path(out) / "training" / "world_model",
        evaluate=look,
        evaluate_every=evaluate_every,
        frames_per_batch=fit_config.batch_size * CLIP_FRAMES,
        identity={"model": asdict(model), "loss": asdict(loss), "tokenizer": fingerprint(tokenizer)} | store.identity(),
        product=Path(out) / "world_model.safetensors",
    )
    network.load_state_dict(result.ema)
    if result.main:
        save_clips(out, shown.frames)
        save_world(out, finish_world(bare_world(tokenizer, network.cpu().eval(), settings), splits))
    return Path(out)


def _objective(config: WorldModelLossConfig) -> Loss:
    def objective(network: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        model, shown = _bare(network), None
        if config.rollout_share and progress.share > config.free_share:
            shown = own_guesses(model, tokens, config.rollout_share)
        return world_model_loss(model, tokens, network(tokens, shown), config, progress.share)

    return objective


def _clip_batches(split: TokenSplit) -> DrawBatch:
    starts = split.starts(CLIP_FRAMES)

    def batches(generator: torch.Generator, count: int) -> Tensor:
        chosen = torch.randint(len(starts), (count,), generator=generator)
        return split.clips(starts[chosen.numpy()], CLIP_FRAMES)

    return batches


def _bare(network: nn.Module) -> FactoredWorldModel:
    """The model under torch.compile's wrapper."""
    return getattr(network, "_orig_mod", network)  # type: ignore[arg-type]


if __name__ == "__main__":
    run_command(world_model)
