"""Pseudo labels of a whole store from a few true ones, by the two models that learn from them.

One pass of the world over the video serves all numbers of labels and all seeds.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from flam_env.checkpoint import write_atomically
from flam_env.labeller import Labeller
from flam_train.action_learning import action_scores, all_logits
from flam_train.data.labelled import LabelledTransitions, action_classes, all_labels, draw_labels
from flam_train.data.store import EpisodeStore
from flam_train.data.tokens import token_cache
from flam_train.few_labels import LEARNING
from flam_train.labelled_models import DecoderSize, LabelLearning, frame_pairs, learn_decoder, learn_supervised
from flam_train.presets import SMALL
from flam_train.studies.policies.runs import Run
from flam_train.watching import watch


class PseudoLabels(NamedTuple):
    """What a model says of every transition of the train split, in the order of its frames.

    probabilities: float16 (P, C), true labels where they were given; scores: of the model on all transitions without;
    world: fingerprint of the world whose slots and latent actions the model saw; empty where it saw frames.
    """

    probabilities: np.ndarray
    scores: dict[str, float]
    world: str


View = Callable[[np.ndarray], tuple[Tensor, Tensor]]
"""What a model sees of some transitions, by their rows."""

PIECE = 16_384
"""Transitions seen at once: the frames of a long store would fill the memory."""

LEARN: dict[str, Callable[..., nn.Module]] = {
    "flam": lambda world, *rest: learn_decoder(world, *rest)[0],
    "supervised": lambda world, *rest: learn_supervised(*rest),
}


def label_path(out: Path, run: Run) -> Path:
    """Where the pseudo labels of a run are."""
    return out / f"{run.name}.npz"


def read_pseudo_labels(path: Path) -> PseudoLabels:
    """What `make_pseudo_labels` wrote."""
    with np.load(path) as file:
        scores = {name: float(file[name]) for name in file.files if name not in ("probabilities", "world")}
        return PseudoLabels(file["probabilities"], scores, str(file["world"]))


def make_pseudo_labels(store: EpisodeStore, labeller: Labeller, runs: Iterable[Run], out: Path) -> None:
    """Writes the pseudo labels of each run of the arms `flam` and `supervised`, unless they are there.

    Raises:
        ValueError: those that are there are of another world, or of another number of transitions.
    """
    classes = action_classes(store)
    every = all_labels(store, "train", actions=len(classes))
    there = {run: label_path(out, run) for run in runs if label_path(out, run).exists()}
    for run, path in there.items():
        _check_made_from(path, _world_seen(run, labeller), len(every))
    missing = [run for run in runs if run not in there]
    views = {arm: VIEWS[arm](store, labeller, every.at) for arm in {run.arm for run in missing}}
    for run in missing:
        assert run.labels is not None, "pseudo labels come from labels"
        labels, view = draw_labels(store, run.labels, actions=len(classes), seed=run.seed), views[run.arm]
        rows = np.searchsorted(every.at, labels.at)
        learning, logs = _learning(store, _world_seen(run, labeller), run, len(classes)), out / "training" / run.name
        network = LEARN[run.arm](labeller.world, view(rows), labels, learning, logs)
        pieces = np.array_split(np.arange(len(every)), -(-len(every) // PIECE))
        logits = torch.cat([all_logits(network, view(piece)) for piece in pieces])
        told = _scored(logits, every, torch.from_numpy(rows), classes)
        write_atomically(label_path(out, run), _packed(*told, world=_world_seen(run, labeller)))


def _world_seen(run: Run, labeller: Labeller) -> str:
    return labeller.world.fingerprint() if run.arm == "flam" else ""


def _check_made_from(path: Path, world: str, transitions: int) -> None:
    told = read_pseudo_labels(path)
    if (told.world, len(told.probabilities)) != (world, transitions):
        raise ValueError(
            f"{path}: expected pseudo labels of {transitions} transitions made with the world {world!r}, got "
            f"{len(told.probabilities)} made with {told.world!r}; move away what was made from others, with its runs"
        )


def _watched(store: EpisodeStore, labeller: Labeller, at: np.ndarray) -> View:
    tokens = token_cache(store, labeller.dream.tokenizer, labeller.dream.device)["train"]
    slots, latent_actions = watch(labeller, tokens, at)
    return lambda rows: (slots[rows], latent_actions[rows])


def _filmed(store: EpisodeStore, labeller: Labeller, at: np.ndarray) -> View:
    return lambda rows: frame_pairs(store, "train", at[rows])


VIEWS: dict[str, Callable[[EpisodeStore, Labeller, np.ndarray], View]] = {
    "flam": _watched,
    "supervised": _filmed,
}


def _learning(store: EpisodeStore, world: str, run: Run, actions: int) -> LabelLearning:
    identity = {"learning": asdict(LEARNING), "labels": run.labels, "world": world} | store.identity()
    return LabelLearning(
        actions=actions,
        size=DecoderSize(),
        config=LEARNING,
        fit_config=replace(SMALL.decoder_fit, seed=run.seed),
        identity=identity,
    )


def _scored(
    logits: Tensor, every: LabelledTransitions, known: Tensor, classes: np.ndarray
) -> tuple[Tensor, dict[str, float]]:
    """Probabilities (P, C), certain where labels are known, and scores of the others."""
    actions = torch.from_numpy(every.actions)
    unknown = torch.ones(len(actions), dtype=torch.bool)
    unknown[known] = False
    probabilities = logits.softmax(-1)
    probabilities[known] = one_hot(actions[known], logits.shape[1]).float()
    return probabilities, action_scores(logits[unknown], actions[unknown], classes)


def _packed(probabilities: Tensor, scores: dict[str, float], **facts: str) -> bytes:
    """The content of a file of pseudo labels."""
    file = BytesIO()
    np.savez(file, probabilities=probabilities.half().numpy(), **{k: np.array(v) for k, v in (scores | facts).items()})
    return file.getvalue()
