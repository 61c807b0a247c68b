"""Do dreams do what the keys of the real game ask for? A judge reads the key from two frames of a dream.

The judge learned from real play, drawn as the tokenizer draws it. Much can be read off the frame before alone, e.g. the
key that is held, so a model that sees no more than that is the zero of the score, and the judge on real video its one.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_uint8
from flam_train.engine import FitConfig
from flam_train.evaluate.simulator.same_keys import SameKeys
from flam_train.heads.few_labels import LearningConfig
from flam_train.heads.known_actions import LabelledTransitions, action_classes, all_labels
from flam_train.heads.learning import all_logits
from flam_train.heads.models import DecoderSize, LabelLearning
from flam_train.heads.without_world import learn_without_world
from flam_train.store.training_data import TrainingData, token_splits

LEARNED = 20_000  # transitions of real play, about: whole episodes are taken
LEARNING = LearningConfig(held_out=0.1, evaluate_every=100, patience=4)
FIT = FitConfig(
    steps=1500, batch_size=64, learning_rate=1.5e-3, warmup_steps=50, decay_share=0.5, weight_decay=0.1, ema=0.99
)
CHUNK = 256


class Judges(NamedTuple):
    """Two models of one make, which tell keys from a frame and the next one, or from the first of these twice."""

    judge: nn.Module
    state_only: nn.Module


def learn_judges(
    pairs: tuple[Tensor, Tensor], labels: LabelledTransitions, actions: int, *, seed: int = 0, fit: FitConfig = FIT
) -> Judges:
    """Learns to tell keys from real play.

    Args:
        pairs: frames uint8 (P, H, W, 3) before and after; height and width are multiples of 16.
        labels: P of them, with keys of different effect only.
        actions: C, number of real actions.
        seed: of both models.
        fit: budget of each.

    Raises:
        ValueError: frames of another size, or all labels are of one episode.
    """
    classes, fit = np.arange(actions), replace(fit, seed=seed)
    learning = LabelLearning(classes=classes, size=DecoderSize(), config=LEARNING, fit_config=fit, identity={})
    with torch.random.fork_rng(devices=[]), TemporaryDirectory() as out:
        models = learn_without_world(pairs, labels, learning, Path(out))
    return Judges(models["supervised"], models["state_only"])


def obedience(judges: Judges, pressed: SameKeys, classes: np.ndarray) -> list[dict[str, Any]]:
    """How often dreams do what they are asked for, by the transition of each step that is scored.

    Args:
        judges: that learned from real play.
        pressed: real keys in dreams.
        classes: int64 (C,), the action that stands for all those with the same effect.

    Returns:
        For each step its number; obeyed: share of the dreams in which the judge reads the key; judge_on_real,
        state_only: share of the real transitions there, as the tokenizer draws them, whose key the judge or the model
        that sees the frame before alone tells; score: (obeyed - state_only) / (judge_on_real - state_only), None
        where the judge is no better; error: standard error of the score over clips; keys: for each class of keys that
        is pressed there, by the action that stands for it, how many clips press it, and obeyed and judge_on_real of
        these.
    """
    return [_of_step(judges, pressed, classes, step) for step in pressed.scored]


def _of_step(judges: Judges, pressed: SameKeys, classes: np.ndarray, step: int) -> dict[str, Any]:
    around = slice(step - 1, step + 1)
    dreamt, real = (torch.from_numpy(video[:, around]).unbind(1) for video in (pressed.dreamt, pressed.recon))
    readings = {
        "obeyed": (judges.judge, dreamt),
        "judge_on_real": (judges.judge, real),
        "state_only": (judges.state_only, (real[0], real[0])),
    }
    wanted = classes[pressed.keys[:, step - 1]]
    right = {
        name: classes[all_logits(network, (before, after)).argmax(-1).numpy()] == wanted
        for name, (network, (before, after)) in readings.items()
    }
    scores = _shares(right) | _score(*(right[name].astype(float) for name in readings))
    return {"step": step} | scores | {"keys": _by_key(wanted, right)}


def _by_key(wanted: np.ndarray, right: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What is read right in the clips of each key int (B,), out of bool (B,) each."""
    read = {name: right[name] for name in ("obeyed", "judge_on_real")}
    rows = {key: np.flatnonzero(wanted == key) for key in np.unique(wanted)}
    return {
        str(key): {"clips": len(of)} | _shares({name: told[of] for name, told in read.items()})
        for key, of in rows.items()
    }


def _shares(right: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(told.mean()) for name, told in right.items()}


def _score(obeyed: np.ndarray, judge: np.ndarray, state_only: np.ndarray) -> dict[str, float | None]:
    """The score of what is right in each clip, 0 or 1 (B,), and its standard error, to first order."""
    gained, possible = obeyed - state_only, judge - state_only
    if possible.mean() <= 0:
        return {"score": None, "error": None}
    score = gained.mean() / possible.mean()
    spread = (gained - score * possible).std() / possible.mean()
    return {"score": float(score), "error": float(spread / np.sqrt(len(gained)))}


def obedience_scores(dream: Dream, data: TrainingData, pressed: SameKeys, seed: int = 0) -> dict[str, Any]:
    """The part of a report: the judges learn from the train split of the data.

    Returns:
        clips: how many; learned: transitions that the judges learned from; after: as `obedience`.

    Raises:
        ValueError: nobody knows keys, or as for `learn_judges`.
    """
    classes = action_classes(data)
    labels = all_labels(data, "train", actions=len(classes))
    labels = labels.take(labels.at.some_episodes(LEARNED, seed))
    labels = replace(labels, actions=classes[labels.actions])
    judges = learn_judges(_drawn_pairs(dream, data, labels), labels, len(classes), seed=seed, fit=FIT)
    return {"clips": len(pressed.keys), "learned": len(labels), "after": obedience(judges, pressed, classes)}


@torch.inference_mode()
def _drawn_pairs(dream: Dream, data: TrainingData, labels: LabelledTransitions) -> tuple[Tensor, Tensor]:
    """Frames uint8 (P, H, W, 3) before and after transitions of the train split, as the tokenizer draws them."""
    tokens = token_splits(data, dream.tokenizer, dream.device)["train"]
    at = tokens.rows(labels.at, length=2)
    rows, places = np.unique([at, at + 1], return_inverse=True)
    before, after = torch.from_numpy(places.reshape(2, -1))
    parts = torch.from_numpy(tokens.tokens[rows].astype(np.int64)).split(CHUNK)
    frames = torch.cat([to_uint8(dream.tokenizer.decode(part.to(dream.device))).cpu() for part in parts])
    return frames[before], frames[after]
