"""`flam-train evaluate`: how well a world predicts held-out video, and whether its actions mean anything."""

import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from flam_env.dream.dream import Dream
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.directory import find_world, is_bundled, load_world
from flam_env.worlds.world import World
from flam_env.worlds.writing import write_atomically
from flam_train.evaluate.report import added_to, check_addition
from flam_train.evaluate.rollouts import rollout_scores
from flam_train.evaluate.rooms.clips import holds_rooms
from flam_train.evaluate.rooms.factorization import check_measures, factorization_scores, measures_of
from flam_train.evaluate.simulator.action_information import information_scores
from flam_train.evaluate.simulator.rate import rate_scores
from flam_train.evaluate.steering import steering_scores
from flam_train.evaluate.tokens import token_scores
from flam_train.evaluate.wholeness import dream_scores
from flam_train.store.clips import Clips, draw_clips
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.training_data import open_data

FEW_CLIPS = 64  # for steering and for long dreams

OfRooms = Literal["dci", "actions", "exactness", "independence"]
Metric = Literal["pixels", "dreams", "rate", "action_information", OfRooms]
OF_ANY_VIDEO: tuple[Metric, ...] = ("pixels", "dreams", "rate")


def evaluate(
    world: str,
    data: Path,
    *,
    metrics: tuple[Metric, ...] = (),
    split: Literal["val", "test"] = "test",
    clips: int = 256,
    context: int | None = None,
    horizon: int = 16,
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
) -> dict:
    """Scores a world on held-out clips and writes a report; single metrics are added to one of the same evaluation.

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store that the world was not trained on, or the held-out splits of the one that it was; or a pack of
            either, which may hold fewer clips.
        metrics: what to score: pixels, long dreams, the rate of latent actions, what they say of known actions
            (action_information, for data that knows the actions of one agent), or how rooms are factorized, whose truth
            is known: dci, actions, exactness, independence. By default pixels, dreams and rate, and for rooms also how
            they are factorized, as far as the world has slots and infers an action of each. Those that are named are
            added to the report that is there, if it is of the same world, data, clips, context, horizon and seed.
        split: which levels.
        clips: how many clips, from random places.
        context: real frames that dreams start from; by default the world's own.
        horizon: predicted frames.
        seed: of the choice of clips and of sampled actions.
        device: cpu, cuda or auto.
        out: the report, or the folder for report.json; by default the world's directory, or here for a bundled world.

    Returns:
        The report.

    Warns:
        UserWarning: the store has another pace than the videos of the world.

    Raises:
        FileNotFoundError: no such world.
        ValueError: frames of another size, too short, nothing to score, a context that the world cannot remember,
            metrics that the store or the world does not allow, or that would be added to the report of another
            evaluation.
        ImportError: a metric needs a package that is missing.
    """
    if clips < 1 or horizon < 1:
        raise ValueError(f"expected clips >= 1 and horizon >= 1, got {clips} and {horizon}")
    directory, store = find_world(world), open_data(data)
    measures = [metric for metric in get_args(OfRooms) if metric in metrics or (not metrics and holds_rooms(store))]
    check_measures(store, measures)
    dream = Dream(_from_context(load_world(directory), context), device)
    measures = _measurable(dream, measures, asked=bool(metrics))
    size = dream.tokenizer.config.image_size
    if store.size != size:
        raise ValueError(f"{data}: expected frames of {size} px, the world's size, got {store.size} px")
    warn_of_store_rate(store, dream.world.settings.frames_per_second)
    length, known = dream.world.settings.context + horizon, dream.model.actions.known
    drawn = draw_clips(store, split, clips, length, seed, known=known)
    report: dict[str, Any] = {
        "world": {"tokenizer": fingerprint(dream.tokenizer), "model": fingerprint(dream.model)},
        "data": {"source": store.source, "split": split, "frames": store.frames(split), "settings": store.settings},
        "clips": drawn.count,
        "context": dream.world.settings.context,
        "horizon": horizon,
        "size": size,
        "seed": seed,
        "machine": {"device": str(dream.device), "processor": platform.machine(), "torch": version("torch")},
    }
    path = out or (Path() if is_bundled(directory) else directory)
    path = path / "report.json" if path.is_dir() else path
    if metrics:
        check_addition(path, report)
    chosen = metrics or (OF_ANY_VIDEO if dream.model.actions.inferred else ("pixels", "dreams"))
    report |= _measured(dream, drawn, chosen, seed)
    if "action_information" in chosen:
        report["action_information"] = information_scores(dream, store, split, seed)
    if measures:
        report["factorization"] = factorization_scores(dream, store, split, clips, length, measures, seed)
    report = added_to(path, report) if metrics else report
    write_atomically(path, json.dumps(report, indent=1).encode())
    return report


def _measurable(dream: Dream, measures: list[OfRooms], *, asked: bool) -> list[OfRooms]:
    """The measures that the world's model can have; it must have those that are asked for."""
    can = measures_of(dream.model)
    if asked and (lacking := [measure for measure in measures if measure not in can]):
        kind = type(dream.model).__name__
        raise ValueError(f"expected metrics that a {kind} can have, got {lacking}; of rooms it can have {sorted(can)}")
    return [measure for measure in measures if measure in can]


def _from_context(world: World, context: int | None) -> World:
    """The world whose dreams start from so many real frames, its own number by default."""
    longest = world.model.window
    if context is None:
        return world
    if not 1 <= context <= longest:
        raise ValueError(f"expected a context of 1 to {longest} frames, as many as the world remembers, got {context}")
    return replace(world, settings=replace(world.settings, context=context))


def _measured(dream: Dream, clips: Clips, metrics: tuple[Metric, ...], seed: int) -> dict[str, Any]:
    """The metrics of any video among those that are asked for."""
    every = slice(None, None, max(clips.count // FEW_CLIPS, 1))
    few, report = Clips(clips.frames[every], clips.agents[every]), dict[str, Any]()
    if "pixels" in metrics:
        report |= _scores(dream, clips, few, seed)
    if "dreams" in metrics:
        report["dreams"] = dream_scores(dream, few, seed)
    if "rate" in metrics:
        report["rate"] = rate_scores(dream, clips, seed)
    return report


def _scores(dream: Dream, clips: Clips, few: Clips, seed: int) -> dict:
    table = rollout_scores(dream, clips, seed)
    pixels = {name: value for name, value in table.items() if name.endswith(("_psnr", "_ssim"))}
    agents = np.array(clips.agents)
    rows = {"all": agents == agents} | {kind: agents == kind for kind in sorted(set(clips.agents))}
    measures = {
        "gap_to_recon_db": table["recon_psnr"].mean() - table["prediction_psnr"].mean(),
        "gain_over_copy_last_db": table["prediction_psnr"].mean() - table["copy_last_psnr"].mean(),
        "inferred_minus_sampled_db": table["prediction_psnr"].mean() - table["sampled_psnr"].mean(),
        "nats_per_frame": table["nats"].mean(),
        "nats_lost_by_units": table["nats_lost"].mean(),
        "labels_inside_box": table["inside_box"].mean(),
    }
    if dream.world.units is not None:
        measures["action_dimensions"] = dream.world.units.dim
    if dream.model.actions.slots > 1:
        measures |= {f"steering_{name}": value for name, value in steering_scores(dream, few, seed).items()}
    measures |= token_scores(dream, clips)
    return {
        "scores": {kind: {n: float(v[chosen].mean()) for n, v in pixels.items()} for kind, chosen in rows.items()},
        "per_step": {name: value.mean(0).tolist() for name, value in pixels.items()},
        "measures": {name: float(value) for name, value in measures.items()},
    }
