"""What is no film, in every way that we know of: how each is made, and what is said of it.

    PYTHONPATH=.:tests python tests/train/sources/films/bad_films.py

prints them as the table of docs/any_video.md; a test holds that table against what the import says.
"""

import os
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from films import film, write_film, write_images

from flam_train.sources.films.importing import import_

OF_OTHERS = re.compile(r" \((?![TB], |[0-9]).*?\)(?=[;,]| in |$)")
"""What PyAV, NumPy or h5py say, each release in other words."""
SECONDS = re.compile(r"got [0-9.]+ s of pictures")
"""How much is left of a film that was cut short is up to its encoder."""


def cut_short(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def holed(path: Path) -> Path:
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(third) + content[2 * third :])
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def promising(path: Path, frames: int) -> Path:
    """Has the header of an AVI say that it has so many frames."""
    content = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 16), (b"strh", 32)):
        struct.pack_into("<I", content, content.index(name) + 8 + offset, frames)
    return written(path, bytes(content))


def song(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as file:
        sound = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        silence.rate = 8000
        file.mux(sound.encode(silence))
    return path


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def zipped(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def linked(path: Path) -> Path:
    path.symlink_to("gone.mp4")
    return path


def piped(path: Path) -> Path:
    os.mkfifo(path)
    return path


def images(folder: Path, *, broken: str | None = None, copied: str | None = None, other: bool = False) -> Path:
    write_images(folder, film(0, 3))
    if broken:
        (folder / broken).write_bytes(b"no image")
    if copied:
        write_images(folder, film(0, 2), copied)
    if other:
        write_images(folder, film(1, 1, width=80), "9.png")
    return folder


def folder_of(path: Path, name: str | None = None) -> Path:
    path.mkdir()
    if name:
        (path / name).write_text("{}")
    return path


def minari(root: Path, kind: str = "hdf5", damaged: bool = False, **arrays: np.ndarray) -> Path:
    (root / "data").mkdir(parents=True)
    (root / "data" / "metadata.json").write_text(f'{{"data_format": "{kind}"}}')
    import h5py

    with h5py.File(root / "data" / "main_data.hdf5", "w") as file:
        for name, array in arrays.items():
            file[f"episode_0/{name}"] = array
    if damaged:
        cut_short(root / "data" / "main_data.hdf5", 0.5)
    return root


def with_table(path: Path, text: str) -> Path:
    path.with_name(f"{path.stem}.actions.csv").write_text(text)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a path that leads nowhere": (lambda d: d / "x.mp4", "which does not exist"),
    "a link to nothing": (lambda d: linked(d / "x.mp4"), "a link to gone.mp4, which does not exist"),
    "a pipe": (lambda d: piped(d / "x.mp4"), "which is a pipe or a device"),
    "a device": (lambda d: Path("/dev/null"), "which is a pipe or a device"),
    "an empty file": (lambda d: written(d / "x.mp4", b""), "expected a video that PyAV can read"),
    "text that is called a video": (lambda d: written(d / "x.mp4", b"no video " * 99), "expected a video that PyAV"),
    "text that is called text": (lambda d: written(d / "x.txt", b"no video " * 99), "expected a video"),
    "an mp4 that was cut short": (lambda d: cut_short(write_film(d / "x.mp4", film(0)), 0.5), "that PyAV can read"),
    "a webm that was cut short": (
        lambda d: cut_short(write_film(d / "x.webm", film(0, 60), "libvpx-vp9"), 0.5),
        "it breaks off; copy it again",
    ),
    "an mp4 with a hole": (lambda d: holed(write_film(d / "x.mp4", film(0))), "that PyAV can read"),
    "an avi that promises more": (
        lambda d: promising(write_film(d / "x.avi", film(0), "mpeg4"), 90),
        "expected the 90 frames that .* says it has, got 20",
    ),
    "a song": (lambda d: song(d / "x.mkv"), "without moving pictures, only sound"),
    "a film of one frame": (lambda d: write_film(d / "x.mp4", film(0, 1)), "expected a video of 2 or more frames"),
    "a picture": (lambda d: images(d / "x") / "0.png", "expected a video of 2 or more frames, got .* with 1"),
    "a gif that stands still": (
        lambda d: write_film(d / "x.gif", film(0, 1), "gif", pixels="rgb8"),
        "expected a video of 2 or more frames",
    ),
    "a film that is turned askew": (
        lambda d: write_film(d / "x.mp4", film(0), turned=30),
        "expected a video turned by quarters",
    ),
    "an empty folder": (lambda d: folder_of(d / "x"), "expected videos or images in the folder .*, got none"),
    "a folder of notes": (lambda d: folder_of(d / "x", "notes.txt"), "expected videos or images in the folder"),
    "a store of episodes": (lambda d: folder_of(d / "x", "store.json"), "got the episode store"),
    "a folder of one image": (lambda d: write_images(d / "x", film(0, 1)), "expected a video of 2 or more frames"),
    "images, one of them broken": (lambda d: images(d / "x", broken="1.png"), "1.png, which cannot be read"),
    "images of several sizes": (lambda d: images(d / "x", other=True), "expected images of 48 x 64 as .* of 48 x 80"),
    "images in two formats": (lambda d: images(d / "x", copied="{}.bmp"), "expected one image of each name"),
    "an array of floats": (lambda d: saved(d / "x.npy", film(0) / 255), "got dtype float64; convert to uint8"),
    "an array of grey": (lambda d: saved(d / "x.npy", film(0)[..., 0]), "there is no axis of channels"),
    "an array of channels first": (
        lambda d: saved(d / "x.npy", np.moveaxis(film(0), -1, 1)),
        "the channels come first: move them last",
    ),
    "an array with an alpha": (
        lambda d: saved(d / "x.npy", np.concatenate([film(0), film(0)[..., :1]], -1)),
        "as of RGBA: leave out the last",
    ),
    "an array without frames": (lambda d: saved(d / "x.npy", film(0)[:0]), r"got shape \(0, 48, 64, 3\)"),
    "an array of objects": (lambda d: saved(d / "x.npy", np.array([{}, {}])), "expected frames uint8"),
    "an array that was cut short": (lambda d: cut_short(saved(d / "x.npy", film(0)), 0.5), "expected frames uint8"),
    "an npz of several arrays": (
        lambda d: zipped(d / "x.npz", a=film(0), b=film(1)),
        "expected one array, or 'frames'",
    ),
    "an npz that is none": (lambda d: written(d / "x.npz", b"PK no zip"), "expected .*x.npz"),
    "a dataset of numbers": (
        lambda d: minari(d / "x", observations=np.zeros((5, 4))),
        "expected observations that are images",
    ),
    "a dataset in Arrow": (lambda d: minari(d / "x", "arrow"), "expected a Minari dataset in HDF5, got .* 'arrow'"),
    "a dataset without episodes": (lambda d: minari(d / "x"), "expected episodes in the Minari dataset"),
    "a dataset that was cut short": (
        lambda d: minari(d / "x", damaged=True, observations=film(0)),
        "expected a whole HDF5 file",
    ),
    "too few actions": (lambda d: with_table(write_film(d / "x.mp4", film(0)), "1\n2\n"), "for each of the 20 frames"),
    "actions in words": (lambda d: with_table(write_film(d / "x.mp4", film(0)), "1\nup\n"), "got 'up'; leave a cell"),
    "actions of frames that are none": (
        lambda d: with_table(write_film(d / "x.mp4", film(0)), "frame,a\n3,1\n20,1\n"),
        "for each of the 20 frames of the film, got 2 for frames 3 to 20",
    ),
    "actions at frames out of order": (
        lambda d: with_table(write_film(d / "x.mp4", film(0)), "frame,a\n3,1\n2,1\n"),
        "expected ascending whole numbers in the column 'frame'",
    ),
}
"""What each is, how it is made in a folder, and what is said of it."""


def row(kind: str, reason: str, folder: Path) -> str:
    """The row of the page: what it is, and what is said, without the folder and what other packages say of it."""
    plain = " ".join(reason.replace(f"{folder}{os.sep}", "").split()).replace("|", "/")
    return f"| {kind} | {SECONDS.sub('got fewer', OF_OTHERS.sub('', plain))} |"


def main() -> None:
    """Prints the table."""
    print("| what | what is said of it |\n| --- | --- |")
    for kind, (make, _) in BAD.items():
        with tempfile.TemporaryDirectory() as name:
            (folder := Path(name) / "in").mkdir()
            done = import_((make(folder),), out=Path(name) / "out", cuts="none", workers=1)
        print(row(kind, *done.refused.values(), folder))


if __name__ == "__main__":
    main()
