"""`flam-train token-sampler`: learns how the tokens of a frame are drawn together."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flam_env.heads.token_sampler import TokenSampler, TokenSamplerConfig, sure
from flam_env.models.protocol import WorldModel, check_infers
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.finding import check_writable, find_world
from flam_env.worlds.loading import load_world
from flam_env.worlds.saving import add_heads
from flam_env.worlds.writing import write_atomically
from flam_train.engine import Batch, FitConfig, Progress, fit, training_device
from flam_train.phases.losses import token_error
from flam_train.phases.world_model import CLIP_FRAMES, bare, clip_batches
from flam_train.presets import SMALL
from flam_train.store.clips import check_length
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.tokens import TokenSplit
from flam_train.store.training_data import open_data, token_splits

REPORT = "token_sampler.json"
SIZE = TokenSamplerConfig()
SCORED_CLIPS = 64


def token_sampler(
    world: str,
    data: Path,
    *,
    out: Path | None = None,
    size: TokenSamplerConfig = SIZE,
    fit_config: FitConfig = SMALL.token_sampler_fit,
) -> Path:
    """Learns how the tokens of a frame hang together, and makes a head of the world of it.

    From then on dreams draw what follows of what the model holds possible, in place of the likeliest alone. The world's
    networks stay as they are. `token_sampler.json` tells what a true frame of the val split costs in nats, each channel
    of each patch for itself and drawn together.

    Args:
        world: name of a bundled world or directory of one's own.
        data: the store that it was trained on, or a pack of it.
        out: where the world with the sampler goes, by default its own directory, or a folder of one's own for a bundled
            world; logs go to `training/token_sampler` there. A run that was interrupted goes on where it was.
        size: of the sampler; `levels` and `grid` are the tokenizer's, whatever is given.
        fit_config: budget and optimiser; an example is a clip.

    Returns:
        The directory of the world that has it.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no such data, frames of another size, a world that does not tell how likely tokens are or whose
            actions are not inferred, or the directory holds another sampler or is a bundled world's.
    """
    store, old = open_data(data), load_world(world, without=("token_sampler",))
    warn_of_store_rate(store, old.settings.frames_per_second)
    out = find_world(world) if out is None else Path(out)
    check_writable(out)
    check_infers(old.model)
    for split in ("train", "val"):
        check_length(store, split, CLIP_FRAMES)
    splits = token_splits(store, old.tokenizer, training_device())
    model = old.model.to(training_device()).eval()
    size = replace(size, levels=old.tokenizer.config.levels, grid=old.tokenizer.config.grid)
    torch.manual_seed(fit_config.seed)

    def objective(network: nn.Module, tokens: Batch, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(tokens, Tensor)
        return sampler_loss(bare(network), model, tokens)

    result = fit(
        sampler := TokenSampler(size),
        objective,
        clip_batches(splits["train"]),
        fit_config,
        out / "training" / "token_sampler",
        frames_per_batch=fit_config.batch_size * CLIP_FRAMES,
        identity={"size": asdict(size), "world": old.fingerprint()} | store.identity(),
        product=out / "token_sampler.safetensors",
    )
    sampler.load_state_dict(result.ema)
    if result.main:
        report = frame_nats(round_as_stored(sampler.eval()), model, _scored_clips(splits["val"]))
        add_heads(world, {"token_sampler": sampler.cpu()}, out)
        write_atomically(out / REPORT, json.dumps({"seed": fit_config.seed} | report, indent=1).encode())
    return out


def _scored_clips(split: TokenSplit) -> Tensor:
    """Clips (B, T, N) from everywhere in a split."""
    starts = split.starts(CLIP_FRAMES)
    return split.clips(starts[:: -(-len(starts) // SCORED_CLIPS)], CLIP_FRAMES).to(training_device())


class Told(NamedTuple):
    """What a world model says of M transitions of real video, and what is true.

    logs: (M, N, L, levels), the logarithms of its probabilities; now, after: tokens (M, N); certain: bool (M, N), what
    is not drawn; seen: levels (M, N, L) of the frame after as they will be when frames are drawn.
    """

    logs: Tensor
    now: Tensor
    after: Tensor
    certain: Tensor
    seen: Tensor


def sampler_loss(sampler: TokenSampler, model: WorldModel, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean nats of a patch that is still to be drawn, in frames of which the patches of some first passes are known.

    Args:
        sampler: to be trained.
        model: of the world; its actions are drawn from what was inferred.
        tokens: (B, T, N), clips of real video.
    """
    told = tell(model, tokens)
    first = torch.randint(sampler.config.passes, (len(told.logs), 1), device=tokens.device)
    drawn = (sampler.passes >= first) & ~told.certain
    logits = sampler(told.logs, told.now, told.seen, ~drawn)
    errors = (token_error("level", model.quantizer, each, told.after) for each in (logits, told.logs))
    together, apart = ((error * drawn).sum() / drawn.sum().clamp(min=1) for error in errors)
    return together, {"together": together.detach(), "apart": apart.detach(), "drawn": drawn.float().mean()}


@torch.no_grad()
def tell(model: WorldModel, tokens: Tensor) -> Told:
    """What a world model says of all transitions of clips (B, T, N), under actions drawn from what was inferred."""
    observed = model.observe(tokens)
    output = model.step(observed.at(slice(None, -1)), model.infer(observed).sample())
    logs = model.level_logs(output).flatten(0, 1)
    now, after = (part.long().flatten(0, 1) for part in (tokens[:, :-1], tokens[:, 1:]))
    certain = sure(logs)
    seen = torch.where(certain[..., None], logs.argmax(-1), model.quantizer.steps(after))
    return Told(logs, now, after, certain, seen)


@torch.no_grad()
def frame_nats(sampler: TokenSampler, model: WorldModel, clips: Tensor) -> dict[str, float]:
    """What a true frame of clips (B, T, N) costs in nats at temperature 1.

    Returns:
        apart: each channel of each patch for itself, as the model tells; together: as the sampler draws them, pass by
        pass.
    """
    apart, together, frames = 0.0, 0.0, 0
    for tokens in clips.split(4):
        told = tell(model, tokens)
        error = token_error("level", model.quantizer, told.logs, told.after)
        apart += error.sum().item()
        together += (error * told.certain).sum().item()
        for each in range(sampler.config.passes):
            logits = sampler(told.logs, told.now, told.seen, (sampler.passes < each) | told.certain)
            drawn = (sampler.passes == each) & ~told.certain
            together += (token_error("level", model.quantizer, logits, told.after) * drawn).sum().item()
        frames += len(told.logs)
    return {"apart": apart / frames, "together": together / frames}
