"""`flam-train label`: infers the latent actions of videos and keeps them beside the frames, in an episode store."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from flam_env.labelling.labeller import Labeller, Labels
from flam_env.video.reader import frame_pieces
from flam_env.worlds.checkpoint import fingerprint
from flam_train.engine.locks import folder_lock
from flam_train.sources.films.film import Film
from flam_train.sources.films.finding import find_films
from flam_train.sources.unlabelled import Unlabelled, episodes, missing_episodes
from flam_train.sources.video import missing_videos, rate_settings, stretches, warn_of_rates, whole_videos
from flam_train.store.episode import EpisodeLabels, import_h5py
from flam_train.store.minari import check_minari, export_minari
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.store import SPLITS, EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("labelling needs tqdm: pip install 'flam-env[train]'") from error

LABELLING = ".labelling"
"""The lock of a store that is being labelled."""


class Work(NamedTuple):
    """What is to be labelled, where it came from, and what tells which of it a store does not hold yet."""

    found: list[Unlabelled]
    source: str
    settings: dict[str, Any]
    missing_in: Callable[[list[Unlabelled], EpisodeStore], list[Unlabelled]]


def label(
    video: tuple[Path, ...],
    *,
    world: str,
    out: Path,
    split: Literal["train", "val", "test"] | None = None,
    cuts: tuple[int, ...] = (),
    fps: float | None = None,
    minari: str | None = None,
    device: str = "auto",
) -> EpisodeStore:
    """Labels videos, or the episodes of a store, with the latent actions of a world; run again to resume or to extend.

    Writes a store of episodes: the frames in the size of the world, and the latent action of every slot from each
    frame to the next; where the world has an action decoder, also the real action that was most likely taken, and the
    probability of each. Each episode appears once it is whole; those that are there already are left as they are. A
    video is known by its pictures, first and last frame: a copy under another name or in another container is none, and
    a video that lies there in another split or cut at other frames is refused, as is a folder that lay there with other
    images.

    Args:
        video: what `flam-train import` takes: video files, folders of images (sorted by name), frames of NumPy, Minari
            datasets, folders of all these; or one episode store on its own.
        world: name of a bundled world or directory of one's own.
        out: folder of the labelled store; it takes labels of this world and decoder only, and videos of one rate.
        split: where videos go, by default train; episodes of a store stay in their own split, and it is refused.
        cuts: of one video: the frames, ascending, with which another scene begins, as `--cuts 120,345`. Each scene
            becomes an episode of its own.
        fps: brings videos to so many frames a second, as a player would show them; cuts are frames of the video before.
            Without it every frame is labelled, with a warning where videos have not the rate of the world's.
        minari: also write all of it as a new Minari dataset of this name, e.g. bigfish/labelled-v0, lossless.
        device: cpu, cuda or auto.

    Raises:
        FileNotFoundError: no such world.
        ValueError: a video cannot be read, is too short or has another rate than the others; the folder or the name is
            taken by something else; the store there holds a video in another split, cut at other frames or with other
            images; or another process labels into it.
        ImportError: an optional package is missing.
    """
    import_h5py()
    if minari is not None:
        check_minari(minari)
    if split not in (None, *SPLITS):
        raise ValueError(f"expected a split out of {', '.join(SPLITS)}, got {split!r}; name one of them")
    labeller = Labeller.from_pretrained(world, device)
    pace = labeller.world.settings.frames_per_second
    if _stores(video):
        work = _work_of_store(video, split, cuts, fps, pace)
    else:
        work = _work_of_films(_films(video), split or "train", cuts, fps, pace, out)
    store, new, there = _fill(out, work, labeller)
    if minari is not None:
        export_minari(store, minari, world)
    print(f"{out}: labelled {new} episodes, {there} were there before")
    return store


def _stores(paths: tuple[Path, ...]) -> list[Path]:
    """Those that are episode stores; there may be one, on its own."""
    stores = [path for path in paths if (path / "store.json").is_file()]
    if not paths or (stores and len(paths) > 1):
        raise ValueError(
            f"expected video files and folders of images, or one episode store on its own, got {len(paths)} paths with "
            f"{len(stores)} stores; label each store into a folder of its own"
        )
    return stores


def _work_of_store(
    paths: tuple[Path, ...], split: str | None, cuts: tuple[int, ...], fps: float | None, pace: float
) -> Work:
    if split is not None or cuts or fps is not None:
        raise ValueError(
            f"expected --split, --cuts and --fps with videos only, got the episode store {paths[0]}, whose episodes "
            "stay as they are, each in its own split; leave them out"
        )
    store = EpisodeStore.open(paths[0])
    warn_of_store_rate(store, pace)
    return Work(episodes(store), store.source, store.settings, missing_episodes)


def _films(paths: tuple[Path, ...]) -> list[Film]:
    found, refused = find_films(paths)
    for reason in refused.values():
        raise ValueError(reason)
    return found


def _work_of_films(
    films: list[Film], split: str, cuts: tuple[int, ...], fps: float | None, pace: float, out: Path
) -> Work:
    if cuts and len(films) > 1:
        raise ValueError(f"expected --cuts with one video only, got {len(films)}; label one after the other")
    found = stretches(films[0], split, cuts, fps) if cuts else whole_videos(films, split, fps)
    settings = rate_settings(films, fps, out)
    warn_of_rates(films, fps, pace)
    return Work(found, "video", settings, partial(missing_videos, films))


def _fill(out: Path, work: Work, labeller: Labeller) -> tuple[EpisodeStore, int, int]:
    """Labels what a store does not hold yet, alone there; the store, and how many are new and were there before."""
    with folder_lock(out, name=LABELLING):
        store = EpisodeStore.create(
            out,
            source=work.source,
            size=labeller.world.tokenizer.config.image_size,
            settings=work.settings | _origin_of_labels(labeller),
        )
        missing, there = work.missing_in(work.found, store), sum(len(store.episodes(each)) for each in store.splits)
        length = sum(each.length or 0 for each in missing)
        with tqdm(total=length or None, desc="label", unit=" frames", disable=None) as bar:
            for each in missing:
                _label_episode(labeller, each, store, bar)
    return store, len(missing), there


def _origin_of_labels(labeller: Labeller) -> dict[str, str]:
    """What decides the labels, for the settings of the store."""
    decoder = labeller.world.decoder
    world = {"world": labeller.world.fingerprint()}
    return world if decoder is None else world | {"decoder": fingerprint(decoder)}


def _label_episode(labeller: Labeller, unlabelled: Unlabelled, store: EpisodeStore, bar: tqdm) -> None:
    state, inferred, count = None, [], 0
    with store.adding(unlabelled.split, unlabelled.name) as writer:
        for frames in frame_pieces(unlabelled.frames(), labeller.PIECE, labeller.fitter()):
            writer.append(frames)
            state, labels = labeller.advance(state, frames[None])
            inferred.append(labels)
            count += len(frames)
            bar.update(len(frames))
        stored = _stored_labels(Labels.join(inferred).at(0), store.settings["world"])
        writer.finish(replace(unlabelled.facts(count), labels=stored))


def _stored_labels(labels: Labels, world: str) -> EpisodeLabels:
    actions = None if labels.actions is None else labels.actions.astype(np.int16)
    return EpisodeLabels(
        world=world,
        latent_actions=labels.latent_actions,
        actions=actions,
        action_probabilities=labels.action_probabilities,
    )
