"""What `flam-train new-world` sees in films of several kinds: those from which worlds are learned well, and others.

    python benchmarks/film_kinds.py --out docs/any_video

renders a film of each kind, writes and reads it as an ordinary mp4, and makes two pictures of them, `works.png` and
`fails.png`: frames, and below them the regions that move, each in a colour of its own, which is what slots are to hold.
Prints a row for each kind: what was measured, and what is said of it.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flam_train.evaluate.entities import find_background
from flam_train.new_world.advice import ADVICE, Signs
from flam_train.new_world.watching import moving_regions, watch
from flam_train.pictures.sheets import contact_sheet, slot_colours, write_mp4, write_png
from flam_train.sources.films.importing import import_

RATE, SIZE, RADIUS, FRAMES = 15, 64, 6, 120
COLOURS = ((240, 90, 60), (70, 200, 90), (80, 120, 250))
SHOWN = (40, 43, 46, 49, 52, 55)
TINT = 0.6


def discs(random: np.random.Generator, ground: np.ndarray, speed: float = 2.0) -> np.ndarray:
    """Three discs before grounds uint8 (T, H, W, 3); they turn now and then and bounce off the edges."""
    frames = ground.copy()
    place, pace = random.uniform(RADIUS, SIZE - RADIUS, (3, 2)), random.uniform(-speed, speed, (3, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for frame in frames:
        for (y, x), colour in zip(place, COLOURS, strict=True):
            frame[(rows - y) ** 2 + (columns - x) ** 2 < RADIUS**2] = colour
        pace = np.where(random.random((3, 1)) < 0.05, random.uniform(-speed, speed, (3, 2)), pace)
        pace = np.where((place + pace < RADIUS) | (place + pace > SIZE - RADIUS), -pace, pace)
        place = place + pace
    return frames


def plain() -> np.ndarray:
    """A ground of one colour."""
    return np.full((FRAMES, SIZE, SIZE, 3), (16, 18, 24), np.uint8)


def patches(random: np.random.Generator, side: int = SIZE) -> np.ndarray:
    """A picture of patches, uint8 (side, side, 3)."""
    return np.kron(random.integers(30, 200, (side // 8, side // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def wandering(random: np.random.Generator) -> np.ndarray:
    """A landscape over which the camera wanders."""
    land, place, speed = patches(random, 512), np.array([200.0, 200.0]), np.array([1.5, 2.5])
    frames = []
    for _ in range(FRAMES):
        y, x = place.astype(int)
        frames.append(land[y : y + SIZE, x : x + SIZE])
        speed = np.where((place + speed < 0) | (place + speed > len(land) - SIZE), -speed, speed)
        place = place + speed
    return np.stack(frames)


def scenes(random: np.random.Generator) -> np.ndarray:
    """Another still ground every eight frames."""
    return np.repeat(np.stack([patches(random) for _ in range(FRAMES // 8)]), 8, axis=0)


def snow(random: np.random.Generator) -> np.ndarray:
    """Noise that is new in every frame."""
    return random.integers(0, 200, (FRAMES, SIZE // 4, SIZE // 4, 3)).astype(np.uint8).repeat(4, 1).repeat(4, 2)


Random = np.random.Generator
KINDS: dict[str, dict[str, Callable[[Random], np.ndarray]]] = {
    "works": {
        "things that move freely, plain ground": lambda random: discs(random, plain()),
        "things that move freely, painted ground": lambda random: discs(
            random, np.repeat(patches(random)[None], FRAMES, 0)
        ),
    },
    "fails": {
        "the camera moves": lambda random: discs(random, wandering(random)),
        "the scene is cut twice a second": lambda random: discs(random, scenes(random)),
        "noise": lambda random: discs(random, snow(random)),
        "hardly anything moves": lambda random: discs(random, plain(), speed=0.01),
    },
}
"""By picture, and by what is filmed."""


def main() -> None:
    """Makes the pictures and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    print("| film | pixels that move | regions at once | frames unlike the one before | said |")
    print("| --- | --- | --- | --- | --- |")
    for name, kinds in KINDS.items():
        rows = {}
        for kind, render in kinds.items():
            frames, said = looked_at(render)
            print(f"| {kind} | {said} |")
            rows |= {kind: frames[list(SHOWN)], f"{kind}: regions": tinted(frames)[list(SHOWN)]}
        write_png(out / f"{name}.png", contact_sheet(rows, scale=1))


def looked_at(render: Callable[[Random], np.ndarray]) -> tuple[np.ndarray, str]:
    """A film as it comes out of an mp4, and what is measured and said of three such films, as cells of a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(3):
            write_mp4(folder / "films" / f"{seed}.mp4", render(np.random.default_rng(seed)), RATE)
        store = import_((folder / "films",), out=folder / "store", cuts="none", workers=1).store
        assert store is not None
        seen = watch(store)
        frames = store.read(store.episodes("train")[0]).frames
    well = Signs(
        seen=seen, slots=16, holding=16, deciding=3, nats=3.0, flicker=0.0, gain=9.0, horizon=16, fell=None, pace=1.0
    )
    said = ", ".join(name for name, advice in ADVICE.items() if advice.wrong(well)) or "-"
    return frames, f"{seen.moving:.1%} | {seen.regions} | {seen.torn:.1%} | {said}"


def tinted(frames: np.ndarray) -> np.ndarray:
    """Frames in grey, and in them each region that moves in a colour of its own; the first shows none."""
    regions = moving_regions(frames, find_background(frames[None])[0])
    regions = np.concatenate([np.zeros_like(regions[:1]), regions])
    grey = np.repeat(frames.mean(-1, keepdims=True) / 2, 3, axis=-1)
    colours = slot_colours(regions.max() + 1)[regions]
    return np.where(regions[..., None] > 0, (1 - TINT) * grey + TINT * colours, grey).astype(np.uint8)


if __name__ == "__main__":
    main()
