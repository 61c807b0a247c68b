"""Folders of images that are the frames of one video. Pillow is imported here only."""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of the files that count as images in a folder."""

VIDEOS = (
    ".3g2",
    ".3gp",
    ".asf",
    ".avi",
    ".f4v",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".ogg",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
    ".y4m",
)
"""Endings of the files that count as videos there: images beside them are thumbnails, and no video."""

DEEP = ("I", "F")  # how Pillow's modes of more than 8 bits begin


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of their names, numbers in names by their value.

    Raises:
        ValueError: there are none; beside them or in folders below there are videos or other images, which are to be
            named instead; or two have one name but for the ending, and so may be one picture.
    """
    there = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_natural)
    images = _ending(there, IMAGES)
    beside = _ending(there, VIDEOS) or [path for path in there if path.is_dir() and _holds_any(path)]
    if beside:
        names = ", ".join(path.name for path in beside[:3]) + (", ..." if len(beside) > 3 else "")
        raise ValueError(
            f"expected a folder of images that are one video, got {folder} with {len(images)} images and beside them "
            f"{len(beside)} videos or folders ({names}); name these, or move the images to a folder of their own"
        )
    if not images:
        raise ValueError(f"expected images ({', '.join(IMAGES)}) in the folder {folder}, got none; name another one")
    for one, other in pairwise(sorted(images, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise ValueError(
                f"expected one image of each name, got {one.name} and {other.name} in {folder}, which may be one "
                "picture twice; move those of one ending to a folder of their own"
            )
    return images


def read_images(paths: list[Path]) -> Iterator[np.ndarray]:
    """Images one by one, upright, uint8 (H, W, 3).

    Raises:
        ValueError: while reading: one is none, has more than 8 bits per channel, or another size than the first.
        ImportError: Pillow is not installed.
    """
    first = None
    for path in paths:
        image = _read_image(path)
        first = image.shape if first is None else first
        if image.shape != first:
            raise ValueError(
                f"expected images of {first[0]} x {first[1]} as {paths[0]}, got {path} of {image.shape[0]} x "
                f"{image.shape[1]}; bring all to one size, or put videos into folders of their own"
            )
        yield image


def _read_image(path: Path) -> np.ndarray:
    image = import_pillow()
    from PIL import ImageOps

    try:
        with image.open(path) as file:
            mode, pixels = file.mode, np.array(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:  # SyntaxError: broken PNG files
        raise ValueError(f"expected an image, got {path}, which cannot be read ({error}); move it elsewhere") from error
    if mode.startswith(DEEP):
        raise ValueError(f"expected images of 8 bits per channel, got {path} of Pillow's mode {mode}; convert it")
    return pixels


def import_pillow() -> Any:
    """Pillow's module of images, or what to install."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images are read with Pillow: pip install 'flam-env[video]'") from error
    return Image


def _ending(paths: list[Path], endings: tuple[str, ...]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in endings and not path.name.startswith(".")]


def _holds_any(folder: Path) -> bool:
    """Whether there are images or videos in a folder or somewhere below it, but for hidden ones."""
    return any(
        _ending([Path(name) for name in names], IMAGES + VIDEOS)
        for parent, _, names in os.walk(folder)
        if not any(part.startswith(".") for part in Path(parent).relative_to(folder).parts)
    )


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts 2.png before 10.png."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], path.name
