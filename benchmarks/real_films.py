"""Cuts films of a few seconds into pieces for training, val and test, so that a few films make a store.

    python benchmarks/real_films.py a.mp4 b.mp4 --out data/real

Neighbouring pieces of one film are alike, so scores on them say how well a world knows these films, not others. It
writes `pieces` and `splits.csv`: `flam-train import data/real/pieces --splits data/real/splits.csv --out ...` makes the
store.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from flam_env.video.frames import fit_frames
from flam_env.video.reader import read_video, video_rate
from flam_train.pictures.sheets import write_mp4

HELD_OUT = 1.5  # seconds at the end of a film for test, as many before them for val
SIZE = 128


def main() -> None:
    """Writes the pieces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for film in arguments.films:
        rate = video_rate(film)
        if rate is None:
            parser.error(f"expected films with a rate, got {film}")
        frames = np.stack([fit_frames(frame, SIZE, "crop") for frame in read_video(film)])
        held_out = round(HELD_OUT * rate)
        pieces = {
            "train": frames[: -2 * held_out],
            "val": frames[-2 * held_out : -held_out],
            "test": frames[-held_out:],
        }
        for split, piece in pieces.items():
            rows.append((name := f"{film.stem}-{split}.mp4", split))
            write_mp4(arguments.out / "pieces" / name, piece, rate)
    with (arguments.out / "splits.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
