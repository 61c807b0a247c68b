"""Learns the way back of an action decoder: which latent action stands for a real one."""

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.dream.dream import Dream, DreamState
from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_env.heads.action_encoder import ActionEncoder, ActionEncoderConfig
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.units import BOUND
from flam_train.heads.few_labels import learn_from_labels
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.player_slot import Steered, attention_of

GAINS = (1.0, 2.0, 4.0)
HELD = 4  # steps for which an action is asked for: one that is obeyed once may take the player out of its slot
CHOSEN_BY, REPORTED_BY = slice(0, None, 2), slice(1, None, 2)  # starts of a world


def learn_encoder(
    decoder: ActionDecoder, seen: Transitions, labels: LabelledTransitions, classes: np.ndarray, **settings: Any
) -> ActionEncoder:
    """An encoder, fitted to the slots as far as a decoder that has learned takes them for the player.

    Args:
        decoder: of the same world; its sizes are the encoder's.
        seen: P transitions, those of the labels to learn from.
        labels: P of them.
        classes: int64 (C,), for each real action the one that stands for all those of equal effect.
        settings: as for `learn_from_labels`, whose errors it raises.
    """
    sizes = {field.name: getattr(decoder.config, field.name) for field in fields(ActionEncoderConfig)}
    encoder = ActionEncoder(ActionEncoderConfig(**sizes))
    data = {"slots": seen.slots[:, 0].float(), "latent_actions": seen.latent_actions}
    data |= {"attention": attention_of(decoder, seen), "actions": torch.from_numpy(labels.actions)}
    stands_for = encoder.stands_for.copy_(torch.from_numpy(classes))
    encoder.known.copy_(torch.isin(stands_for, stands_for[data["actions"]]))
    learn_from_labels(encoder, data, labels, lambda model, batch: {"loss": _error(model, batch)}, **settings)
    return round_as_stored(encoder)


def _error(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared error of the latent actions of all slots, each as far as it is the player."""
    actions = batch["actions"][:, None].expand(batch["attention"].shape)
    errors = (encoder(batch["slots"], actions).float() - batch["latent_actions"]).square().mean(-1)
    return (errors * batch["attention"]).sum(-1).mean()


def choose_gain(dream: Dream, decoder: ActionDecoder, encoder: ActionEncoder, steered: Steered) -> None:
    """Sets the gain with which these slots most often do what they are asked for, after every other start."""
    scores = []
    for gain in GAINS:
        encoder.gain.fill_(gain)
        scores.append(share_obeyed(dream, decoder, encoder, steered, CHOSEN_BY))
    encoder.gain.fill_(GAINS[scores.index(max(scores))])


@torch.inference_mode()
def share_obeyed(
    dream: Dream, decoder: ActionDecoder, encoder: ActionEncoder, steered: Steered, starts: slice
) -> float:
    """How often a dream does what these slots are asked for: the decoder reads it from what the dream shows next.

    Every known real action is asked for after the beginning of each of these starts of the world, for `HELD` steps or
    as many as the start is long, while the other slots do what they did.
    """
    world, obeyed = dream.world, []
    context = max(1, min(world.model.window, world.starts.tokens.shape[1] - HELD))
    usual = world.starts.actions[starts, context - 1 : context - 1 + HELD].clamp(-BOUND, BOUND)
    begun = dream.reset(world.starts.tokens[starts, :context])
    for action in encoder.choices:
        state = begun
        for others in usual.unbind(1):
            state, told = _ask(dream, decoder, encoder, state, action, others, steered)
            obeyed.append(encoder.stands_for[told] == action)
    return torch.cat(obeyed).float().mean().item()


def _ask(
    dream: Dream,
    decoder: ActionDecoder,
    encoder: ActionEncoder,
    state: DreamState,
    action: Tensor,
    others: Tensor,
    steered: Steered,
) -> tuple[DreamState, Tensor]:
    """The next state of B dreams whose steered slots are asked for an action, and what is read of them, int64 (B,)."""
    device = encoder.gain.device
    slots, latent_actions = state.slots.to(device), others.to(device).clone()
    chosen = steered(slots)
    latent_actions[chosen] = encoder.encode(slots, action.expand(slots.shape[:2]))[chosen]
    after, _ = dream.step(state, latent_actions)
    seen = (part.to(device) for part in dream.between(state, after))
    return after, decoder(*seen).logits.argmax(-1)
