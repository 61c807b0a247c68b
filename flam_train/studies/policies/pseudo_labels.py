"""Pseudo labels of a whole store from a few true ones, by the two models that learn from them.

One pass of the world over the video serves all numbers of labels and all seeds.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from flam_env.labelling.labeller import Labeller
from flam_env.worlds.writing import write_atomically
from flam_train.engine.identity import require_same
from flam_train.heads.draws import draw_labels
from flam_train.heads.few_labels import LEARNING
from flam_train.heads.known_actions import LabelledTransitions, action_classes, all_labels
from flam_train.heads.learn_heads import learn_heads
from flam_train.heads.learning import action_scores, all_logits
from flam_train.heads.mirrors import known_mirrors, with_mirrored
from flam_train.heads.models import DecoderSize, LabelLearning, frame_pairs, learn_supervised
from flam_train.heads.watching import watch
from flam_train.presets import SMALL
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeStore
from flam_train.store.tokens import TokenSplit, token_cache
from flam_train.studies.policies.runs import Run


class PseudoLabels(NamedTuple):
    """What a model says of every transition that the train split had.

    at: P moments, the frame before each; probabilities: float16 (P, C), true labels where they were given; scores: of
    the model on all transitions without; world: fingerprint of the world whose slots and latent actions the model saw;
    empty where it saw frames.
    """

    at: Moments
    probabilities: np.ndarray
    scores: dict[str, float]
    world: str


View = Callable[[np.ndarray], Any]
"""What a model sees of some transitions, by their rows: `Transitions`, or frames."""

PIECE = 16_384
"""Transitions seen at once: the frames of a long store would fill the memory."""


def label_path(out: Path, run: Run) -> Path:
    """Where the pseudo labels of a run are."""
    return out / f"{run.name}.npz"


def read_pseudo_labels(path: Path) -> PseudoLabels:
    """What `make_pseudo_labels` wrote.

    Raises:
        ValueError: the file is of an earlier release, which did not name the moments.
    """
    with np.load(path) as file:
        arrays = dict(file)
    if "names" not in arrays:
        raise ValueError(f"{path}: expected pseudo labels of named moments, got none; move it away, with its runs")
    names = tuple(arrays.pop("names").tolist())
    at = Moments(split="train", names=names, episodes=arrays.pop("episodes"), frames=arrays.pop("frames"))
    probabilities, world = arrays.pop("probabilities"), str(arrays.pop("world"))
    return PseudoLabels(at, probabilities, {name: float(score) for name, score in arrays.items()}, world)


def make_pseudo_labels(store: EpisodeStore, labeller: Labeller, runs: Iterable[Run], out: Path) -> None:
    """Writes the pseudo labels of each run of the arms `flam` and `supervised`, unless they are there.

    Raises:
        ValueError: those that are there are of another world, or of other transitions.
    """
    classes = action_classes(store)
    every = all_labels(store, "train", actions=len(classes))
    there = {run: label_path(out, run) for run in runs if label_path(out, run).exists()}
    for run, path in there.items():
        _check_made_from(path, _world_seen(run, labeller), every.at)
    missing = [run for run in runs if run not in there]
    views = {arm: VIEWS[arm](store, labeller, every.at) for arm in {run.arm for run in missing}}
    for run in missing:
        assert run.labels is not None, "pseudo labels come from labels"
        view, wanted = views[run.arm], min(run.labels + LEARNING.unlabelled, len(every))
        drawn = draw_labels(every, wanted, seed=run.seed)
        rows, others = drawn[: run.labels], drawn[run.labels :]
        learning, logs = _learning(store, _world_seen(run, labeller), run, classes), out / "training" / run.name
        seen, labels, unlabelled = view(rows), every.take(rows), view(others)
        network: nn.Module
        if run.arm == "flam":
            seen, labels = with_mirrored(labeller, store, seen, labels, learning.mirrors, seed=run.seed)
            heads, _ = learn_heads(labeller, _tokens(store, labeller), seen, unlabelled, labels, learning, logs)
            network = heads.decoder
        else:
            network = learn_supervised(seen, labels, learning, logs, unlabelled=unlabelled)
        pieces = np.array_split(np.arange(len(every)), -(-len(every) // PIECE))
        logits = torch.cat([all_logits(network, view(piece)) for piece in pieces])
        told = PseudoLabels(every.at, *_scored(logits, every, rows, classes), _world_seen(run, labeller))
        write_atomically(label_path(out, run), _packed(told))


def _world_seen(run: Run, labeller: Labeller) -> str:
    return labeller.world.fingerprint() if run.arm == "flam" else ""


def _check_made_from(path: Path, world: str, at: Moments) -> None:
    told = read_pseudo_labels(path)
    require_same(
        {"world": told.world, "transitions": len(told.at), "the same moments": told.at.same(at)},
        {"world": world, "transitions": len(at), "the same moments": True},
        where=path,
        kind="a file of pseudo labels",
        advice="move away what was made from others, with its runs",
    )


def _watched(store: EpisodeStore, labeller: Labeller, at: Moments) -> View:
    return watch(labeller, _tokens(store, labeller), at).at


def _tokens(store: EpisodeStore, labeller: Labeller) -> TokenSplit:
    return token_cache(store, labeller.dream.tokenizer, labeller.dream.device)["train"]


def _filmed(store: EpisodeStore, labeller: Labeller, at: Moments) -> View:
    return lambda rows: frame_pairs(store, at.take(rows))


VIEWS: dict[str, Callable[[EpisodeStore, Labeller, Moments], View]] = {
    "flam": _watched,
    "supervised": _filmed,
}


def _learning(store: EpisodeStore, world: str, run: Run, classes: np.ndarray) -> LabelLearning:
    identity = {"learning": asdict(LEARNING), "labels": run.labels, "world": world} | store.identity()
    return LabelLearning(
        classes=classes,
        size=DecoderSize(),
        config=LEARNING,
        fit_config=replace(SMALL.decoder_fit, seed=run.seed),
        identity=identity,
        mirrors=known_mirrors(store.source, len(classes)),
    )


def _scored(
    logits: Tensor, every: LabelledTransitions, rows: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Probabilities float16 (P, C), certain in rows whose labels are known, and scores of the others."""
    actions, known = torch.from_numpy(every.actions), torch.from_numpy(rows)
    unknown = torch.ones(len(actions), dtype=torch.bool)
    unknown[known] = False
    probabilities = logits.softmax(-1)
    probabilities[known] = one_hot(actions[known], logits.shape[1]).float()
    return probabilities.half().numpy(), action_scores(logits[unknown], actions[unknown], classes)


def _packed(told: PseudoLabels) -> bytes:
    """The content of a file of pseudo labels."""
    where = {"names": np.array(told.at.names), "episodes": told.at.episodes, "frames": told.at.frames}
    facts = {name: np.array(value) for name, value in (told.scores | {"world": told.world}).items()}
    file = BytesIO()
    np.savez(file, probabilities=told.probabilities, **where, **facts)
    return file.getvalue()
