"""What can be labelled: videos in files and folders, and the episodes of a store; frames are read bit by bit."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from flam_env.videos import list_images, read_video
from flam_train.data.episode import read_episode
from flam_train.data.store import SPLITS, Episode, EpisodeRecord, EpisodeStore

READ_FRAMES = 256


@dataclass(frozen=True)
class Unlabelled:
    """A video that becomes a labelled episode.

    Attributes:
        split: where the episode belongs.
        name: of the episode, without ending; the same for the same video whatever else is labelled.
        length: number of frames, None if that is not known before they are read.
        frames: reads them one by one, uint8 (H, W, 3).
        facts: all else that an episode of so many frames holds; its own frames are none of the video's.
    """

    split: str
    name: str
    length: int | None
    frames: Callable[[], Iterator[np.ndarray]]
    facts: Callable[[int], Episode]


def stretches(path: Path, split: str, starts: tuple[int, ...]) -> list[Unlabelled]:
    """A video that is cut: one for each stretch between cuts, numbered.

    Args:
        path: of a video file or folder of images.
        split: where the stretches belong.
        starts: frames, ascending, with which another stretch begins.

    Raises:
        ValueError: as for `videos`, starts are none of the video's, or a stretch has fewer than two frames.
        ImportError: imageio or PyAV is not installed.
    """
    length, name = sum(1 for _ in read_video(path)), _episode_name(path)
    cuts = [0, *(start for start in starts if start), length]
    if any(last - first < 2 for first, last in pairwise(cuts)):
        raise ValueError(
            f"{path}: expected ascending starts of stretches of 2 or more of its {length} frames, got {starts}; "
            "change them"
        )
    return [
        Unlabelled(split, f"{name}-{number}", last - first, partial(_stretch, path, first, last), _video_facts)
        for number, (first, last) in enumerate(pairwise(cuts))
    ]


def _stretch(path: Path, first: int, last: int) -> Iterator[np.ndarray]:
    return islice(read_video(path), first, last)


def videos(paths: tuple[Path, ...], split: str) -> list[Unlabelled]:
    """One for each video file or folder of images; the name of an episode is the file's and a hash of its content.

    Raises:
        ValueError: a path is neither, or has fewer than two frames.
        ImportError: imageio or PyAV is not installed.
    """
    for path in paths:
        found = sum(1 for _ in islice(read_video(path), 2))
        if found < 2:
            raise ValueError(f"expected a video of 2 or more frames, got {path} with {found}; leave it out")
    return [Unlabelled(split, _episode_name(path), None, partial(read_video, path), _video_facts) for path in paths]


def episodes(store: EpisodeStore) -> list[Unlabelled]:
    """One for each episode, in its own split and under its own name."""
    return [
        Unlabelled(
            split,
            record.path.stem,
            record.frames,
            partial(_stored_frames, store, record),
            partial(_stored_facts, record),
        )
        for split in SPLITS
        for record in store.episodes(split)
    ]


def _video_facts(length: int) -> Episode:
    return Episode(
        frames=np.zeros((0, 0, 0, 3), np.uint8),
        actions=np.zeros((length, 0), np.int16),
        rewards=np.zeros(length, np.float32),
        level_seed=-1,
        agent="video",
        terminated=False,
    )


def _stored_facts(record: EpisodeRecord, length: int) -> Episode:
    assert length == record.frames
    return read_episode(record.path, frames=slice(0, 0))


def _stored_frames(store: EpisodeStore, record: EpisodeRecord) -> Iterator[np.ndarray]:
    for start in range(0, record.frames, READ_FRAMES):
        yield from store.read_frames(record, start, min(start + READ_FRAMES, record.frames))


def _episode_name(path: Path) -> str:
    digest = hashlib.sha256()
    for file in list_images(path) if path.is_dir() else [path]:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    name = re.sub(r"[^A-Za-z0-9]+", "-", path.resolve().stem).strip("-") or "video"
    return f"{name}-{digest.hexdigest()[:12]}"
