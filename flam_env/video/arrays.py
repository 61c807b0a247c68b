"""Videos that NumPy has written: `.npy` and `.npz` files of frames. Nothing in them is unpickled."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flam_env.video.frames import channel_advice

ARRAYS = (".npy", ".npz")
"""Endings of files of NumPy."""

FRAMES = "frames"
"""Name of the frames in an `.npz` of several arrays."""


def is_array(path: Path) -> bool:
    """Whether a path is that of a file of NumPy."""
    return path.suffix.lower() in ARRAYS and not path.is_dir()


def open_videos(path: Path) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) of one video, or (B, T, H, W, 3) of several; those of an `.npy` stay on disk.

    Raises:
        ValueError: the file is none of NumPy or damaged, or holds something else.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        videos = loaded if isinstance(loaded, np.ndarray) else _only(loaded, path)
    except (OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"expected frames in a file of NumPy, got {path}, which fails ({error}); save it again"
        ) from error
    except ValueError as error:  # objects, or a header that says nothing sensible
        if str(error).startswith("expected"):
            raise
        raise ValueError(f"expected frames uint8 (T, H, W, 3) in {path}, got something else ({error})") from error
    expected = f"expected frames uint8 (T, H, W, 3) or (B, T, H, W, 3) in {path}"
    if videos.dtype != np.uint8:
        raise ValueError(f"{expected}, got dtype {videos.dtype}; convert to uint8 in [0, 255]")
    if (advice := channel_advice(videos.shape)) or videos.ndim not in (4, 5) or 0 in videos.shape:
        raise ValueError(f"{expected}, got shape {videos.shape}; {advice or 'save such frames'}")
    return videos


def read_array(path: Path) -> Iterator[np.ndarray]:
    """The frames of one video one by one, uint8 (H, W, 3).

    Raises:
        ValueError: as for `open_videos`, or there are several videos.
    """
    videos = open_videos(path)
    if videos.ndim == 5:
        raise ValueError(
            f"expected the frames (T, H, W, 3) of one video, got {len(videos)} in {path}; give them one by one"
        )
    return (np.array(frame) for frame in videos)


def _only(file: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    """The array `frames` of an `.npz`, or the only one."""
    with file:
        if FRAMES not in file.files and len(file.files) != 1:
            raise ValueError(f"expected one array, or {FRAMES!r} among others, in {path}, got {file.files}; name it so")
        return file[FRAMES if FRAMES in file.files else file.files[0]]
