"""`flam-train evaluate`: how well a world predicts held-out video, and whether its actions mean anything."""

import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from flam_env.dream.dream import Dream
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.finding import find_world, is_bundled
from flam_env.worlds.loading import load_world
from flam_env.worlds.world import World
from flam_env.worlds.writing import write_atomically
from flam_train.evaluate.perceptual.scores import load_judges, perceptual_scores
from flam_train.evaluate.report import added_to, check_addition
from flam_train.evaluate.rooms.clips import holds_rooms
from flam_train.evaluate.rooms.factorization import check_measures, factorization_scores, measures_of
from flam_train.evaluate.simulator.action_information import information_scores
from flam_train.evaluate.simulator.continuous_probe import continuous_scores
from flam_train.evaluate.simulator.real_keys import OfRealKeys, plan_real_keys, real_key_scores
from flam_train.evaluate.simulator.report import OfSimulator, plan_simulator, simulator_scores
from flam_train.evaluate.video_scores import OfAnyVideo, video_scores
from flam_train.store.clips import draw_clips
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.training_data import open_data

OfRooms = Literal["dci", "actions", "exactness", "independence"]
Metric = Literal[
    OfAnyVideo, "action_information", "continuous_actions", OfSimulator, OfRealKeys, "lpips", "fvd", OfRooms
]


def evaluate(
    world: str,
    data: Path,
    *,
    metrics: tuple[Metric, ...] = (),
    split: Literal["val", "test"] = "test",
    clips: int = 256,
    context: int | None = None,
    horizon: int = 16,
    long_dreams: int = 128,
    long_dream_steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    seen: Path | None = None,
    out: Path | None = None,
) -> dict:
    """Scores a world on held-out clips and writes a report; single metrics are added to one of the same evaluation.

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store that the world was not trained on, or the held-out splits of the one that it was; or a pack of
            either, which may hold fewer clips.
        metrics: what to score: pixels, windows of dreams, the rate of latent actions; what these say of known actions
            (action_information, for data that knows the actions of one agent; continuous_actions, for data whose
            actions are real numbers, such as how a car moved); whether long dreams are told from real video (realism,
            by networks and by the world's own sign); of games without painted backgrounds, whose entities are found in
            the pixels, whether slots hold and follow them (slots) and know how fast they move (velocity), whether as
            much goes on in long dreams (life), and up to which step both hold (horizon, which brings realism and life);
            whether dreams do what the keys of the real game ask for (obedience, tracking, and in Starpilot shots);
            lpips and fvd, whose weights `flam-train fetch-metrics` gets; or how rooms are factorized, whose truth is
            known: dci, actions, exactness, independence. By default pixels, dreams and rate, and for rooms also how
            they are factorized, as far as the world has slots and infers an action of each. Those that are named are
            added to the report that is there, if it is of the same world, data, clips, context, horizon and seed.
        split: which levels.
        clips: how many clips, from random places.
        context: real frames that dreams start from; by default the world's own.
        horizon: predicted frames.
        long_dreams: how many long dreams realism, life and horizon are of, fewer if there are not as many places.
        long_dream_steps: how long they are; by default as long as what half of the data's frames are part of, at most
            200. They are scored by stretches: 1-16, 17-50, 51-100, 101-200, or up to their end.
        seed: of the choice of clips and of sampled actions.
        device: cpu, cuda or auto.
        seen: folder that keeps what the network of FVD saw, which takes long on a CPU: real video and what another
            world of the same tokenizer has in common with this one is then looked at once. By default nothing is kept.
        out: the report, or the folder for report.json; by default the world's directory, or here for a bundled world.

    Returns:
        The report.

    Warns:
        UserWarning: the store has another pace than the videos of the world, or its keys were not drawn at random and
            held where obedience, tracking or shots is asked for.

    Raises:
        FileNotFoundError: no such world, or no weights for lpips or fvd.
        ValueError: frames of another size, clips or episodes that are too short, nothing to score, a context that the
            world cannot remember, metrics that the store or the world does not allow, or that would be added to the
            report of another evaluation.
        ImportError: a metric needs a package that is missing.
    """
    if clips < 1 or horizon < 1:
        raise ValueError(f"expected clips >= 1 and horizon >= 1, got {clips} and {horizon}")
    if long_dreams < 2:
        raise ValueError(f"expected long_dreams >= 2, to learn on some and test on others, got {long_dreams}")
    directory, store = find_world(world), open_data(data)
    measures = [metric for metric in get_args(OfRooms) if metric in metrics or (not metrics and holds_rooms(store))]
    check_measures(store, measures)
    judges = load_judges(metrics, size=store.size, horizon=horizon, clips=clips, seen=seen)
    dream = Dream(_from_context(load_world(directory), context), device)
    measures = _measurable(dream, measures, asked=bool(metrics))
    size = dream.tokenizer.config.image_size
    if store.size != size:
        raise ValueError(f"{data}: expected frames of {size} px, the world's size, got {store.size} px")
    warn_of_store_rate(store, dream.world.settings.frames_per_second)
    length, known = dream.world.settings.context + horizon, dream.model.actions.known
    plan = plan_simulator(dream, store, split, metrics, length, dreams=long_dreams, steps=long_dream_steps, seed=seed)
    keyed = plan_real_keys(dream, store, metrics)
    drawn = draw_clips(store, split, clips, length, seed, known=known or bool(keyed))
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
    of_any = get_args(OfAnyVideo) if dream.model.actions.inferred else ("pixels", "dreams")
    report |= video_scores(dream, drawn, metrics or of_any, seed)
    report |= perceptual_scores(dream, drawn, judges, seed)
    report |= simulator_scores(dream, store, split, drawn, plan, seed)
    report |= real_key_scores(dream, store, drawn, keyed, seed)
    if "action_information" in metrics:
        report["action_information"] = information_scores(dream, store, split, seed)
    if "continuous_actions" in metrics:
        report["continuous_actions"] = continuous_scores(dream, store, split, seed)
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
