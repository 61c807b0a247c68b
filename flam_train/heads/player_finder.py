"""Learns which slots hold the player before anything is done, from who a decoder then finds to have acted."""

from typing import Any

import torch
from torch import Tensor, nn

from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_env.heads.player_finder import PlayerFinder, PlayerFinderConfig
from flam_env.worlds.checkpoint import round_as_stored
from flam_train.heads.few_labels import learn_from_labels
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.player_slot import attention_of


def learn_player_finder(
    decoder: ActionDecoder, seen: Transitions, labels: LabelledTransitions, unlabelled: Transitions, **settings: Any
) -> PlayerFinder:
    """A player finder, fitted to what the attention of a decoder that has learned turns out to be.

    Args:
        decoder: of the same world.
        seen: P transitions, those of the labels.
        labels: P of them; they say which episode each is of.
        unlabelled: U further transitions.
        settings: as for `learn_from_labels`, whose errors it raises.
    """
    torch.manual_seed(settings["fit_config"].seed)
    finder = PlayerFinder(PlayerFinderConfig(slot_dim=decoder.config.slot_dim))
    every = Transitions.join([seen, unlabelled])
    data = {"slots": every.slots[:, 0], "attention": attention_of(decoder, every)}
    learn_from_labels(finder, data, labels, _finding, taught=len(unlabelled.slots), **settings)
    return round_as_stored(finder)


def _finding(finder: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    logits, attention = finder(batch["slots"]).float(), batch["attention"]
    found = (logits.argmax(-1) == attention.argmax(-1)).float().mean()
    return {"loss": -(attention * logits.log_softmax(-1)).sum(-1).mean(), "found": found}
