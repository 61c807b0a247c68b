"""Learns the way back of an action decoder: which latent action stands for a real one (`flam_env.action_encoder`)."""

from typing import Any

import torch
from torch import Tensor, nn

from flam_env.action_decoder import ActionDecoder
from flam_env.dream import Dream
from flam_env.units import BOUND
from flam_train.data.labelled import LabelledTransitions, Supervision
from flam_train.few_labels import hold_out, learn_from_labels
from flam_train.player_slot import attention_of

GAINS = (1.0, 2.0, 4.0)


def learn_encoder(network: ActionDecoder, inputs: tuple[Tensor, Tensor], known: Supervision, **settings: Any) -> None:
    """Fits the encoder of a decoder that has learned, to the slots as far as the decoder takes them for the player.

    Args:
        network: only its encoder is changed.
        inputs: slots (P, K, S) and latent actions (P, K, A) of the labels to learn from, on the CPU.
        known: the labels.
        settings: as for `learn_from_labels`, whose errors it raises.
    """
    encoder, labels = network.encoder, known.learned
    data = dict(zip(("slots", "latent_actions"), inputs, strict=True))
    data |= {"attention": attention_of(network, inputs), "actions": torch.from_numpy(labels.actions)}
    encoder.stands_for.copy_(torch.from_numpy(known.classes))
    encoder.known.copy_(torch.isin(encoder.stands_for, encoder.stands_for[data["actions"]]))
    learn_from_labels(encoder, data, labels, lambda model, batch: {"loss": _error(model, batch)}, **settings)


def _error(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared error of the latent actions of all slots, each as far as it is the player."""
    actions = batch["actions"][:, None].expand(batch["attention"].shape)
    errors = (encoder(batch["slots"], actions).float() - batch["latent_actions"]).square().mean(-1)
    return (errors * batch["attention"]).sum(-1).mean()


def choose_gain(
    network: ActionDecoder, inputs: tuple[Tensor, Tensor], labels: LabelledTransitions, share: float, seed: int
) -> None:
    """Sets the gain with which the decoder most often reads, in held-out states, what the encoder was asked for."""
    held_out = torch.from_numpy(hold_out(labels, share, seed)[1])
    states = inputs[0][held_out], inputs[1][held_out]
    scores = []
    for gain in GAINS:
        network.encoder.gain.fill_(gain)
        scores.append(share_read_back(network, states))
    network.encoder.gain.fill_(GAINS[scores.index(max(scores))])


@torch.no_grad()
def share_read_back(network: ActionDecoder, inputs: tuple[Tensor, Tensor]) -> float:
    """How often the decoder reads a real action that the controlled slot took by the encoder, the others as they did.

    Each of the transitions, slots (P, K, S) and latent actions (P, K, A), gets one known action after the other, so
    that all are asked for equally often: actions that do nothing are read back by chance only.
    """
    encoder, slot = network.encoder, int(network.controlled_slot)
    choices = encoder.choices
    asked = choices[torch.arange(len(inputs[0])) % len(choices)]
    slots, latent_actions = inputs[0], inputs[1].clone()
    latent_actions[:, slot] = encoder.encode(slots[:, slot], asked)
    told = network(slots, latent_actions).logits.argmax(-1)
    return (encoder.stands_for[told] == asked).float().mean().item()


@torch.inference_mode()
def share_obeyed(dream: Dream, network: ActionDecoder, steered: list[int]) -> float:
    """How often a dream does what these slots are asked for: the decoder reads it from what the dream shows next.

    Every known real action is asked for once after the beginning of each of the world's starts, where the other slots
    do what they did.
    """
    world, encoder, obeyed = dream.world, network.encoder, []
    context = min(world.model.config.window, world.starts.tokens.shape[1] - 1)
    state = dream.reset(world.starts.tokens[:, :context])
    slots = state.slots.cpu()
    for action in encoder.choices:
        latent_actions = world.starts.actions[:, context - 1].clamp(-BOUND, BOUND)
        asked = action.expand(len(slots), len(steered))
        latent_actions[:, steered] = encoder.encode(slots[:, steered], asked)
        after, _ = dream.step(state, latent_actions)
        seen = dream.model.infer(torch.stack([state.slots, after.slots], 1)).mean[:, 0]
        told = network(slots, world.units.from_model(seen).cpu()).logits.argmax(-1)
        obeyed.append(encoder.stands_for[told] == action)
    return torch.cat(obeyed).float().mean().item()
