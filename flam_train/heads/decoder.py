"""`flam-train decoder`: learns from a few labels which real actions latent ones stand for (paper 4.3, C.3)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flam_env.heads.action_decoder import ActionDecoder
from flam_env.heads.action_encoder import ActionEncoder
from flam_env.labelling.labeller import Labeller
from flam_env.warn import warn_user
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.finding import check_writable, find_world
from flam_env.worlds.loading import load_world
from flam_env.worlds.saving import add_heads
from flam_env.worlds.writing import write_atomically
from flam_train.engine import FitConfig
from flam_train.heads.encoder import REPORTED_BY, choose_gain, learn_encoder, share_obeyed
from flam_train.heads.few_labels import LEARNING, LearningConfig
from flam_train.heads.known_actions import Supervision, supervise
from flam_train.heads.learning import action_scores, all_logits
from flam_train.heads.models import (
    DecoderSize,
    LabelLearning,
    frame_pairs,
    learn_decoder,
    learn_supervised,
)
from flam_train.heads.player_slot import attention_of, share_of_episodes
from flam_train.heads.watching import watch
from flam_train.presets import SMALL
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.store import EpisodeStore
from flam_train.store.tokens import TokenSplit
from flam_train.store.training_data import TrainingData, open_data, token_splits

REPORT = "decoder.json"
SIZE = DecoderSize()
PLAYER_SHARE = 0.1  # of the attention, from which on a slot holds a part of the player


def decoder(
    world: str,
    data: Path,
    *,
    labels: int = 10_000,
    out: Path | None = None,
    actions: int | None = None,
    supervised: bool = True,
    size: DecoderSize = SIZE,
    learning: LearningConfig = LEARNING,
    fit_config: FitConfig = SMALL.decoder_fit,
    device: str = "auto",
) -> Path:
    """Learns the action decoder and encoder of a world from a few labels, and makes them heads of it.

    From then on the labeller also tells real actions, `RealActions` takes them, and the world knows which slot the
    player is. `decoder.json` tells how often the decoder is right on the val split, and beside it a model that learned
    from the same labels without the world.

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store of episodes, some of whose real actions are known (the others are -1, or there are none), or a
            pack of one; labels are drawn from its train split.
        labels: how many transitions are labelled, those held out included; the seed of `fit_config` decides which.
        out: where the world with these heads goes, by default its own directory, or a folder of one's own for a
            bundled world; logs go to `training` there. A run that was interrupted goes on where it was.
        actions: size of the real action space; by default the source's own.
        supervised: also learn the model without the world, for the report; it sees frames whose size is a multiple of
            16, and so needs a store: with a pack it is left out, with a warning.
        size: of the decoder, and the dropout of both models.
        learning: how labels are used.
        fit_config: budget and optimiser, of both models.
        device: where the world runs: cpu, cuda or auto.

    Returns:
        The directory of the world that has them.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no such store, one of other frames or without actions, more labels than transitions or fewer than
            real actions, or the directory holds another decoder or is a bundled world's.
    """
    store, labeller = open_data(data), Labeller(load_world(world, without=("decoder", "encoder")), device)
    warn_of_store_rate(store, labeller.world.settings.frames_per_second)
    out = find_world(world) if out is None else Path(out)
    check_writable(out)
    filmed = _filmed(store) if supervised else None
    known = supervise(store, labels, actions=actions, seed=fit_config.seed)
    tokens = token_splits(store, labeller.dream.tokenizer, labeller.dream.device)
    world_hash = labeller.world.fingerprint()
    identity = {"learning": asdict(learning), "labels": labels, "world": world_hash} | store.identity()
    both = LabelLearning(
        actions=len(known.classes), size=size, config=learning, fit_config=fit_config, identity=identity
    )
    network, encoder, main = _learn_both_ways(labeller, tokens["train"], known, both, out)
    report: dict[str, Any] = {"labels": labels, "seed": fit_config.seed, "world": world_hash}
    report["scored"] = len(known.scored)
    report |= _decoder_report(network, watch(labeller, tokens["val"], known.scored.at), known)
    report |= _obedience(labeller, network, encoder, report["attention"])
    if filmed is not None:
        report["supervised"] = _supervised_scores(filmed, known, both, out)
    if main:
        add_heads(world, {"decoder": network, "encoder": encoder}, out)
        write_atomically(out / REPORT, json.dumps(report, indent=1).encode())
    return out


def _filmed(data: TrainingData) -> EpisodeStore | None:
    """The data as far as it has the pixels of any transition."""
    if isinstance(data, EpisodeStore):
        return data
    warn_user(
        f"{data.root}: the model without the world sees pixels, and a pack has those of a few clips only: it is left "
        "out of the report; take the store to have it there, or say --no-supervised"
    )
    return None


def _learn_both_ways(
    labeller: Labeller, tokens: TokenSplit, known: Supervision, learning: LabelLearning, out: Path
) -> tuple[ActionDecoder, ActionEncoder, bool]:
    """The finished decoder, its way back, and whether this is the process that writes them."""
    inputs, logs = watch(labeller, tokens, known.learned.at), out / "training"
    network, result = learn_decoder(
        labeller.world, inputs, known.learned, learning, logs / "decoder", product=out / "decoder.safetensors"
    )
    network.controlled_slot.copy_(attention_of(network, inputs).mean(0).argmax())
    encoder = learn_encoder(network, inputs, known, out=logs / "action_encoder", **learning.settings(network.config))
    choose_gain(labeller.dream, network, encoder)
    return round_as_stored(network), encoder, result.main


def _supervised_scores(store: EpisodeStore, known: Supervision, learning: LabelLearning, out: Path) -> dict[str, float]:
    """Scores of a model that learned from the same labels without the world."""
    pairs, logs = frame_pairs(store, known.learned.at), out / "training" / "supervised_inverse"
    network = learn_supervised(pairs, known.learned, learning, logs)
    logits = all_logits(network, frame_pairs(store, known.scored.at))
    return action_scores(logits, torch.from_numpy(known.scored.actions), known.classes)


def _decoder_report(network: ActionDecoder, inputs: tuple[Tensor, Tensor], known: Supervision) -> dict[str, Any]:
    """Scores on held-out transitions, and who the player is there."""
    actions = torch.from_numpy(known.scored.actions)
    slot, attention = int(network.controlled_slot), attention_of(network, inputs)
    return {
        "decoder": action_scores(all_logits(network, inputs), actions, known.classes),
        "temperature": network.temperature.item(),
        "floor": (actions.bincount().max() / len(actions)).item(),
        "controlled_slot": slot,
        "controlled_share_of_episodes": share_of_episodes(attention, known.scored.episodes, slot),
        "attention": attention.mean(0).tolist(),
    }


def _obedience(
    labeller: Labeller, network: ActionDecoder, encoder: ActionEncoder, attention: list[float]
) -> dict[str, Any]:
    """How often dreams do what `RealActions` asks for: by the controlled slot, and by all that hold the player."""
    players = [slot for slot, share in enumerate(attention) if share >= PLAYER_SHARE]
    controlled, all_players = (
        share_obeyed(labeller.dream, network, encoder, steered, REPORTED_BY)
        for steered in ([int(network.controlled_slot)], players)
    )
    return {
        "obeyed_by_controlled_slot": controlled,
        "player_slots": players,
        "obeyed_by_player_slots": all_players,
        "obeyed_by_chance": 1 / len(encoder.choices),
        "gain": encoder.gain.item(),
    }
