"""`flam-train label`: infers the latent actions of videos and keeps them beside the frames, in an episode store."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flam_env.checkpoint import fingerprint
from flam_env.labeller import Labeller, Labels
from flam_env.videos import frame_pieces
from flam_train.cli import Positional, run_command
from flam_train.data.episode import EpisodeLabels, import_h5py
from flam_train.data.minari_export import check_minari, export_minari
from flam_train.data.store import EpisodeStore
from flam_train.data.unlabelled import Unlabelled, episodes, stretches, videos

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("labelling needs tqdm: pip install 'flam-env[train]'") from error


def label(
    video: Positional[tuple[Path, ...]],
    *,
    world: str,
    out: Path,
    split: Literal["train", "val", "test"] = "train",
    starts: tuple[int, ...] = (),
    minari: str | None = None,
    device: str = "auto",
) -> EpisodeStore:
    """Labels videos, or the episodes of a store, with the latent actions of a world; run again to resume or to extend.

    Writes a store of episodes: the frames in the size of the world, and the latent action of every slot from each
    frame to the next; where the world has an action decoder, also the real action that was most likely taken, and the
    probability of each. Each episode appears once it is whole; those that are there already are left as they are.

    Args:
        video: video files, folders of images (sorted by name), or one episode store on its own.
        world: name of a bundled world or directory of one's own.
        out: folder of the labelled store; it takes labels of this world and decoder only.
        split: where videos go; episodes of a store stay in their own split.
        starts: of one video that is cut: the frames, ascending, with which another scene begins, as `--starts 120,345`.
            Each becomes an episode of its own.
        minari: also write all of it as a new Minari dataset of this name, e.g. bigfish/labelled-v0, lossless.
        device: cpu, cuda or auto.

    Raises:
        FileNotFoundError: no such world.
        ValueError: a video cannot be read or is too short, or the folder or the name is taken by something else.
        ImportError: an optional package is missing.
    """
    import_h5py()
    if minari is not None:
        check_minari(minari)
    labeller = Labeller.from_pretrained(world, device)
    found, origin = _find(video, split, starts)
    store = EpisodeStore.create(
        out,
        source=origin["source"],
        size=labeller.world.tokenizer.config.image_size,
        settings=origin["settings"] | _origin_of_labels(labeller),
    )
    there = {(each, record.path.stem) for each in store.splits for record in store.episodes(each)}
    missing = {(each.split, each.name): each for each in found if (each.split, each.name) not in there}
    lengths = [each.length or 0 for each in missing.values()]
    with tqdm(total=sum(lengths) or None, desc="label", unit=" frames", disable=None) as bar:
        for each in missing.values():
            _label_episode(labeller, each, store, bar)
    if minari is not None:
        export_minari(store, minari, world)
    print(f"{out}: labelled {len(missing)} episodes, {len(there)} were there before")
    return store


def _find(paths: tuple[Path, ...], split: str, starts: tuple[int, ...]) -> tuple[list[Unlabelled], dict[str, Any]]:
    """What is to be labelled, and source and settings of where it came from."""
    stores = [path for path in paths if (path / "store.json").is_file()]
    if not paths or (stores and len(paths) > 1):
        raise ValueError(
            f"expected video files and folders of images, or one episode store on its own, got {len(paths)} paths with "
            f"{len(stores)} stores; label each store into a folder of its own"
        )
    if starts and (stores or len(paths) > 1):
        raise ValueError(f"expected --starts with one video only, got {len(paths)} paths; label one after the other")
    if stores:
        store = EpisodeStore.open(stores[0])
        return episodes(store), {"source": store.source, "settings": store.settings}
    found = stretches(paths[0], split, starts) if starts else videos(paths, split)
    return found, {"source": "video", "settings": {}}


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


if __name__ == "__main__":
    run_command(label)
