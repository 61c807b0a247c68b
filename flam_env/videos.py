"""Videos as users have them: arrays, files, folders of images, or whatever yields frames.

Files and folders are read frame by frame, so memory does not grow with their length. imageio and PyAV are imported
here only, when a file or folder is read.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

Video = np.ndarray | str | os.PathLike | Iterable[np.ndarray]
"""uint8 frames (T, H, W, 3) or a batch of videos (B, T, H, W, 3), a file or folder, or frames one by one."""

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of the files that count as images in a folder."""


def read_video(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """The frames of a video file, or of a folder of images, one by one: uint8 (H, W, 3).

    Images come sorted by name, numbers in names by their value; other files in the folder are left out.

    Raises:
        ValueError: there is no such file, or it is no video (while reading: it is damaged); a folder holds no images,
            images that cannot be read, or images of different sizes or of more than 8 bits per channel.
        ImportError: imageio or PyAV is not installed.
    """
    _import_imageio()
    path = Path(path)
    if (path / "store.json").is_file():
        raise ValueError(
            f"expected a video file or a folder of images, got the episode store {path}; label it with "
            f"`flam-train label {path}`"
        )
    if path.is_dir():
        return _read_images(list_images(path))
    if not path.is_file():
        raise ValueError(f"expected a video file or a folder of images, got {path}, which does not exist")
    return _read_file(path)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of their names.

    Raises:
        ValueError: there are none.
    """
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
    if not images:
        raise ValueError(f"expected images ({', '.join(IMAGES)}) in the folder {folder}, got none; name another one")
    return sorted(images, key=_natural)


def open_video(video: Video) -> np.ndarray | Iterator[np.ndarray]:
    """An array (T, H, W, 3) or (B, T, H, W, 3) as it is, anything else as an iterator of frames (H, W, 3).

    Raises:
        ValueError: it is none of these, or as for `read_video`.
        ImportError: as for `read_video`.
    """
    if isinstance(video, str | os.PathLike):
        return read_video(video)
    if isinstance(video, Iterable) and not hasattr(video, "__array__") and not isinstance(video, list | tuple):
        return iter(video)
    try:
        frames = np.asarray(video)
    except ValueError as error:
        raise ValueError(f"expected frames of one size, or videos of one size and length, got {error}") from error
    if frames.ndim not in (4, 5) or 0 in frames.shape[:-4]:
        kinds = "frames (T, H, W, 3), a batch of videos (B, T, H, W, 3), a path, or an iterator of frames (H, W, 3)"
        found = f"shape {frames.shape}" if frames.ndim else repr(video)
        raise ValueError(f"expected {kinds}, got {found}; give one of these")
    return frames


def frame_pieces(
    video: np.ndarray | Iterator[np.ndarray], length: int, fit: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    """What `open_video` returns in pieces (t, H, W, 3) or (B, t, H, W, 3) of about `length` frames, each fitted."""
    if isinstance(video, np.ndarray):
        videos = video.shape[0] if video.ndim == 5 else 1
        step = max(1, length // videos)
        for first in range(0, video.shape[-4], step):
            yield fit(video[..., first : first + step, :, :, :])
    else:
        while piece := [fit(_check_frame(frame)) for frame in islice(video, length)]:
            yield np.stack(piece)


def _check_frame(frame: np.ndarray) -> np.ndarray:
    if np.ndim(frame) != 3:
        raise ValueError(f"expected an iterator of frames (H, W, 3), got one of shape {np.shape(frame)}")
    return frame


def _read_file(path: Path) -> Iterator[np.ndarray]:
    imageio, av = _import_imageio()
    frames = 0
    try:
        for frame in imageio.imiter(path, plugin="pyav"):
            yield frame
            frames += 1
    except (OSError, av.FFmpegError) as error:
        after = f" after {frames} frames" if frames else ""
        raise ValueError(
            f"expected a video that PyAV can read, got {path}, which fails{after} ({error}); copy or encode it again"
        ) from error


def _read_images(paths: list[Path]) -> Iterator[np.ndarray]:
    imageio, _ = _import_imageio()
    first = None
    for path in paths:
        try:
            with imageio.imopen(path, "r", plugin="pillow") as file:
                depth, image = file.properties(index=0).dtype, file.read(index=0, mode="RGB")
        except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is Pillow's for broken PNG files
            raise ValueError(f"expected an image, got {path}, which cannot be read ({error}); remove it") from error
        if depth not in (np.uint8, bool):
            raise ValueError(f"expected images of 8 bits per channel, got {path} of {depth}; convert it")
        first = image.shape if first is None else first
        if image.shape != first:
            raise ValueError(
                f"expected images of {first[0]} x {first[1]} as {paths[0]}, got {path} of {image.shape[0]} x "
                f"{image.shape[1]}; bring all to one size, or put videos into folders of their own"
            )
        yield image


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts 2.png before 10.png."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], path.name


def _import_imageio():
    try:
        import av
        import imageio.v3 as imageio
    except ImportError as error:
        raise ImportError("videos are read with imageio and PyAV: pip install 'flam-env[video]'") from error
    return imageio, av
