"""Labelled states on disk: frames and what each first action was worth there, one HDF5 file for each round."""

import os
from pathlib import Path

import numpy as np

from flam_train.data.episode import import_h5py

FORMAT = "flam-labelled-states"


def write_states(path: Path, frames: np.ndarray, values: np.ndarray) -> None:
    """Writes one file, which appears whole or not at all.

    Args:
        path: where to, ending in .h5.
        frames: uint8 (S, H, W, 3).
        values: float32 (S, A).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with import_h5py().File(temporary, "w") as file:
            chunk = (min(16, len(frames)), *frames.shape[1:])
            file.create_dataset("frames", data=frames, chunks=chunk, compression="gzip", compression_opts=4)
            file.create_dataset("values", data=values)
            file.attrs["format"] = FORMAT
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_states(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (S, H, W, 3) and values float32 (S, A) of one file.

    Raises:
        ValueError: the file is damaged or foreign.
    """
    try:
        with import_h5py().File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise ValueError(f"expected a file in format {FORMAT}, got {path}; delete it to label anew")
            return file["frames"][:], file["values"][:]
    except (OSError, KeyError) as error:
        raise ValueError(
            f"expected whole labelled states in {path}, got a damaged file ({error}); delete it to label anew"
        ) from error
