"""Episodes of a Minari dataset on disk, read as HDF5: Minari itself need not be installed."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flam_env.video.decoding import TimedFrame
from flam_env.video.frames import channel_advice
from flam_env.video.images import import_pillow
from flam_train.sources.films.film import Film, hash_of_frames, one_a_second
from flam_train.sources.films.known_actions import KnownActions, known_actions
from flam_train.store.hdf5 import open_hdf5

DATA, METADATA = "main_data.hdf5", "metadata.json"
READ_FRAMES = 256


def is_minari(path: Path) -> bool:
    """Whether a folder is that of a Minari dataset, or its `data`."""
    return any((folder / METADATA).is_file() for folder in (path, path / "data"))


def minari_films(path: Path) -> Iterator["MinariFilm"]:
    """A film for each episode.

    Raises:
        ValueError: it is kept in another format than HDF5, is damaged, or has no observations that are images.
    """
    folder = path if (path / METADATA).is_file() else path / "data"
    try:
        kind = json.loads((folder / METADATA).read_text(encoding="utf-8")).get("data_format")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"expected the metadata of a Minari dataset, got others in {folder} ({error})") from error
    if kind != "hdf5" or not (folder / DATA).is_file():
        raise ValueError(
            f"expected a Minari dataset in HDF5, got {folder} in the format {kind!r}; with Minari, copy it by "
            "minari.create_dataset_from_buffers(..., data_format='hdf5')"
        )
    with open_hdf5(folder / DATA) as file:
        names = sorted((name for name in file if name.startswith("episode_")), key=lambda name: int(name[8:]))
        if not names:
            raise ValueError(f"expected episodes in the Minari dataset {folder}, got none; name another one")
        places = [_images(file[name], folder) for name in names]
    name = path.name if path.name != "data" else path.parent.name
    return (MinariFilm(folder, name, episode, place) for episode, place in zip(names, places, strict=True))


@dataclass(frozen=True)
class MinariFilm(Film):
    """One episode.

    folder: in which the data lie; dataset: name of the dataset; episode: its group; images: where in it the frames are.
    """

    folder: Path
    dataset: str
    episode: str
    images: str

    @property
    def origin(self) -> str:
        """Folder and episode."""
        return f"{self.folder}[{self.episode}]"

    @property
    def title(self) -> str:
        """Name of the dataset and episode."""
        return f"{self.dataset}-{self.episode}"

    def content(self) -> str:
        """A hash of the frames."""
        return hash_of_frames(self._frames())

    def read(self) -> Iterator[TimedFrame]:
        """The observations."""
        return one_a_second(self._frames())

    def length(self) -> float:
        """Number of observations."""
        with open_hdf5(self.folder / DATA) as file:
            return len(file[self.episode][self.images])

    def known_actions(self, kind: str) -> KnownActions | None:
        """The actions of the episode, where they are plain numbers; one fewer than observations."""
        if kind == "none":
            return None
        with open_hdf5(self.folder / DATA) as file:
            taken = file[self.episode].get("actions")
            if taken is None or not hasattr(taken, "dtype") or taken.dtype.kind not in "biuf" or taken.ndim > 2:
                return None
            table = taken[:].astype(np.float64).reshape(len(taken), -1)
        return known_actions(
            table, [f"action {i}" for i in range(table.shape[1])], kind, f"the actions of {self.origin}"
        )

    def _frames(self) -> Iterator[np.ndarray]:
        with open_hdf5(self.folder / DATA) as file:
            images = file[self.episode][self.images]
            for first in range(0, len(images), READ_FRAMES):
                for image in images[first : first + READ_FRAMES]:
                    yield _as_frame(image, images.ndim, self.origin)


def _images(episode: Any, folder: Path) -> str:
    """Where in an episode its images are: the observations themselves, or the one part of them that is images."""
    if "observations" not in episode:
        raise ValueError(f"expected observations in {episode.name} of {folder}, got none; copy the dataset again")
    found = list[str]()

    def look(name: str, part: Any) -> None:
        if _is_image(part):
            found.append(name)

    look("observations", episode["observations"])
    if hasattr(episode["observations"], "visititems"):
        episode["observations"].visititems(lambda name, part: look(f"observations/{name}", part))
    if len(found) != 1:
        raise ValueError(
            f"expected observations that are images in {episode.name} of {folder}, one in each step, got {len(found)}; "
            "it is no video"
        )
    return found[0]


def _is_image(part: Any) -> bool:
    return hasattr(part, "dtype") and (_is_coded(part) or (part.dtype == np.uint8 and part.ndim == 4))


def _is_coded(part: Any) -> bool:
    """Whether these are images as JPEG, which Minari makes of most: rows of bytes, of one length or not."""
    if not len(part) or part.ndim > 2 or (part.dtype != np.uint8 and part.dtype.kind != "O"):
        return False
    return bytes(np.asarray(part[0], np.uint8)[:2]) == b"\xff\xd8"


def _as_frame(image: np.ndarray, axes: int, origin: str) -> np.ndarray:
    """One observation as uint8 (H, W, 3); channels may come first."""
    if axes < 3:
        with import_pillow().open(io.BytesIO(bytes(image))) as file:
            return np.array(file.convert("RGB"))
    if image.shape[0] == 3 and image.shape[-1] != 3:
        image = np.moveaxis(image, 0, -1)
    if advice := channel_advice(image.shape):
        raise ValueError(f"expected observations (H, W, 3) or (3, H, W) in {origin}, got {image.shape}; {advice}")
    return np.ascontiguousarray(image)
