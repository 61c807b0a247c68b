"""Labelled episodes as a Minari dataset, lossless. Minari is imported in this file only, lazily.

Minari stores images of height x width x 3 as JPEG. Channels go first here, which it stores as they are.
"""

import errno
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from gymnasium.spaces import Box

from flam_train.store.store import SPLITS, Episode, EpisodeStore


def check_minari(name: str) -> None:
    """Raises unless a Minari dataset of this name can be made.

    Raises:
        ValueError: the name is none, or taken.
        ImportError: Minari is not installed.
    """
    minari = _import_minari()
    if not re.fullmatch(r"([\w-][\w/-]*[\w-]/)?[\w-]+-v\d+", name):
        raise ValueError(f"expected a name of a Minari dataset such as bigfish/labelled-v0, got {name!r}")
    if minari.storage.get_dataset_path(name).exists():
        raise ValueError(f"expected the name of a new Minari dataset, got {name!r}, which exists; take another name")


def export_minari(store: EpisodeStore, name: str, world: str) -> None:
    """Writes all labelled episodes of a store as a Minari dataset.

    Observations are uint8 (3, H, W), actions the latent actions float32 (K, A), unclipped. An episode of T frames has
    T - 1 steps and ends truncated: what followed its last action was never seen. Its metadata hold its split and agent.
    Infos, one for each step: `pseudo_action` and `action_probabilities` where the world had an action decoder, and
    `action`, what was really done, where that is known.

    Args:
        store: whose episodes.
        name: as in `minari.load_dataset`, e.g. "bigfish/labelled-v0".
        world: what the world that labelled is called, for the description.

    Raises:
        ValueError: as for `check_minari`, or the store has no labelled transition.
        OSError: the disk has no room for it.
        ImportError: Minari is not installed.
    """
    check_minari(name)
    minari = _import_minari()
    path = minari.storage.get_dataset_path(name)
    records = [record for split in SPLITS for record in store.episodes(split) if record.frames > 1]
    episodes = ((record, episode) for record in records if (episode := store.read(record)).labels is not None)
    dataset, metadata = None, []
    _check_room(path, 3 * store.size**2 * sum(record.frames for record in records))
    try:
        for record, episode in episodes:
            if dataset is None:
                dataset = _empty_dataset(minari, name, store, episode, world)
            dataset.update_dataset_from_buffer([_buffer(minari, episode)])
            metadata.append({"split": record.split, "agent": record.agent})
        if dataset is None:
            raise ValueError(
                f"expected labelled episodes of 2 or more frames, got none in {store.root}; label it first"
            )
        dataset.storage.update_episode_metadata(metadata)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _check_room(path: Path, size: int) -> None:
    """Better now: HDF5 in the hands of Minari crashes on a full disk."""
    there = next(folder for folder in path.parents if folder.exists())
    free = shutil.disk_usage(there).free
    if free < 1.2 * size:
        raise OSError(
            errno.ENOSPC,
            f"a Minari dataset of {size / 2**20:,.0f} MB has no room; make some and run it again",
            str(there),
        )


def _empty_dataset(minari: Any, name: str, store: EpisodeStore, episode: Episode, world: str) -> Any:
    assert episode.labels is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an author and an environment, which videos do not have
        return minari.create_dataset_from_buffers(
            name,
            [],
            observation_space=Box(0, 255, (3, store.size, store.size), np.uint8),
            action_space=Box(-np.inf, np.inf, episode.labels.latent_actions.shape[1:], np.float32),
            algorithm_name="FLAM",
            description=f"{store.source}; actions are latent actions of the world {world} ({episode.labels.world})",
        )


def _buffer(minari: Any, episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    assert episode.labels is not None
    steps = len(episode.frames) - 1
    return EpisodeBuffer(
        observations=np.ascontiguousarray(rearrange(episode.frames, "t h w c -> t c h w")),
        actions=episode.labels.latent_actions,
        rewards=episode.rewards[:steps],
        terminations=np.zeros(steps, bool),
        truncations=np.arange(steps) == steps - 1,
        infos=_infos(episode),
    )


def _infos(episode: Episode) -> dict[str, np.ndarray]:
    """Real actions, guessed and true, as far as they are known."""
    assert episode.labels is not None
    true = episode.actions[:-1] if episode.actions[0].size else None
    found = {
        "pseudo_action": episode.labels.actions,
        "action_probabilities": episode.labels.action_probabilities,
        "action": true,
    }
    return {name: values for name, values in found.items() if values is not None}


def _import_minari() -> Any:
    try:
        import minari
        import PIL  # noqa: F401  (Minari's files need it, which it does not declare)
    except ImportError as error:
        raise ImportError("a Minari dataset is written with Minari: pip install 'flam-env[minari]'") from error
    return minari
