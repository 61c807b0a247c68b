"""Does a slot's action move what the slot holds, and nothing else?"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import repeat
from torch import Tensor

from flam_env.dream.dream import Dream, DreamState, pixel_masks, slot_owners
from flam_env.models.layers import grown
from flam_env.worlds.units import clip_to_box
from flam_train.evaluate.rollouts import infer_actions
from flam_train.store.clips import Clips

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("steering needs tqdm: pip install 'flam-env[train]'") from error

VISIBLE = 16  # smallest difference of a channel, of 255, that counts as a changed pixel
EFFECT_PIXELS = 8  # changed pixels that make a change an effect
EFFECT_SHARE = 0.1  # share of action changes with an effect that makes a slot steerable


class Steered(NamedTuple):
    """One clip of which each slot in turn gets another real action, one step ahead.

    changed: bool (K, H, W), pixels of the next frame that this changes; before, after: states of K + 1 dreams at t and
    t + 1, of which row 0 keeps the actions and row 1 + k changes that of slot k.
    """

    changed: Tensor
    before: DreamState
    after: DreamState


@torch.inference_mode()
def steer_slots(dream: Dream, clips: Clips, seed: int = 0) -> Iterator[Steered]:
    """Replaces the action of one slot by another real action, for every slot of every clip.

    The step is the one that follows the context, and all other actions are those inferred from the true frames.
    """
    context = dream.world.settings.context
    random = torch.Generator().manual_seed(seed)
    for frames in tqdm(clips.frames, desc="steering", unit=" clips", leave=False, disable=None):
        tokens = dream.encode(frames[: context + 1])[None]
        actions = infer_actions(dream, tokens).actions
        yield _steer_each_slot(dream, tokens[:, :context], clip_to_box(actions[:, -1]), random)


@torch.inference_mode()
def steering_scores(dream: Dream, clips: Clips, seed: int = 0) -> dict[str, float]:
    """How well the changes of `steer_slots` keep to what the slot holds.

    Returns:
        density_ratio: share of pixels that change inside the slot's mask (its cells at t or t + 1, dilated by one
        cell) over the share that change elsewhere; steerable_slots: slots of which at least 10 % of the changes have
        a visible effect; changes: how many were tried.
    """
    slots = dream.model.actions.slots
    each, counts, effects = torch.arange(slots), [], torch.zeros(slots, dtype=torch.int64)
    for changed, before, after in steer_slots(dream, clips, seed):
        masks = _owned(dream, before)[each, each] | _owned(dream, after)[each + 1, each]
        counts.append(torch.stack([(changed & masks).sum(), masks.sum(), (changed & ~masks).sum(), (~masks).sum()]))
        effects += has_effect(changed).cpu()
    moved_inside, inside, moved_outside, outside = torch.stack(counts).sum(0).tolist()
    share_inside, share_outside = moved_inside / max(inside, 1), moved_outside / max(outside, 1)
    return {
        "density_ratio": share_inside / max(share_outside, 1e-9),
        "steerable_slots": float((effects.double() / clips.count >= EFFECT_SHARE).sum()),
        "changes": float(clips.count * slots),
    }


@torch.inference_mode()
def changed_inside_share(dream: Dream, clips: Clips, seed: int = 0) -> float:
    """Share of all pixels changed by `steer_slots` that the steered slot has.

    Its own are the cells in which it has the largest share, not dilated, at t, or at t + 1 under either action.
    NaN where no change is seen.
    """
    each, inside, all_changed = torch.arange(dream.model.actions.slots), 0, 0
    for changed, before, after in steer_slots(dream, clips, seed):
        then = _owned(dream, after, dilated=False)
        masks = _owned(dream, before, dilated=False)[each, each] | then[0] | then[each + 1, each]
        inside += int((changed & masks).sum())
        all_changed += int(changed.sum())
    return inside / all_changed if all_changed else math.nan


def has_effect(changed: Tensor) -> Tensor:
    """Whether so many pixels (..., H, W) change that one sees it: bool (...)."""
    return changed.sum((-2, -1)) >= EFFECT_PIXELS


def _steer_each_slot(dream: Dream, context: Tensor, action: Tensor, random: torch.Generator) -> Steered:
    """From context tokens (1, C, N) under the action (1, K, A) and K changes of it."""
    slots = action.shape[1]
    bank, each = clip_to_box(dream.world.starts.bank), torch.arange(slots)
    drawn = bank[torch.randint(len(bank), (slots,), generator=random), each]
    rows = repeat(action, "1 k ... -> b k ...", b=slots + 1).clone()
    rows[each + 1, each] = drawn.to(action.device)
    before = dream.reset(context.expand(slots + 1, -1, -1))
    after, frames = dream.step(before, rows)
    changed = ((frames[1:].int() - frames[:1].int()).abs() >= VISIBLE).any(-1)
    return Steered(changed, before, after)


def _owned(dream: Dream, state: DreamState, dilated: bool = True) -> Tensor:
    """Pixels of the cells that each slot owns, and of those next to them where dilated: bool (B, K, H, W)."""
    slots = torch.arange(state.masks.shape[1], device=state.masks.device)
    owned = (slot_owners(state.masks)[:, None] == slots[:, None]).float()
    if dilated:
        owned = grown(owned)
    return pixel_masks(owned, dream.tokenizer.config.image_size).bool()
