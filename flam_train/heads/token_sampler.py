"""`flam-train token-sampler`: learns how the tokens of a frame are drawn together."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flam_env.heads.token_sampler import TokenSampler, TokenSamplerConfig, sure
from flam_env.models.protocol import WorldModel
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.directory import add_heads, check_writable, find_world, load_world
from flam_env.worlds.writing import write_atomically
from flam_train.engine import Batch, FitConfig, Progress, fit, training_device
from flam_train.phases.world_model import CLIP_FRAMES, bare, clip_batches
from flam_train.presets import SMALL
from flam_train.store.clips import check_length
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.tokens import TokenSplit
from flam_train.store.training_data import open_data, token_splits

REPORT = "token_sampler.json"
SCORED_CLIPS = 64


@dataclass(frozen=True, kw_only=True)
class SamplerSize:
    """Of a `TokenSampler`, whose config says more."""

    dim: int = 48
    layers: int = 4
    width: int = 64
    apart: int = 2
    temperature: float = 0.9


def token_sampler(
    world: str,
    data: Path,
    *,
    out: Path | None = None,
    size: SamplerSize = SamplerSize(),
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
        size: of the sampler.
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
    if not old.model.actions.inferred:
        raise ValueError(f"expected a world that infers latent actions, got {world} with {old.model.actions}")
    for split in ("train", "val"):
        check_length(store, split, CLIP_FRAMES)
    splits = token_splits(store, old.tokenizer, training_device())
    model = old.model.to(training_device()).eval()
    config = TokenSamplerConfig(levels=old.tokenizer.config.levels, grid=old.tokenizer.config.grid, **asdict(size))
    torch.manual_seed(fit_config.seed)

    def objective(network: nn.Module, tokens: Batch, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(tokens, Tensor)
        return sampler_loss(bare(network), model, tokens)

    result = fit(
        sampler := TokenSampler(config),
        objective,
        clip_batches(splits["train"]),
        fit_config,
        out / "training" / "token_sampler",
        frames_per_batch=fit_config.batch_size * CLIP_FRAMES,
        identity={"size": asdict(config), "world": old.fingerprint()} | store.identity(),
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


def sampler_loss(sampler: TokenSampler, model: WorldModel, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean nats of a patch that is still to be drawn, in frames of which the patches of some first passes are known.

    Args:
        sampler: to be trained.
        model: of the world; its actions are drawn from what was inferred.
        tokens: (B, T, N), clips of real video.
    """
    logs, now, after = told(model, tokens)
    first = torch.randint(sampler.config.passes, (len(logs), 1), device=logs.device)
    certain = sure(logs)
    drawn = (sampler.passes >= first) & ~certain
    seen = torch.where(certain[..., None], logs.argmax(-1), after)  # as it will be when frames are drawn
    logits = sampler(logs, now, seen, ~drawn)
    together, apart = ((nats(each, after) * drawn).sum() / drawn.sum().clamp(min=1) for each in (logits, logs))
    return together, {"together": together.detach(), "apart": apart.detach(), "drawn": drawn.float().mean()}


@torch.no_grad()
def told(model: WorldModel, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a world model says of each transition of clips (B, T, N), M = B * (T - 1) of them.

    Returns:
        The logarithms of its probabilities (M, N, L, levels), tokens before (M, N) and levels after (M, N, L).
    """
    observed = model.observe(tokens)
    output = model.step(observed.at(slice(None, -1)), model.infer(observed).sample())
    logs, after = model.level_logs(output).flatten(0, 1), model.quantizer.steps(tokens[:, 1:]).flatten(0, 1)
    return logs, tokens[:, :-1].long().flatten(0, 1), after


@torch.no_grad()
def frame_nats(sampler: TokenSampler, model: WorldModel, clips: Tensor) -> dict[str, float]:
    """What a true frame of clips (B, T, N) costs in nats at temperature 1.

    Returns:
        apart: each channel of each patch for itself, as the model tells; together: as the sampler draws them, pass by
        pass.
    """
    apart, together, frames = 0.0, 0.0, 0
    for tokens in clips.split(4):
        logs, now, after = told(model, tokens)
        certain = sure(logs)
        seen = torch.where(certain[..., None], logs.argmax(-1), after)
        apart += nats(logs, after).sum().item()
        together += (nats(logs, after) * certain).sum().item()
        for each in range(sampler.config.passes):
            drawn = (sampler.passes == each) & ~certain
            shown = (sampler.passes < each) | certain
            together += (nats(sampler(logs, now, seen, shown), after) * drawn).sum().item()
        frames += len(logs)
    return {"apart": apart / frames, "together": together / frames}


def nats(logits: Tensor, levels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, N, L, levels) at levels (B, N, L), of each patch (B, N)."""
    each = cross_entropy(logits.float().flatten(0, -2), levels.flatten(), reduction="none")
    return each.view(levels.shape).sum(-1)
