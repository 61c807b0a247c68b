"""All that a world learns from a few labels: what real actions look like, what they ask for, and who takes them."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_env.heads.action_encoder import ActionEncoder
from flam_env.heads.player_finder import PlayerFinder
from flam_env.labelling.labeller import Labeller
from flam_env.worlds.checkpoint import round_as_stored
from flam_train.heads.dreamt_play import STEPS, draw_starts, dream_of_keys
from flam_train.heads.encoder import choose_gain, learn_encoder
from flam_train.heads.few_labels import hold_out
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.learning import action_scores, all_logits
from flam_train.heads.models import LabelLearning, learn_decoder, learn_taught_decoder
from flam_train.heads.player_finder import learn_player_finder
from flam_train.heads.player_slot import attention_of
from flam_train.store.tokens import TokenSplit


class Heads(NamedTuple):
    """What is learned of a world, by the names that its heads have there."""

    decoder: ActionDecoder
    encoder: ActionEncoder
    player_finder: PlayerFinder


def learn_heads(
    labeller: Labeller,
    video: TokenSplit,
    seen: Transitions,
    unlabelled: Transitions,
    labels: LabelledTransitions,
    learning: LabelLearning,
    out: Path,
) -> tuple[Heads, bool]:
    """The heads, and whether this is the process that writes them.

    A decoder learns first, and by it encoder and player finder; by these dreams take real actions, and another decoder
    learns from such dreams as well.

    Args:
        labeller: of the world, which need not have them.
        video: that dreams begin in.
        seen: P transitions, those of the labels.
        unlabelled: U further ones.
        labels: P of them.
        learning: how.
        out: where the world with these heads goes; logs go to `training` there.

    Raises:
        ValueError: as for `learn_decoder`.
    """
    logs, product = out / "training", out / "decoder.safetensors"
    network, result = learn_decoder(
        labeller.world, seen, labels, learning, logs / "decoder", unlabelled=unlabelled, product=product
    )
    settings = learning.settings(network.config)
    encoder = learn_encoder(network, seen, labels, learning.classes, out=logs / "action_encoder", **settings)
    finder = learn_player_finder(network, seen, labels, unlabelled, out=logs / "player_finder", **settings)
    choose_gain(labeller.dream, network, encoder, finder.holds)
    if learning.config.dreamt >= STEPS:
        more, likely = _dreams(labeller, Heads(network, encoder, finder), video, seen, labels, learning)
        told = all_logits(network, unlabelled).softmax(-1)
        network, result = learn_taught_decoder(
            network.config,
            seen,
            labels,
            learning,
            logs / "decoder_dreamt",
            taught=(Transitions.join([unlabelled, more]), torch.cat([told, likely])),
            product=product,
        )
    network.controlled_slot.copy_(attention_of(network, seen).mean(0).argmax())
    return Heads(round_as_stored(network), encoder, finder), result.main


def _dreams(
    labeller: Labeller,
    heads: Heads,
    video: TokenSplit,
    seen: Transitions,
    labels: LabelledTransitions,
    learning: LabelLearning,
) -> tuple[Transitions, Tensor]:
    """Transitions of dreams in which real actions are asked for at random, and what was likely done, (D, C)."""
    world, seed = labeller.world, learning.fit_config.seed
    dream = Dream(replace(world, heads={**world.heads, **heads._asdict()}), labeller.dream.device)
    starts = draw_starts(video, learning.config.dreamt // STEPS, world.model.window, seed=seed)
    dreamt = dream_of_keys(dream, starts, seed=seed)
    held_out = hold_out(labels, learning.config.held_out, seed)[1]
    logits, actions = all_logits(heads.decoder, seen.at(held_out)), torch.from_numpy(labels.actions[held_out])
    right = action_scores(logits, actions, learning.classes)["class_accuracy"]
    told = all_logits(heads.decoder, dreamt.seen)
    return dreamt.seen, dreamt.likely(told, right, torch.from_numpy(learning.classes))
