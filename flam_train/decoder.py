"""`flam-train decoder`: learns from a few labels which real actions latent ones stand for (paper 4.3, C.3)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flam_env.action_decoder import ActionDecoder, ActionDecoderConfig, save_decoder
from flam_env.checkpoint import write_atomically
from flam_env.labeller import Labeller
from flam_env.world import DECODER, find_world
from flam_train.action_encoding import choose_gain, learn_encoder, share_obeyed, share_read_back
from flam_train.action_learning import (
    LEARNING,
    LearningConfig,
    action_scores,
    all_logits,
    calibrated_temperature,
    hold_out,
    learn_actions,
)
from flam_train.cli import Positional, run_command
from flam_train.data.labelled import LabelledTransitions, Supervision, supervise
from flam_train.data.store import EpisodeStore
from flam_train.data.tokens import TokenSplit, token_cache
from flam_train.engine import FitConfig
from flam_train.player_slot import attention_of, share_of_episodes
from flam_train.presets import SMALL
from flam_train.supervised_inverse import SupervisedInverse, SupervisedInverseConfig
from flam_train.watching import watch

REPORT = "decoder.json"
FEW_LABELS = 3000
PLAYER_SHARE = 0.1  # of the attention, from which on a slot holds a part of the player


@dataclass(frozen=True, kw_only=True)
class DecoderSize:
    """What is free to choose of a decoder."""

    width: int = 128
    """of the layers that each slot passes on its own"""
    dropout: float | None = None
    """share of what a layer sees that is left out in training, of both models; by default 0.2, or 0.5 where there are
    fewer than 3000 labels, which was best of both on Bigfish"""

    def dropout_for(self, labels: int) -> float:
        """What is given, or the default for so many labels."""
        return (0.5 if labels < FEW_LABELS else 0.2) if self.dropout is None else self.dropout


SIZE = DecoderSize()


def decoder(
    world: Positional[str],
    data: Positional[Path],
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
    """Learns the action decoder of a world from a few labels, and writes `decoder.safetensors` into its directory.

    From then on the labeller also tells real actions, `RealActions` takes them, and the world knows which slot the
    player is. `decoder.json` tells how often the decoder is right on the val split, and beside it a model that learned
    from the same labels without the world.

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store of episodes with real actions; labels are drawn from its train split.
        labels: how many transitions are labelled, those held out included; the seed of `fit_config` decides which.
        out: the directory to write to, by default the world's own; logs go to `training` there. A run that was
            interrupted goes on where it was.
        actions: size of the real action space; by default the source's own.
        supervised: also learn the model without the world, for the report.
        size: of the decoder, and the dropout of both models.
        learning: how labels are used.
        fit_config: budget and optimiser, of both models.
        device: where the world runs: cpu, cuda or auto.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no such store, one of other frames or without actions, more labels than transitions or fewer than
            real actions, or the directory holds another decoder.
    """
    store, labeller = EpisodeStore.open(data), Labeller.from_pretrained(world, device)
    out = find_world(world) if out is None else Path(out)
    known = supervise(store, labels, actions=actions, seed=fit_config.seed)
    tokens = token_cache(store, labeller.dream.tokenizer, labeller.dream.device)
    world_hash = labeller.world.fingerprint()
    identity = {"learning": asdict(learning), "labels": labels, "world": world_hash} | store.identity()
    settings: dict[str, Any] = {"config": learning, "fit_config": fit_config, "identity": identity}
    network, main = _learn_decoder(labeller, tokens, known, size, out, settings)
    report: dict[str, Any] = {"labels": labels, "seed": fit_config.seed, "world": world_hash}
    report["scored"] = len(known.scored)
    report |= _decoder_report(network, watch(labeller, tokens["val"], known.scored.at), known)
    report |= _obedience(labeller, network, report["attention"])
    if main:
        save_decoder(out / DECODER, network, world_hash)
    if supervised:
        report["supervised"] = _supervised_scores(labeller, tokens, known, size, out, settings)
    if main:
        write_atomically(out / REPORT, json.dumps(report, indent=1).encode())
        print(json.dumps(report, indent=1))
    return out / DECODER


def _learn_decoder(
    labeller: Labeller,
    tokens: dict[str, TokenSplit],
    known: Supervision,
    size: DecoderSize,
    out: Path,
    settings: dict[str, Any],
) -> tuple[ActionDecoder, bool]:
    """The finished decoder, and whether this is the process that writes it."""
    sizes = labeller.world.model.config
    config = ActionDecoderConfig(
        slots=sizes.slots,
        slot_dim=sizes.dim,
        latent_dim=labeller.world.units.dim,
        actions=len(known.classes),
        width=size.width,
        dropout=size.dropout_for(len(known.learned)),
    )
    inputs = watch(labeller, tokens["train"], known.learned.at)
    learning, seed = settings["config"], settings["fit_config"].seed
    torch.manual_seed(seed)
    network = ActionDecoder(config)
    network.encoder.requires_grad_(False)
    settings = settings | {"identity": settings["identity"] | {"model": asdict(config)}}
    log, product = out / "training" / "decoder", out / DECODER
    result = learn_actions(network, inputs, known.learned, out=log, product=product, **settings)
    _round_as_stored(network)
    _calibrate(network, inputs, known.learned, learning.held_out, seed)
    network.controlled_slot.copy_(attention_of(network, inputs).mean(0).argmax())
    network.encoder.requires_grad_(True)
    learn_encoder(network, inputs, known, out=out / "training" / "action_encoder", **settings)
    _round_as_stored(network)
    choose_gain(network, inputs, known.learned, learning.held_out, seed)
    return network, result.main


def _round_as_stored(network: ActionDecoder) -> None:
    """Gives the network the weights that will be read from its file, so that it is what it will be."""
    for weight in network.parameters():
        weight.data.copy_(weight.data.half())


def _calibrate(
    network: ActionDecoder, inputs: tuple[Tensor, Tensor], labels: LabelledTransitions, share: float, seed: int
) -> None:
    held_out = torch.from_numpy(hold_out(labels, share, seed)[1])
    logits = all_logits(network, (inputs[0][held_out], inputs[1][held_out]))
    temperature = calibrated_temperature(logits, torch.from_numpy(labels.actions)[held_out])
    network.temperature.fill_(temperature).copy_(network.temperature.half())


def _supervised_scores(
    labeller: Labeller,
    tokens: dict[str, TokenSplit],
    known: Supervision,
    size: DecoderSize,
    out: Path,
    settings: dict[str, Any],
) -> dict[str, float]:
    """Scores of a model that learned from the same labels, without the world but for its tokens."""
    sizes = labeller.world.model
    config = SupervisedInverseConfig(
        grid=sizes.config.grid,
        tokens=sizes.quantizer.size,
        actions=len(known.classes),
        dropout=size.dropout_for(len(known.learned)),
    )
    torch.manual_seed(settings["fit_config"].seed)
    network = SupervisedInverse(config)
    settings = settings | {"identity": settings["identity"] | {"model": asdict(config)}}
    pairs = _token_pairs(tokens["train"], known.learned.at)
    learn_actions(network, pairs, known.learned, out=out / "training" / "supervised_inverse", **settings)
    logits = all_logits(network, _token_pairs(tokens["val"], known.scored.at))
    return action_scores(logits, torch.from_numpy(known.scored.actions), known.classes)


def _token_pairs(split: TokenSplit, at: Any) -> tuple[Tensor, Tensor]:
    """Tokens int64 (P, N) of the frames before and after transitions."""
    before, after = split.clips(at, 2).unbind(1)
    return before, after


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
        "gain": network.encoder.gain.item(),
        "read_back": share_read_back(network, inputs),
    }


def _obedience(labeller: Labeller, network: ActionDecoder, attention: list[float]) -> dict[str, Any]:
    """How often dreams do what `RealActions` asks for: by the controlled slot, and by all that hold the player."""
    players = [slot for slot, share in enumerate(attention) if share >= PLAYER_SHARE]
    return {
        "obeyed_by_controlled_slot": share_obeyed(labeller.dream, network, [int(network.controlled_slot)]),
        "player_slots": players,
        "obeyed_by_player_slots": share_obeyed(labeller.dream, network, players),
        "obeyed_by_chance": 1 / len(network.encoder.choices),
    }


if __name__ == "__main__":
    run_command(decoder)
