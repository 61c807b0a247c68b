"""Videos that become labelled episodes, whole or cut, named by what they are: their content, first and last frame."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flam_env.video.decoding import content_hash
from flam_env.video.images import list_images
from flam_env.video.rates import alike, check_rate, resample, warn_of_rate
from flam_env.video.reader import read_timed, read_video, video_rate
from flam_train.sources.unlabelled import Unlabelled
from flam_train.store.header import read_header
from flam_train.store.rates import SETTING
from flam_train.store.store import Episode, EpisodeStore

AGENT = "video"
LONGEST_TITLE = 100  # letters of a file's name in that of an episode, for file systems take 255 in all
NO_PIXELS = np.zeros((0, 0, 3), np.uint8)
_NAME = re.compile(r"(?:(.*)-)?([0-9a-f]{12})(?:-(\d+)(?:-(\d+))?)?")


class Stretch(NamedTuple):
    """What an episode of video is, whatever it is called: a hash of the video, and its first and last frame.

    Without frames it is all of the video. One with a first frame only is of an earlier release, which told a number.
    """

    content: str
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        if self.last is None:
            return "all" if self.first is None else f"stretch {self.first}"
        return f"frames {self.first} to {self.last}"

    def name(self, title: str) -> str:
        """Name of the episode, without ending."""
        return f"{_title(title)}-{self.content}" + ("" if self.first is None else f"-{self.first}-{self.last}")

    @classmethod
    def named(cls, name: str) -> "Stretch | None":
        """What the episode of a name is, None for an episode that is no such video."""
        if not (found := _NAME.fullmatch(name)):
            return None
        _, content, *frames = found.groups()
        return cls(content, *(None if frame is None else int(frame) for frame in frames))


def whole_videos(paths: Sequence[Path], split: str, fps: float | None = None) -> list[Unlabelled]:
    """One for each video file or folder of images; of copies, only the first.

    Args:
        paths: of files and folders.
        split: where the episodes belong.
        fps: as for `read_video`.

    Raises:
        ValueError: a path is neither, or has fewer than two frames.
        ImportError: PyAV or Pillow is not installed.
    """
    found = dict[Stretch, Unlabelled]()
    for path in paths:
        if (count := sum(1 for _ in islice(read_video(path, fps), 2))) < 2:
            raise ValueError(f"expected a video of 2 or more frames, got {path} with {count}; leave it out")
        stretch = Stretch(_content(path))
        name = stretch.name(path.resolve().stem)
        found.setdefault(stretch, Unlabelled(split, name, None, partial(read_video, path, fps), _facts))
    return list(found.values())


def stretches(path: Path, split: str, cuts: Sequence[int], fps: float | None = None) -> list[Unlabelled]:
    """A video that is cut: one for each stretch between cuts.

    Args:
        path: of a video file or folder of images.
        split: where the stretches belong.
        cuts: frames of the video as it is, ascending, with which another stretch begins.
        fps: as for `read_video`, of each stretch on its own.

    Raises:
        ValueError: as for `whole_videos`, cuts are none of the video's, or a stretch has fewer than two frames.
        ImportError: PyAV or Pillow is not installed.
    """
    timed = None if fps is None else [each._replace(frame=NO_PIXELS) for each in read_timed(path)]
    length = sum(1 for _ in read_video(path)) if timed is None else len(timed)
    bounds = list(pairwise([0, *(cut for cut in cuts if cut), length]))
    counts = [after - first for first, after in bounds]
    if timed is not None and min(counts) > 0:
        counts = [sum(1 for _ in resample(timed[first:after], check_rate(fps))) for first, after in bounds]
    if min(counts) < 2:
        raise ValueError(
            f"{path}: expected ascending cuts into stretches of 2 or more of its {length} frames, got {tuple(cuts)}, "
            f"which give stretches of {counts}; change them"
        )
    content, title = _content(path), path.resolve().stem
    found = []
    for (first, after), count in zip(bounds, counts, strict=True):
        stretch = Stretch(content, first, after - 1) if len(bounds) > 1 else Stretch(content)
        found.append(Unlabelled(split, stretch.name(title), count, partial(_stretch, path, first, after, fps), _facts))
    return found


def rate_settings(paths: Sequence[Path], fps: float | None, out: Path) -> dict[str, float]:
    """What the settings of a store say of the rate of its videos; nothing where there is one of which nobody knows.

    Args:
        paths: of the video files and folders that come to it.
        fps: what all are brought to, None for not at all.
        out: folder of the store, which may not be there yet.

    Raises:
        ValueError: videos of different rates, or `fps` is none.
    """
    there = read_header(out)["settings"] if (out / "store.json").is_file() else None
    held = there.get(SETTING) if there else None
    rate = held if fps is None else check_rate(fps)
    rates = {path: video_rate(path) for path in paths} if fps is None else {}
    for path, found in rates.items():
        rate = rate or found
        if found and rate and not alike(found, rate):
            raise ValueError(
                f"expected videos of {rate:g} frames a second, as {'the store holds' if held else 'others have'}, got "
                f"{path} of {found:g}; give --fps, which brings all to one, or label it into a folder of its own"
            )
    unknown = held is None and (there is not None or None in rates.values())
    return {} if rate is None or unknown else {SETTING: round(rate, 3)}


def warn_of_rates(paths: Sequence[Path], fps: float | None, world: float) -> None:
    """Warns, as `warn_of_rate` does, of one video of each rate."""
    for rate, path in {video_rate(path): path for path in reversed(paths)}.items():
        warn_of_rate(rate, fps, world, str(path))


def missing_videos(paths: Sequence[Path], found: list[Unlabelled], store: EpisodeStore) -> list[Unlabelled]:
    """Those that a labelled store does not hold yet, under whatever name.

    Args:
        paths: of the files and folders.
        found: what is made of them.
        store: where they go.

    Raises:
        ValueError: another split of the store holds one of the videos, it was cut at other frames, or the store holds
            a folder of images with other images.
    """
    wanted = {stretch: each for each in found if (stretch := Stretch.named(each.name))}
    videos = {stretch.content: each for stretch, each in wanted.items()}
    records = [record for split in store.splits for record in store.episodes(split)]
    held = [(stretch, record) for record in records if (stretch := Stretch.named(record.path.stem))]
    for stretch, record in held:
        video = videos.get(stretch.content)
        if video is not None and record.split != video.split:
            raise ValueError(
                f"expected videos for the split {video.split} that no other split holds, got {video.name}, which is "
                f"{record.path}; leave it out, or label it into a folder of its own"
            )
        if video is not None and stretch not in wanted:
            raise ValueError(
                f"expected {video.name} to be new or cut as before, but {record.path} holds {stretch} of it; repeat "
                "the cuts of before, label it into a folder of its own, or move away what is there of it"
            )
    _refuse_changed(paths, set(videos), [(stretch.content, record.path) for stretch, record in held])
    there = {stretch for stretch, _ in held}
    return [each for stretch, each in wanted.items() if stretch not in there]


def _refuse_changed(paths: Sequence[Path], found: set[str], held: Sequence[tuple[str, Path]]) -> None:
    """Refuses what a store would hold twice: folders with other images, files that were known by all their bytes."""
    folders = {_title(path.resolve().stem): path for path in paths if path.is_dir()}
    bytewise = {_hash_of_files([path]): path for path in paths if not path.is_dir()} if held else {}
    for content, episode in held:
        if file := bytewise.get(content):
            raise ValueError(
                f"expected {file} to be new, but {episode} holds it, labelled by an earlier release; label into a "
                "folder of its own"
            )
        name = _NAME.fullmatch(episode.stem)
        if name and (folder := folders.get(name[1])) and content not in found:
            raise ValueError(
                f"expected {folder} with the images of before, which {episode} holds, got others; if some came to it "
                "or have changed, label it into a folder of its own, or move away what is there of it; if it is "
                "another video, give the folder another name"
            )


def _title(name: str) -> str:
    """What the episode of a file or folder of a name begins with."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:LONGEST_TITLE] or AGENT


def _stretch(path: Path, first: int, after: int, fps: float | None) -> Iterator[np.ndarray]:
    if fps is None:
        return islice(read_video(path), first, after)
    return resample(islice(read_timed(path), first, after), fps)


def _facts(length: int) -> Episode:
    return Episode(
        frames=np.zeros((0, 0, 0, 3), np.uint8),
        actions=np.zeros((length, 0), np.int16),
        rewards=np.zeros(length, np.float32),
        level_seed=-1,
        agent=AGENT,
        terminated=False,
    )


def _content(path: Path) -> str:
    """Of a file its pictures, however they are wrapped; of a folder its files, in their order."""
    return _hash_of_files(list_images(path)) if path.is_dir() else content_hash(path).hex()[:12]


def _hash_of_files(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:12]
