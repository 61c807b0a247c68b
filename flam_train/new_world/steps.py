"""`flam-train new-world`: a store or a pack becomes a world, step by step; killed and called again as you like."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flam_env.dream.dream import Dream
from flam_env.worlds.loading import load_world
from flam_env.worlds.writing import write_atomically
from flam_train.engine import is_finished
from flam_train.engine.locks import folder_lock
from flam_train.evaluate.evaluate import Metric, evaluate
from flam_train.evaluate.report import read_report
from flam_train.heads.token_sampler import REPORT as SAMPLER_REPORT
from flam_train.heads.token_sampler import token_sampler
from flam_train.new_world.advice import advise, read_signs
from flam_train.new_world.card import CARD, card
from flam_train.new_world.plan import Budget, Choices, Plan, keep_plan
from flam_train.new_world.proposals import propose
from flam_train.new_world.watching import Seen, watch
from flam_train.phases.export import START_FRAMES
from flam_train.phases.scheduled_sampling import scheduled_sampling
from flam_train.phases.tokenizer import FILE as TOKENIZER
from flam_train.phases.tokenizer import tokenizer
from flam_train.phases.world_model import CLIP_FRAMES, world_model
from flam_train.pictures.dreams import dreams
from flam_train.store.clips import draw_clips
from flam_train.store.training_data import TrainingData, open_data

TRAINED = "trained"
"""The folder, in that of the world, of the world before scheduled sampling."""
PICTURE = "dreams.png"
LONG_DREAMS = 32
OF_THINGS: tuple[Metric, ...] = ("slots", "velocity", "life")
"""Metrics beside those of any video, which need things that stand out from a background that stands still."""
NEEDED = {"train": CLIP_FRAMES, "val": START_FRAMES, "test": START_FRAMES}
"""Frames that some episode of each split must have."""


@dataclass(frozen=True, kw_only=True)
class NewWorld:
    """What came of it.

    Attributes:
        directory: of the world.
        report: its scores.
        unscored: metrics that do not apply, and why.
        advice: what to do about what went wrong, by what that is.
        picture: of its dreams.
    """

    directory: Path
    report: dict[str, Any]
    unscored: dict[str, str]
    advice: dict[str, str]
    picture: Path


def new_world(
    data: Path,
    *,
    out: Path,
    preset: str = "small",
    minutes: float = 0.0,
    slots: int | None = None,
    patch_size: int | None = None,
    price: float | None = None,
    last_price: float | None = None,
    free_share: float | None = None,
    tokenizer_steps: int | None = None,
    world_model_steps: int | None = None,
    sampling_steps: int | None = None,
    sampler_steps: int | None = None,
    clips: int | None = None,
    seed: int = 0,
) -> NewWorld:
    """Makes a world of any video: tokenizer, world model with a prior, scheduled sampling, token sampler, scores, card.

    What is not asked for is proposed from the data; `OUT/plan.json` says what was chosen, and why, before anything is
    trained. Killed, it goes on where it was when it is called again in the same way. The world before scheduled
    sampling is `OUT/trained`.

    Args:
        data: a store, as `flam-train import` makes it, or a pack.
        out: the directory of the world.
        preset: sizes and optimiser: small, tiny, paper, rooms or gpu.
        minutes: for all of it, shared among the phases and scores, by the clock; 0 trains for the preset's steps, so
            that a seed means the same world everywhere.
        slots: K, how many things can be told apart.
        patch_size: side of a patch in pixels.
        price: of a nat that is told, at first; a higher one makes dreams hold and predictions worse.
        last_price: of a nat in the end.
        free_share: first share of the world model's training in which nothing is charged.
        tokenizer_steps: of training the tokenizer.
        world_model_steps: of training the world model.
        sampling_steps: of scheduled sampling.
        sampler_steps: of training the token sampler.
        clips: held-out clips that scores are of.
        seed: of everything.

    Returns:
        The world's directory and scores, what went wrong and what to do.

    Raises:
        ValueError: no such data, or too short or too few films; no such preset, too few minutes, a value out of range;
            or `out` holds another world, or something else.
        ImportError: an optional package is missing.
    """
    _require_one_process()
    store, out = open_data(data), Path(out)
    _check_lengths(store)
    steps = {"tokenizer": tokenizer_steps, "world_model": world_model_steps, "scheduled_sampling": sampling_steps}
    steps["token_sampler"] = sampler_steps
    given: dict[str, Any] = {phase: Budget(steps=count) for phase, count in steps.items() if count is not None}
    prices = {"price": price, "last_price": last_price, "free_share": free_share}
    asked = {"slots": slots, "patch_size": patch_size, "clips": clips} | prices
    given |= {name: value for name, value in asked.items() if value is not None}
    seen = watch(store)
    plan = propose(store, seen, preset=preset, minutes=minutes, seed=seed, given=given)
    keep_plan(out, plan)
    with folder_lock(out):
        print(f"{out}: a world of {data}", *plan.lines(), sep="\n", flush=True)
        train(store, out, plan.choices)
        unscored = score(store, out, plan.choices)
        return _finish(store, out, plan, seen, unscored)


def train(data: TrainingData, out: Path, choices: Choices) -> None:
    """The trainings; those that are done are skipped."""
    trained = out / TRAINED
    if choices.tokenizer is not None:
        fit = choices.tokenizer.of(choices.sizes.tokenizer_fit, choices.seed)
        if not (is_finished(trained / "training" / "tokenizer", fit) and (trained / TOKENIZER).is_file()):
            tokenizer(data.root, out=trained, model=choices.tokenizer_config, fit_config=fit)
    fit = choices.world_model.of(choices.sizes.world_model_fit, choices.seed)
    if not (is_finished(trained / "training" / "world_model", fit) and _is_world(trained)):
        world_model(data.root, out=trained, model=choices.world_model_config, fit_config=fit, loss=choices.loss)
    fit = choices.scheduled_sampling.of(choices.sizes.scheduled_sampling_fit, choices.seed)
    if not (is_finished(out / "training" / "scheduled_sampling", fit) and _is_world(out)):
        scheduled_sampling(os.path.abspath(trained), data.root, out=out, fit_config=fit)
    if choices.token_sampler is not None and not (out / SAMPLER_REPORT).is_file():
        fit = choices.token_sampler.of(choices.sizes.token_sampler_fit, choices.seed)
        token_sampler(os.path.abspath(out), data.root, fit_config=fit)


def score(data: TrainingData, out: Path, choices: Choices) -> dict[str, str]:
    """Writes the report, one metric after another; returns those that do not apply, and why."""
    unscored = dict[str, str]()
    for metrics in ((), *((metric,) for metric in OF_THINGS)):
        path = out / "report.json"
        if path.is_file() and set(metrics) <= set(read_report(path)):
            continue
        try:
            evaluate(
                os.path.abspath(out),
                data.root,
                metrics=metrics,
                clips=choices.clips,
                long_dreams=LONG_DREAMS,
                seed=choices.seed,
            )
        except ValueError as error:
            if not metrics:
                raise
            unscored[metrics[0]] = str(error)
    return unscored


def _finish(data: TrainingData, out: Path, plan: Plan, seen: Seen, unscored: Mapping[str, str]) -> NewWorld:
    """The picture, the advice and the card."""
    report, dream = read_report(out / "report.json"), Dream(load_world(os.path.abspath(out)), "auto")
    held_out = draw_clips(data, "test", plan.choices.clips, report["context"] + report["horizon"], plan.choices.seed)
    advice = advise(read_signs(dream, held_out, seen, report))
    if not (out / PICTURE).is_file():
        dreams(os.path.abspath(out), out=out / PICTURE, seed=plan.choices.seed)
    write_atomically(out / CARD, card(out, plan, report, unscored, advice).encode())
    return NewWorld(directory=out, report=report, unscored=dict(unscored), advice=advice, picture=out / PICTURE)


def _is_world(directory: Path) -> bool:
    return (directory / "config.json").is_file()


def _check_lengths(data: TrainingData) -> None:
    """Raises ValueError unless each split has an episode that is long enough, and says how long the longest is."""
    for split, frames in NEEDED.items():
        longest = max((record.frames for record in data.episodes(split)), default=0)
        if longest < frames:
            raise ValueError(
                f"{data.root}: expected an episode of {frames} frames or more in split {split!r}, got {longest} at "
                "most; import longer films, three or more of them, with a higher --fps or without --cuts"
            )


def _require_one_process() -> None:
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ValueError(
            f"expected one process, got {processes} of torchrun; call the command of each phase in its place, as "
            "`flam-train world-model`"
        )
