"""Films that become labelled episodes, whole or cut, named by what they are: their content, first and last frame."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from flam_env.video.rates import alike, check_rate, resample, warn_of_rate
from flam_train.sources.films.film import Film, PathFilm, at_rate, hash_of_files
from flam_train.sources.films.stretches import NAME, Stretch, plain_title, unknown_facts
from flam_train.sources.unlabelled import Unlabelled
from flam_train.store.header import read_header
from flam_train.store.rates import SETTING
from flam_train.store.store import EpisodeStore

NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


def whole_videos(films: Sequence[Film], split: str, fps: float | None = None) -> list[Unlabelled]:
    """One for each film; of copies, only the first.

    Args:
        films: which.
        split: where the episodes belong.
        fps: as for `read_video`.

    Raises:
        ValueError: a film cannot be read, or has fewer than two frames.
        ImportError: PyAV or Pillow is not installed.
    """
    found = dict[Stretch, Unlabelled]()
    for film in films:
        if (count := sum(1 for _ in islice(film.frames(fps), 2))) < 2:
            raise ValueError(f"expected a video of 2 or more frames, got {film.origin} with {count}; leave it out")
        stretch = Stretch(film.content())
        name = stretch.name(film.title)
        found.setdefault(stretch, Unlabelled(split, name, None, partial(film.frames, fps), unknown_facts))
    return list(found.values())


def stretches(film: Film, split: str, cuts: Sequence[int], fps: float | None = None) -> list[Unlabelled]:
    """A video that is cut: one for each stretch between cuts.

    Args:
        film: which.
        split: where the stretches belong.
        cuts: frames of the video as it is, ascending, with which another stretch begins.
        fps: as for `read_video`, of each stretch on its own.

    Raises:
        ValueError: as for `whole_videos`, cuts are none of the video's, or a stretch has fewer than two frames.
        ImportError: PyAV or Pillow is not installed.
    """
    timed = None if fps is None else [each._replace(frame=NO_PIXELS) for each in film.read()]
    length = sum(1 for _ in film.read()) if timed is None else len(timed)
    bounds = list(pairwise([0, *(cut for cut in cuts if cut), length]))
    counts = [after - first for first, after in bounds]
    if timed is not None and min(counts) > 0:
        counts = [sum(1 for _ in resample(timed[first:after], check_rate(fps))) for first, after in bounds]
    if min(counts) < 2:
        raise ValueError(
            f"{film.origin}: expected ascending cuts into stretches of 2 or more of its {length} frames, got "
            f"{tuple(cuts)}, which give stretches of {counts}; change them"
        )
    content, title = film.content(), film.title
    found = []
    for (first, after), count in zip(bounds, counts, strict=True):
        stretch = Stretch(content, first, after - 1) if len(bounds) > 1 else Stretch(content)
        found.append(
            Unlabelled(split, stretch.name(title), count, partial(_stretch, film, first, after, fps), unknown_facts)
        )
    return found


def rate_settings(films: Sequence[Film], fps: float | None, out: Path) -> dict[str, float]:
    """What the settings of a store say of the rate of its videos; nothing where there is one of which nobody knows.

    Args:
        films: that come to it.
        fps: what all are brought to, None for not at all.
        out: folder of the store, which may not be there yet.

    Raises:
        ValueError: videos of different rates, or `fps` is none.
    """
    there = read_header(out)["settings"] if (out / "store.json").is_file() else None
    held = there.get(SETTING) if there else None
    rate = held if fps is None else check_rate(fps)
    rates = {film.origin: film.rate() for film in films} if fps is None else {}
    for origin, found in rates.items():
        rate = rate or found
        if found and rate and not alike(found, rate):
            raise ValueError(
                f"expected videos of {rate:g} frames a second, as {'the store holds' if held else 'others have'}, got "
                f"{origin} of {found:g}; give --fps, which brings all to one, or label it into a folder of its own"
            )
    unknown = held is None and (there is not None or None in rates.values())
    return {} if rate is None or unknown else {SETTING: round(rate, 3)}


def warn_of_rates(films: Sequence[Film], fps: float | None, world: float) -> None:
    """Warns, as `warn_of_rate` does, of one video of each rate."""
    for rate, origin in {film.rate(): film.origin for film in reversed(films)}.items():
        warn_of_rate(rate, fps, world, origin)


def missing_videos(films: Sequence[Film], found: list[Unlabelled], store: EpisodeStore) -> list[Unlabelled]:
    """Those that a labelled store does not hold yet, under whatever name.

    Args:
        films: which.
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
    _refuse_changed(films, set(videos), [(stretch.content, record.path) for stretch, record in held])
    there = {stretch for stretch, _ in held}
    return [each for stretch, each in wanted.items() if stretch not in there]


def _refuse_changed(films: Sequence[Film], found: set[str], held: Sequence[tuple[str, Path]]) -> None:
    """Refuses what a store would hold twice: folders with other images, files that were known by all their bytes."""
    there = [film for film in films if isinstance(film, PathFilm)]
    folders = {plain_title(film.title): film.path for film in there if film.path.is_dir()}
    bytewise = {hash_of_files([film.path]): film.path for film in there if film.path.is_file()} if held else {}
    for content, episode in held:
        if file := bytewise.get(content):
            raise ValueError(
                f"expected {file} to be new, but {episode} holds it, labelled by an earlier release; label into a "
                "folder of its own"
            )
        name = NAME.fullmatch(episode.stem)
        if name and (folder := folders.get(name[1])) and content not in found:
            raise ValueError(
                f"expected {folder} with the images of before, which {episode} holds, got others; if some came to it "
                "or have changed, label it into a folder of its own, or move away what is there of it; if it is "
                "another video, give the folder another name"
            )


def _stretch(film: Film, first: int, after: int, fps: float | None) -> Iterator[np.ndarray]:
    return (each.frame for each in at_rate(film, islice(film.read(), first, after), fps))
