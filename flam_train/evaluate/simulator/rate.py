"""What a frame's latent actions cost in nats, and what a world shows that is told no more than that.

A rollout under the means of the posteriors may tell more of the true future than its rate says, for a mean is a number
of any precision. So samples of the posteriors are rolled out as well: what these show was paid for.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.models.protocol import Posterior, check_infers
from flam_env.worlds.units import clip_to_box
from flam_train.evaluate.rollouts import encoded_clips, psnr, roll
from flam_train.store.clips import Clips

DECIDES = 0.1  # nats a frame, from which on a slot is one that decides


class Rated(NamedTuple):
    """What the latent actions of clips cost.

    posterior: of the actions between T frames, T - 1 of them; nats: (B, T - 1, K), its KL from the prior that the world
    draws from; nats_from_no_knowledge: (B, T - 1, K), that from the unit normal, or from all codes alike.
    """

    posterior: Posterior
    nats: Tensor
    nats_from_no_knowledge: Tensor


@torch.inference_mode()
def rate_actions(dream: Dream, tokens: Tensor) -> Rated:
    """Infers the actions of clips of tokens (B, T, N), and rates them.

    Raises:
        ValueError: the model infers no actions.
    """
    check_infers(dream.model)
    observed = dream.model.observe(tokens)
    posterior = dream.model.infer(observed)
    nats = dream.model.prior(observed.at(slice(None, -1))).nats(posterior)
    return Rated(posterior, nats, posterior.nats)


@torch.inference_mode()
def rate_scores(dream: Dream, clips: Clips, seed: int = 0) -> dict[str, Any]:
    """The rate of the predicted frames of clips, and how near rollouts under samples of the posteriors come to them.

    Args:
        dream: of a world.
        clips: of T frames, of which those after the world's context are predicted.
        seed: of the samples, which are clipped to the box, as the environment would.

    Returns:
        nats: a frame, to the world's own prior; nats_from_no_knowledge: to that of no knowledge; deciding_slots: how
        many have more than .1 nat; by_slot, by_slot_from_no_knowledge: both for each slot; posterior_sampled_psnr: in
        dB, and posterior_sampled_psnr_per_step.

    Raises:
        ValueError: the model infers no actions.
    """
    context, rated, near = dream.world.settings.context, list[Tensor](), list[Tensor]()
    devices = [] if dream.device.type == "cpu" else [dream.device]
    with torch.random.fork_rng(devices, device_type=dream.device.type if devices else "cuda"):
        torch.manual_seed(seed)
        for frames, tokens in encoded_clips(dream, clips):
            posterior, *nats = rate_actions(dream, tokens)
            rated.append(torch.stack(nats, -1)[:, context - 1 :].cpu())
            sampled = clip_to_box(dream.units.from_model(posterior.sample())[:, context - 1 :])
            shown = roll(dream, tokens[:, :context], sampled)
            near.append(psnr(shown, frames[:, context:]).cpu())
    by_slot, plain_by_slot = torch.cat(rated).mean((0, 1)).unbind(-1)
    steps = torch.cat(near).mean(0)
    return {
        "nats": by_slot.sum().item(),
        "nats_from_no_knowledge": plain_by_slot.sum().item(),
        "deciding_slots": int((by_slot > DECIDES).sum()),
        "by_slot": by_slot.tolist(),
        "by_slot_from_no_knowledge": plain_by_slot.tolist(),
        "posterior_sampled_psnr": steps.mean().item(),
        "posterior_sampled_psnr_per_step": steps.tolist(),
    }


def player_slot(dream: Dream, tokens: Tensor) -> int:
    """The slot that the player mostly is: as the world's decoder tells, else that with most nats in clips (B, T, N)."""
    known = dream.world.controlled_slot
    return int(rate_actions(dream, tokens).nats.mean((0, 1)).argmax()) if known is None else known
