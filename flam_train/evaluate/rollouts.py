"""Rollouts of a world on held-out clips, scored against the ceiling and the floor.

Every method goes through the same door: its frames are uint8, and its score is the mean over clips and steps of the
PSNR of single frames. Recon is the tokenizer's round trip of the true future, the best that any prediction can be.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from flam_env.dream.dream import Dream, DreamState
from flam_env.models.dynamics import LatentActions
from flam_env.video.frames import to_float, to_uint8
from flam_env.worlds.units import clip_to_box
from flam_env.worlds.world import World
from flam_train.evaluate.pixels import frame_psnr, frame_ssim
from flam_train.evaluate.rooms.clips import RoomClips, owning_slots
from flam_train.evaluate.rooms.dci import own_slots
from flam_train.phases.export import measured_units
from flam_train.phases.losses import diagnosis
from flam_train.store.clips import Clips

BATCH = 64
Steer = Callable[[int, Tensor], Tensor]
"""(step from 0 on, actions (B, K, A) that were drawn) -> the actions that are taken."""


@torch.inference_mode()
def roll(dream: Dream, context: Tensor, actions: Tensor) -> Tensor:
    """Dreams from context tokens (B, C, N) under actions (B, H, K, A) in units -> frames uint8 (B, H, h, w, 3)."""
    state, frames = dream.reset(context), []
    for action in actions.to(dream.device).unbind(1):
        state, frame = dream.step(state, action)
        frames.append(frame)
    return torch.stack(frames, 1)


@torch.inference_mode()
def roll_each_slot(dream: Dream, context: Tensor, actions: Tensor, others: Tensor) -> Tensor:
    """Dreams one for each slot, in which that slot alone takes other actions.

    Args:
        dream: of a world.
        context: tokens (1, C, N).
        actions: (1, H, K, A) in units, what the other slots do.
        others: (1, H, K, A) in units, what the slot does whose dream it is.

    Returns:
        frames uint8 (K, H, h, w, 3).
    """
    slots = actions.shape[2]
    rows, each = actions.repeat(slots, 1, 1, 1), torch.arange(slots, device=actions.device)
    rows[each, :, each] = rearrange(others.to(actions.device), "1 h k a -> k h a")
    return roll(dream, context.expand(slots, -1, -1), rows)


def sampled_actions(world: World, count: int, steps: int, random: torch.Generator) -> Tensor:
    """Actions (count, steps, K, A) in units, inside the box: each step's from the world's bank of real actions."""
    drawn = torch.randint(len(world.starts.bank), (count, steps), generator=random)
    return clip_to_box(world.starts.bank[drawn])


@torch.inference_mode()
def roll_freely(
    dream: Dream, context: Tensor, steps: int, random: torch.Generator, *, draw_tokens: bool = True
) -> Tensor:
    """Dreams from context tokens (B, C, N) in which nobody acts -> frames uint8 (B, H, h, w, 3)."""
    followed = free_steps(dream, context, steps, random, draw_tokens=draw_tokens)
    return torch.stack([frame for _, frame in followed], 1)


@torch.inference_mode()
def free_steps(
    dream: Dream,
    context: Tensor,
    steps: int,
    random: torch.Generator,
    *,
    draw_tokens: bool = True,
    steer: Steer | None = None,
) -> Iterator[tuple[DreamState, Tensor]]:
    """States and frames uint8 (B, h, w, 3) of such dreams, step by step; `drawn_actions` says what happens.

    What follows is drawn where the world can, as in its environment, unless the likeliest is asked for. `steer` may
    change what happens; what is drawn stays the same.
    """
    state = dream.reset(context)
    for step in range(steps):
        actions = drawn_actions(dream, state, random)
        chance = torch.rand(len(context), dream.chance, generator=random) if draw_tokens and dream.chance else None
        state, frame = dream.step(state, actions if steer is None else steer(step, actions), chance)
        yield state, frame


@torch.inference_mode()
def drawn_actions(dream: Dream, state: DreamState, random: torch.Generator) -> Tensor:
    """The latent actions of one step as the world itself draws them, for every dream of a batch.

    Args:
        dream: of the world. Where its model learned a prior, each slot draws from that; else all slots get those of
            one real transition out of the bank.
        state: of B dreams.
        random: on the CPU.

    Returns:
        (B, K, A) in units, inside the box, or codes (B, K).
    """
    count = len(state.tokens)
    if not dream.model.learns_prior:
        return sampled_actions(dream.world, count, 1, random)[:, 0]
    prior = dream.model.prior(state.frame)
    noise = torch.randn(count, 1, dream.model.actions.slots, prior.noise, generator=random)
    return clip_to_box(dream.draw(prior, noise))


class Inferred(NamedTuple):
    """What was inferred of clips.

    actions: (B, T - 1, K, A) in units; nats: (B, T - 1), what those of a frame carry; lost: (B, T - 1), how much of it
    in the latent dimensions that the units leave out.
    """

    actions: Tensor
    nats: Tensor
    lost: Tensor


@torch.inference_mode()
def infer_actions(dream: Dream, tokens: Tensor, known: Tensor | None = None) -> Inferred:
    """The actions of clips of tokens (B, T, N); of a model that infers none, zeros that carry nothing.

    A model that takes known actions gets those that are known, as `Clips` has them, which cost nothing.

    Raises:
        ValueError: the model takes known actions and gets none, or others.
    """
    nothing = torch.zeros(tokens[:, 1:].shape[:2], device=tokens.device)
    if dream.model.actions.known:
        there = None if known is None else known.to(tokens.device)
        return Inferred(dream.model.from_known(there)[:, :-1], nothing, nothing)
    if not dream.model.actions.inferred:
        return Inferred(dream.model.actions.zeros(*nothing.shape, device=tokens.device), nothing, nothing)
    posterior = dream.model.infer(dream.model.observe(tokens))
    lost = nothing
    if isinstance(posterior, LatentActions):
        lost = posterior.kl.sum((-1, -2)) - posterior.kl[..., dream.units.kept].sum((-1, -2))
    return Inferred(dream.units.from_model(posterior.mode), posterior.nats.sum(-1), lost)


@torch.inference_mode()
def context_and_actions(dream: Dream, tokens: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What it takes to dream clips (B, T, N) again: context tokens (B, C, N) and what was done next (B, H, K, A).

    Actions are those of `infer_actions`, in units, and clipped to the box, as the environment would.
    """
    context = dream.world.settings.context
    return tokens[:, :context], clip_to_box(infer_actions(dream, tokens, known).actions[:, context - 1 :])


@torch.no_grad()
def quick_scores(world: World, clips: Clips) -> dict[str, float]:
    """A look during training at a world without units: PSNR in dB of rollout and Recon, and signs of health.

    For clips of rooms also the mean number of agents that have a slot of their own.
    """
    dream = Dream(world, next(world.model.parameters()).device)
    frames, tokens = next(encoded_clips(dream, clips))
    known = None if clips.known is None else clips.known[: len(tokens)].to(tokens.device)
    seen = dream.model(tokens, known=known)
    if isinstance(seen.posterior, LatentActions):
        dream = Dream(replace(world, units=measured_units(seen.posterior)), dream.device)
    context = world.settings.context
    predicted = roll(dream, *context_and_actions(dream, tokens, known))
    methods = {"rollout_psnr": predicted, "recon_psnr": _recon(dream, tokens[:, context:])}
    scores = {name: psnr(method, frames[:, context:]).mean().item() for name, method in methods.items()}
    guesses = dream.model.next_tokens(seen.output)
    scores |= {"tokens_used": float(len(tokens.unique())), "tokens_predicted": float(len(guesses.unique()))}
    if seen.posterior is not None:
        nats = seen.posterior.nats.mean((0, 1))
        scores |= {f"nats_of_slot_{slot}": value for slot, value in enumerate(nats.tolist())}
    if isinstance(clips, RoomClips):
        owners = map(owning_slots, seen.observed.masks.cpu(), clips.positions, repeat(clips.room.cells))
        scores["agents_with_own_slot"] = own_slots(torch.stack(list(owners))).sum(-1).double().mean().item()
    return scores | {name: value.item() for name, value in diagnosis(dream.model, tokens, seen).items()}


class Rolled(NamedTuple):
    """Rollouts of some clips.

    rows: which clips; true: their future, uint8 (B, H, h, w, 3); methods: what is shown instead, frames like `true`
    by name; inferred: the actions of all frames, not clipped.
    """

    rows: slice
    true: Tensor
    methods: dict[str, Tensor]
    inferred: Inferred


@torch.inference_mode()
def roll_methods(dream: Dream, clips: Clips, seed: int = 0) -> Iterator[Rolled]:
    """Every method on every clip, in batches.

    Actions are inferred from the true frames, or known, and clipped to the box, as the environment would. In `sampled`
    each step's actions are drawn as the world draws them. The likeliest tokens follow in both.
    """
    context = dream.world.settings.context
    random = torch.Generator().manual_seed(seed)
    first = 0
    for frames, tokens in encoded_clips(dream, clips):
        rows = slice(first, first + len(frames))
        inferred = infer_actions(dream, tokens, None if clips.known is None else clips.known[rows])
        actions = inferred.actions[:, context - 1 :]
        true, start = frames[:, context:], tokens[:, :context]
        methods = {
            "prediction": roll(dream, start, clip_to_box(actions)),
            "sampled": roll_freely(dream, start, actions.shape[1], random, draw_tokens=False),
            "recon": _recon(dream, tokens[:, context:]),
            "copy_last": frames[:, context - 1 : context].expand_as(true),
        }
        yield Rolled(rows, true, methods, inferred)
        first += len(frames)


@torch.inference_mode()
def rollout_scores(dream: Dream, clips: Clips, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of every clip and step: PSNR and SSIM of each method of `roll_methods`, arrays (B, H).

    Also `nats` and `nats_lost` (B, T - 1), and `inside_box` (B, values): whether each value of the inferred actions
    lies in the box.
    """
    table: dict[str, list[Tensor]] = {}
    for rolled in roll_methods(dream, clips, seed):
        actions, nats, lost = rolled.inferred
        actions = actions[:, -rolled.true.shape[1] :]
        row = {"nats": nats, "nats_lost": lost, "inside_box": (clip_to_box(actions) == actions).float().flatten(1)}
        for name, predicted in rolled.methods.items():
            row |= {f"{name}_psnr": psnr(predicted, rolled.true), f"{name}_ssim": _ssim(predicted, rolled.true)}
        for name, value in row.items():
            table.setdefault(name, []).append(value.cpu())
    return {name: torch.cat(parts).numpy() for name, parts in table.items()}


def encoded_clips(dream: Dream, clips: Clips) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of true frames uint8 (B, T, H, W, 3) and their tokens (B, T, N)."""
    for start in range(0, clips.count, BATCH):
        frames = clips.frames[start : start + BATCH]
        tokens = dream.encode(rearrange(frames, "b t h w c -> (b t) h w c"))
        yield torch.from_numpy(frames).to(dream.device), rearrange(tokens, "(b t) n -> b t n", b=len(frames))


@torch.inference_mode()
def _recon(dream: Dream, tokens: Tensor) -> Tensor:
    frames = to_uint8(dream.tokenizer.decode(rearrange(tokens, "b t n -> (b t) n")))
    return rearrange(frames, "(b t) h w c -> b t h w c", b=len(tokens))


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """PSNR in dB of each frame: both uint8 (..., H, W, 3) -> (...)."""
    return frame_psnr(to_float(predicted, predicted.device), to_float(true, true.device))


def _ssim(predicted: Tensor, true: Tensor) -> Tensor:
    batch = len(true)
    flat = (rearrange(to_float(x, x.device), "b t c h w -> (b t) c h w") for x in (predicted, true))
    return rearrange(frame_ssim(*flat), "(b t) -> b t", b=batch)
