"""`flam-train ground`: learns from a few labels which real actions latent ones stand for (paper 4.3, C.3)."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flam_env.labelling.labeller import Labeller
from flam_env.warn import warn_user
from flam_env.worlds.finding import check_writable, find_world
from flam_env.worlds.loading import load_world
from flam_env.worlds.saving import add_heads
from flam_env.worlds.writing import write_atomically
from flam_train.engine import FitConfig
from flam_train.heads.draws import draw_unlabelled, supervise
from flam_train.heads.few_labels import LEARNING, LearningConfig
from flam_train.heads.grounding_report import decoder_report, obedience, scores_on
from flam_train.heads.inverse_model import SupervisedInverse
from flam_train.heads.learn_heads import Heads, learn_heads
from flam_train.heads.mirrors import known_mirrors, with_mirrored
from flam_train.heads.models import DecoderSize, LabelLearning, frame_pairs
from flam_train.heads.watching import watch
from flam_train.heads.without_world import learn_without_world, scores_without_world
from flam_train.presets import SMALL
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.store import EpisodeStore
from flam_train.store.training_data import TrainingData, open_data, token_splits

REPORT = "decoder.json"
SIZE = DecoderSize()


def ground(
    world: str,
    data: Path,
    *,
    labels: int = 10_000,
    out: Path | None = None,
    actions: int | None = None,
    also: tuple[Path, ...] = (),
    supervised: bool = True,
    size: DecoderSize = SIZE,
    learning: LearningConfig = LEARNING,
    fit_config: FitConfig = SMALL.decoder_fit,
    device: str = "auto",
) -> Path:
    """Learns the action decoder, encoder and player finder of a world from a few labels, and makes them heads of it.

    From then on the labeller also tells real actions, `RealActions` takes them, and the world knows which slot the
    player is. `decoder.json` tells how often the decoder is right on the val split, and beside it models that learned
    from the same labels without the world: one sees both frames, the other (state_only) the one before alone, from
    which much can be told where whoever played had reasons. Where it is known what a game's actions become in a mirror,
    all learn from labelled frames in mirrors too; a decoder does not with a pack, which lacks the frames. Once decoder
    or model has learned, it tells the actions of more transitions of the same video, and another like it learns from
    these too. A last decoder learns also from dreams in which real actions are asked for at random.

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store of episodes, some of whose real actions are known (the others are -1, or there are none), or a
            pack of one; labels are drawn from its train split.
        labels: how many transitions are labelled, those held out included; the seed of `fit_config` decides which.
        out: where the world with these heads goes, by default its own directory, or a folder of one's own for a
            bundled world; logs go to `training` there. A run that was interrupted goes on where it was.
        actions: size of the real action space; by default the source's own.
        also: further stores, as of keys that were drawn at random and held, on whose val splits all are scored too.
        supervised: also learn the models without the world, for the report; they see frames whose size is a multiple of
            16, and so need a store: with a pack they are left out, with a warning.
        size: of the decoder, and the dropout of all models.
        learning: how labels are used.
        fit_config: budget and optimiser, of all models.
        device: where the world runs: cpu, cuda or auto.

    Returns:
        The directory of the world that has them.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no such store, one of other frames or without actions, more labels than transitions or fewer than
            real actions, other play of another source or two of one name, or the directory holds another decoder or is
            a bundled world's.
    """
    store, labeller = open_data(data), Labeller(load_world(world, without=Heads._fields), device)
    warn_of_store_rate(store, labeller.world.settings.frames_per_second)
    out = find_world(world) if out is None else Path(out)
    check_writable(out)
    filmed = _filmed(store) if supervised else None
    others = _other_play(also, store)
    known = supervise(store, labels, actions=actions, seed=fit_config.seed)
    tokens = token_splits(store, labeller.dream.tokenizer, labeller.dream.device)
    world_hash = labeller.world.fingerprint()
    identity = {"learning": asdict(learning), "labels": labels, "world": world_hash} | store.identity()
    both = LabelLearning(
        classes=known.classes,
        size=size,
        config=learning,
        fit_config=fit_config,
        identity=identity,
        mirrors=known_mirrors(store.source, len(known.classes)) if isinstance(store, EpisodeStore) else {},
    )
    unlabelled = draw_unlabelled(store, "train", known.learned, learning.unlabelled, seed=fit_config.seed)
    seen = watch(labeller, tokens["train"], known.learned.at.followed_by(unlabelled))
    told, untold = seen.at(slice(labels)), seen.at(slice(labels, None))
    told, learned = with_mirrored(labeller, store, told, known.learned, both.mirrors, seed=fit_config.seed)
    heads, main = learn_heads(labeller, tokens["train"], told, untold, learned, both, out)
    report: dict[str, Any] = {"labels": labels, "seed": fit_config.seed, "world": world_hash}
    report["scored"] = len(known.scored)
    report |= decoder_report(heads.decoder, watch(labeller, tokens["val"], known.scored.at), known)
    report |= obedience(labeller, *heads)
    worldless = dict[str, SupervisedInverse]()
    if filmed is not None:
        pairs, more = (frame_pairs(filmed, at) for at in (known.learned.at, unlabelled))
        worldless = learn_without_world(pairs, known.learned, both, out / "training", unlabelled=more)
    report |= scores_without_world(worldless, store, known.scored, known.classes)
    score = partial(scores_on, labeller, heads.decoder, worldless, known.classes, fit_config.seed)
    report["also"] = {name: score(play) for name, play in others.items()}
    if main:
        add_heads(world, heads._asdict(), out)
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


def _other_play(also: tuple[Path, ...], learned: TrainingData) -> dict[str, EpisodeStore]:
    """Stores, by name, on which what was learned from data of the same source and size can be scored.

    Raises:
        ValueError: one is of another, or two have one name.
    """
    others = {Path(path).name: _like(open_data(Path(path)), learned) for path in also}
    if len(others) < len(also):
        raise ValueError(f"expected stores of different names to score on as well, got {[str(path) for path in also]}")
    return others


def _like(data: TrainingData, learned: TrainingData) -> EpisodeStore:
    if isinstance(data, EpisodeStore) and (data.source, data.size) == (learned.source, learned.size):
        return data
    raise ValueError(
        f"expected a store of {learned.source} in {learned.size} px to score on as well, got {data.root}, "
        f"{data.source} in {data.size} px; leave it out of `also`, or collect one"
    )
