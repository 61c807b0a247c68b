"""The real held-out clips that a world carries, to show itself on."""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from flam_env.worlds.finding import find_world
from flam_env.worlds.writing import write_atomically


def save_clips(directory: Path, frames: np.ndarray) -> None:
    """Puts real held-out clips, uint8 (S, T, H, W, 3), beside a world, losslessly compressed."""
    content = io.BytesIO()
    np.savez_compressed(content, frames=frames)
    write_atomically(Path(directory) / "clips.npz", content.getvalue())


def load_clips(name: str | Path) -> np.ndarray:
    """The real held-out clips that a world shows itself on: uint8 (S, T, H, W, 3).

    Raises:
        FileNotFoundError: no such world, or it has no clips.
        ValueError: the file is damaged or holds something else.
    """
    path = find_world(name) / "clips.npz"
    if not path.is_file():
        raise FileNotFoundError(f"expected real clips at {path}, found none; `flam-train world-model` writes them")
    try:
        with np.load(path, allow_pickle=False) as file:  # a TypeError where it is one array without an archive
            frames = file["frames"]
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an archive with frames, got {error!r}; copy the world again") from error
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        found = f"{frames.dtype} of shape {frames.shape}"
        raise ValueError(f"{path}: expected frames uint8 (S, T, H, W, 3), got {found}; copy the world again")
    return frames
