"""From a trained network to a world that can be run: action units, laws, real starts, a bank of real actions.

All of it is measured with the weights that the world's files will hold, on the device that the model is on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.models.action_spaces import ContinuousActions
from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import WorldModel
from flam_env.models.tokenizer import Tokenizer
from flam_env.worlds.checkpoint import check_storable
from flam_env.worlds.laws import Laws, vanished
from flam_env.worlds.units import BOUND, ActionUnits, UnitConversion
from flam_env.worlds.world import Starts, World, WorldSettings
from flam_train.heads.road import measure_road
from flam_train.store.tokens import TokenSplit

LOST_NATS = 0.01  # share of the information that the latent dimensions that are left out may carry
WITHIN_BOX = 0.9995  # share of the training data's actions that the box holds, with a margin over the promised 99.9 %
SMALLEST_SCALE = 1e-3  # keeps units finite where latent actions have collapsed
START_CLIPS, START_FRAMES = 64, 34
NEVER = 1e-4  # share of slots and transitions below which what happens is a glitch of the masks
TOKEN_ROWS = 2**16  # frames whose tokens are counted at once
ROAD_CLIPS = 256
BANK_CLIPS, BANK_FRAMES, BANK_ROWS = 512, 16, 2048
WATCHED_AT_ONCE = 32


class Watched(NamedTuple):
    """What a model makes of clips, on the CPU.

    masks: (B, T, K, cells); actions: (B, T - 1, ...); posterior: of vectors, None for other actions.
    """

    masks: Tensor
    actions: Tensor
    posterior: LatentActions | None


def bare_world(tokenizer: Tokenizer, model: WorldModel, settings: WorldSettings) -> World:
    """A world whose action units are the network's own and that has no starts."""
    actions, units = model.actions, None
    if isinstance(actions, ContinuousActions):
        units = ActionUnits(latent_dim=actions.dim, kept=tuple(range(actions.dim)), scale=(1.0,) * actions.dim)
    nothing = Starts(torch.zeros(1, 0, 0).long(), actions.zeros(1, 0), actions.zeros(0))
    return World(tokenizer, model, settings, units, nothing)


def finish_world(
    world: World,
    splits: dict[str, TokenSplit],
    units: ActionUnits | None = None,
    seed: int = 0,
    *,
    known: Mapping[str, np.ndarray] | None = None,
) -> World:
    """The world with all that is measured: action units unless given, laws and a bank of actions on the training split.

    Starts and the road come from the validation split. Other heads are left out: they read latent actions of before.
    The model watches on the device that it is on; all that is measured lies on the CPU. A model that takes known
    actions needs those of both splits, as `flam_train.store.taken.split_actions` gives them, and has no road.

    Raises:
        ValueError: the model's weights are not what its file will hold (`round_as_stored`).
    """
    check_storable(world.model, "export")
    random, actions = np.random.default_rng(seed), world.model.actions
    watched = watch_clips(world.model, *_some_clips("train", splits, known, BANK_CLIPS, BANK_FRAMES, random))
    if watched.posterior is not None:
        units = units or measured_units(watched.posterior)
    convert = UnitConversion(units)
    rows = convert.from_model(watched.actions).flatten(0, 1)
    bank = rows[torch.from_numpy(random.permutation(len(rows))[:BANK_ROWS])]
    start_tokens, start_known = _some_clips("val", splits, known, START_CLIPS, START_FRAMES, random)
    actions_of_starts = watch_clips(world.model, start_tokens, start_known).actions
    starts = Starts(start_tokens, convert.from_model(actions_of_starts), bank)
    can_rest = actions.inferred and actions.slots == world.model.slots > 1
    laws = Laws(
        unseen_tokens=unseen_tokens(splits["train"], world.tokenizer.quantizer.size),
        permanence=can_rest and nothing_vanishes(watched.masks),
    )
    heads = dict[str, nn.Module]()
    if not actions.known:
        clips, _ = _some_clips("val", splits, known, ROAD_CLIPS, START_FRAMES, random)
        heads["road"] = measure_road(world.model, clips)
    return replace(world, units=units, starts=starts, laws=laws, heads=heads)


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
    """Keeps the dimensions that decide something and measures the spread of their means.

    A dimension is worth what it tells of the slot of which it tells most, so that one deciding slot among many counts;
    the fewest are kept that lose at most `LOST_NATS` of all information. The spread is the standard deviation, or more
    where the tails are so heavy that the box would hold a smaller share of the means than `WITHIN_BOX`, in the slot
    where it is largest.
    """
    kept = kept_dimensions(posterior.kl.flatten(0, -3).mean(0))
    means = posterior.mean.flatten(0, -3)[..., list(kept)].cpu()
    tails = torch.from_numpy(np.quantile(means.abs().numpy(), WITHIN_BOX, axis=0)).to(means.dtype)
    scale = means.std(0).maximum(tails / BOUND).amax(0).clamp(min=SMALLEST_SCALE)
    return ActionUnits(latent_dim=posterior.mean.shape[-1], kept=kept, scale=tuple(scale.tolist()))


def kept_dimensions(nats: Tensor) -> tuple[int, ...]:
    """The fewest dimensions, by their largest value of a slot, without which at most `LOST_NATS` of the sum are lost.

    Args:
        nats: mean KL of every slot and dimension, (K, A).

    Returns:
        Ascending indices, all of them where there is no information at all: that world has collapsed, of which training
        has warned, and it can still be looked at.
    """
    order = nats.amax(0).argsort(descending=True)
    told = nats.sum(0)[order].double().cumsum(0)
    count = int((told < (1 - LOST_NATS) * told[-1]).sum()) + 1 if told[-1] > 0 else len(order)
    return tuple(sorted(order[:count].tolist()))


def _some_clips(
    name: str,
    splits: dict[str, TokenSplit],
    known: Mapping[str, np.ndarray] | None,
    count: int,
    length: int,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor | None]:
    """Clips (B, T, N) of a split, and what was done in them, if that is known."""
    starts = splits[name].starts(length)
    chosen = np.sort(random.choice(starts, min(count, len(starts)), replace=False))
    done = None if known is None else torch.from_numpy(known[name][chosen[:, None] + np.arange(length)])
    return splits[name].clips(chosen, length).long(), done


@torch.inference_mode()
def watch_clips(model: WorldModel, clips: Tensor, known: Tensor | None = None) -> Watched:
    """What a model makes of clips (B, T, N), and of what was done in them (B, T, ...) if it takes known actions."""
    device = next(model.parameters()).device
    chunks = clips.split(WATCHED_AT_ONCE)
    done: Sequence[Tensor | None] = [None] * len(chunks) if known is None else known.split(WATCHED_AT_ONCE)
    seen = [_watch(model, chunk.to(device), taken) for chunk, taken in zip(chunks, done, strict=True)]
    masks, actions, posteriors = zip(*seen, strict=True)
    joined = None
    if posteriors[0] is not None:
        joined = LatentActions(*(torch.cat(field) for field in zip(*posteriors, strict=True)))
    return Watched(torch.cat(masks), torch.cat(actions), joined)


def _watch(model: WorldModel, clips: Tensor, known: Tensor | None) -> Watched:
    observed = model.observe(clips)
    if model.actions.known:
        taken = None if known is None else known.to(clips.device)
        return Watched(observed.masks.cpu(), model.from_known(taken)[:, :-1].cpu(), None)
    if not model.actions.inferred:
        return Watched(observed.masks.cpu(), model.actions.zeros(len(clips), clips.shape[1] - 1), None)
    posterior: Any = model.infer(observed)
    kept = LatentActions(*(field.cpu() for field in posterior)) if isinstance(posterior, LatentActions) else None
    return Watched(observed.masks.cpu(), posterior.mode.cpu(), kept)
