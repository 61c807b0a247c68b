"""Labelled states on disk: frames and what each first action was worth there, one HDF5 file for each round."""

from pathlib import Path

import numpy as np

from flam_env.worlds.writing import replacing
from flam_train.store.hdf5 import HDF5Writer, open_hdf5

FORMAT = "flam-labelled-states"


def write_states(path: Path, frames: np.ndarray, values: np.ndarray) -> None:
    """Writes one file, which appears whole or not at all.

    Args:
        path: where to, ending in .h5.
        frames: uint8 (S, H, W, 3).
        values: float32 (S, A).
    """
    with replacing(path) as temporary, HDF5Writer(temporary) as writer:
        chunk = (min(16, len(frames)), *frames.shape[1:])
        writer.file.create_dataset("frames", data=frames, chunks=chunk, compression="gzip", compression_opts=4)
        writer.file.create_dataset("values", data=values)
        writer.file.attrs["format"] = FORMAT


def read_states(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (S, H, W, 3) and values float32 (S, A) of one file.

    Raises:
        OSError: the system does not let the file be read.
        ValueError: the file is damaged or foreign.
    """
    with open_hdf5(path) as file:
        if file.attrs.get("format") != FORMAT:
            raise ValueError(f"expected a file in format {FORMAT}, got {path}; move it elsewhere")
        return file["frames"][:], file["values"][:]
