"""All that a world learns from a few labels: what real actions look like, what they ask for, and who takes them."""

from pathlib import Path
from typing import NamedTuple

from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_env.heads.action_encoder import ActionEncoder
from flam_env.heads.player_finder import PlayerFinder
from flam_env.labelling.labeller import Labeller
from flam_env.worlds.checkpoint import round_as_stored
from flam_train.heads.draws import Supervision
from flam_train.heads.encoder import choose_gain, learn_encoder
from flam_train.heads.models import LabelLearning, learn_decoder
from flam_train.heads.player_finder import learn_player_finder
from flam_train.heads.player_slot import attention_of


class Heads(NamedTuple):
    """What is learned of a world, by the names that its heads have there."""

    decoder: ActionDecoder
    encoder: ActionEncoder
    player_finder: PlayerFinder


def learn_heads(
    labeller: Labeller,
    seen: Transitions,
    unlabelled: Transitions,
    known: Supervision,
    learning: LabelLearning,
    out: Path,
) -> tuple[Heads, bool]:
    """The heads, and whether this is the process that writes them.

    Args:
        labeller: of the world, which need not have them.
        seen: P transitions, those of the labels.
        unlabelled: U further ones.
        known: the labels.
        learning: how.
        out: where the world with these heads goes; logs go to `training` there.

    Raises:
        ValueError: as for `learn_decoder`.
    """
    logs, labels, product = out / "training", known.learned, out / "decoder.safetensors"
    network, result = learn_decoder(
        labeller.world, seen, labels, learning, logs / "decoder", unlabelled=unlabelled, product=product
    )
    network.controlled_slot.copy_(attention_of(network, seen).mean(0).argmax())
    settings = learning.settings(network.config)
    encoder = learn_encoder(network, seen, known, out=logs / "action_encoder", **settings)
    finder = learn_player_finder(network, seen, labels, unlabelled, out=logs / "player_finder", **settings)
    choose_gain(labeller.dream, network, encoder, finder.holds)
    return Heads(round_as_stored(network), encoder, finder), result.main
