"""From a trained network to a world that can be run: action units, laws, real starts, a bank of real actions."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from flam_env.laws import Laws, vanished
from flam_env.models.dynamics import LatentActions
from flam_env.models.tokenizer import Tokenizer
from flam_env.models.world_model import FactoredWorldModel
from flam_env.units import BOUND, ActionUnits
from flam_env.world import Starts, World, WorldSettings
from flam_train.data.tokens import TokenSplit
from flam_train.losses import kl_per_dimension

ACTIVE_NATS = 0.05  # a latent dimension below this mean KL carries nothing
WITHIN_BOX = 0.9995  # share of the training data's actions that the box holds, with a margin over the promised 99.9 %
SMALLEST_SCALE = 1e-3  # keeps units finite where latent actions have collapsed
START_CLIPS, START_FRAMES = 64, 34
NEVER = 1e-4  # share of slots and transitions below which what happens is a glitch of the masks
TOKEN_ROWS = 2**16  # frames whose tokens are counted at once
BANK_CLIPS, BANK_FRAMES, BANK_ROWS = 512, 16, 2048


def bare_world(tokenizer: Tokenizer, model: FactoredWorldModel, settings: WorldSettings) -> World:
    """A world whose action units are the network's own and that has no starts."""
    size = model.config.latent_dim
    units = ActionUnits(latent_dim=size, kept=tuple(range(size)), scale=(1.0,) * size)
    nothing = torch.zeros(1, 0, model.config.slots, size)
    return World(tokenizer, model, settings, units, Starts(torch.zeros(1, 0, 0).long(), nothing, nothing[0]))


def finish_world(world: World, splits: dict[str, TokenSplit], units: ActionUnits | None = None, seed: int = 0) -> World:
    """The world with all that is measured: action units unless given, laws and a bank of actions on the training split.

    Starts come from the validation split. An action decoder is left out: it read the latent actions of before.
    """
    random = np.random.default_rng(seed)
    clips = _some_clips(splits["train"], BANK_CLIPS, BANK_FRAMES, random)
    masks, posterior = _watch(world.model, clips)
    units = units or measured_units(posterior)
    rows = units.from_model(posterior.mean).flatten(0, 1)
    bank = rows[torch.from_numpy(random.permutation(len(rows))[:BANK_ROWS])]
    start_tokens = _some_clips(splits["val"], START_CLIPS, START_FRAMES, random)
    actions = units.from_model(_watch(world.model, start_tokens)[1].mean)
    laws = Laws(
        unseen_tokens=unseen_tokens(splits["train"], world.tokenizer.quantizer.size),
        permanence=nothing_vanishes(masks),
    )
    return replace(world, units=units, starts=Starts(start_tokens, actions, bank), laws=laws, decoder=None)


def unseen_tokens(split: TokenSplit, size: int) -> tuple[int, ...]:
    """The tokens in [0, size) that occur nowhere in a split."""
    counts = np.zeros(size, int)
    for first in range(0, len(split.tokens), TOKEN_ROWS):
        counts += np.bincount(split.tokens[first : first + TOKEN_ROWS].ravel(), minlength=size)
    return tuple(np.flatnonzero(counts == 0).tolist())


def nothing_vanishes(masks: Tensor) -> bool:
    """Whether no slot of clips, masks (B, T, K, cells), ever loses what it holds."""
    return vanished(masks[:, :-1], masks[:, 1:]).double().mean().item() < NEVER


def measured_units(posterior: LatentActions) -> ActionUnits:
    """Keeps the dimensions that carry information and measures the spread of their means.

    The spread is the standard deviation, or more where the tails are so heavy that the box would hold a smaller share
    of the means than `WITHIN_BOX`.

    Where no dimension carries anything the latent actions have collapsed, and all are kept, so that the world can be
    looked at; training has warned of it.
    """
    informative = kl_per_dimension(posterior).flatten(0, -2).mean(0) > ACTIVE_NATS
    if not informative.any():
        informative = ~informative
    kept = tuple(informative.nonzero()[:, 0].tolist())
    means = posterior.mean.flatten(0, -2)[:, list(kept)].cpu()
    tails = torch.tensor(np.quantile(means.abs().numpy(), WITHIN_BOX, axis=0), dtype=means.dtype)
    scale = means.std(0).maximum(tails / BOUND).clamp(min=SMALLEST_SCALE)
    return ActionUnits(latent_dim=posterior.mean.shape[-1], kept=kept, scale=tuple(scale.tolist()))


def _some_clips(split: TokenSplit, count: int, length: int, random: np.random.Generator) -> Tensor:
    starts = split.starts(length)
    return split.clips(np.sort(random.choice(starts, min(count, len(starts)), replace=False)), length)


@torch.inference_mode()
def _watch(model: FactoredWorldModel, clips: Tensor) -> tuple[Tensor, LatentActions]:
    """Masks (B, T, K, cells) and latent actions of clips (B, T, N)."""
    slots = [model.observe(chunk) for chunk in clips.split(32)]
    posteriors = [model.infer(part.values) for part in slots]
    posterior = LatentActions(*(torch.cat(field) for field in zip(*posteriors, strict=True)))
    return torch.cat([part.masks for part in slots]), posterior
