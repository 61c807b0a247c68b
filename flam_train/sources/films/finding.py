"""Which films there are at the paths that a person names: files, folders of them, folders of images, data sets."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from flam_env.video.arrays import ARRAYS, is_array, open_videos
from flam_env.video.images import IMAGES, VIDEOS, list_images
from flam_env.video.reader import check_path
from flam_train.sources.films.film import ArrayFilm, Film, PathFilm
from flam_train.sources.films.known_actions import BESIDE
from flam_train.sources.films.minari_film import is_minari, minari_films


def find_films(paths: Iterable[Path]) -> tuple[list[Film], dict[str, str]]:
    """The films at these paths, each once, in the order of names; and why others are none, by path.

    A folder is searched with all that lie in it, but for hidden ones. Images in one that holds no video are one film;
    beside videos they are thumbnails.
    """
    found, refused, places = list[Film](), dict[str, str](), dict[Path, None]()
    for path in paths:
        try:
            places |= dict.fromkeys(_places(check_path(path)))
        except ValueError as error:
            refused[str(path)] = str(error)
    for place in places:
        try:
            found += _films(place)
        except (ValueError, OSError) as error:
            refused[str(place)] = str(error)
    return found, refused


def _places(path: Path) -> list[Path]:
    """The files and the folders of images at a path, and in all folders below it.

    Raises:
        ValueError: a folder without any.
    """
    if not path.is_dir() or is_minari(path):
        return [path]
    found = [place for folder, below, names in os.walk(path) for place in _in_folder(Path(folder), below, names)]
    if not found:
        raise ValueError(f"expected videos or images in the folder {path}, got none; name another one")
    return sorted(found, key=lambda place: place.parts)


def _in_folder(folder: Path, below: list[str], names: list[str]) -> Iterator[Path]:
    """What films lie in a folder itself; those below that are not to be looked into are taken out of `below`."""
    below[:] = sorted(
        name for name in below if not name.startswith(".") and not (folder / name / "store.json").exists()
    )
    for name in [name for name in below if is_minari(folder / name)]:
        below.remove(name)
        yield folder / name
    shown = [folder / name for name in sorted(names) if not name.startswith(".")]
    files = [path for path in shown if path.suffix.lower() in VIDEOS + ARRAYS and not path.name.endswith(BESIDE)]
    yield from files
    if not files and any(path.suffix.lower() in IMAGES for path in shown):
        yield folder


def _films(place: Path) -> list[Film]:
    if is_minari(place):
        return list(minari_films(place))
    if place.is_dir():
        list_images(place)
    elif is_array(place) and (videos := open_videos(place)).ndim == 5:
        return [ArrayFilm(place, number) for number in range(len(videos))]
    return [PathFilm(place)]
