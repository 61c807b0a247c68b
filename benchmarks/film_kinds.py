"""What becomes of films of several kinds, from where a camera stands still to where nothing does.

    python benchmarks/film_kinds.py --out runs/kinds --pictures docs/any_video

renders films of each kind, makes a world of each by `flam-train import` and `flam-train new-world`, and shows above a
real one, and below it a dream from its first frames, as a picture for each kind; prints what was measured of each.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from flam_env.dream.dream import Dream
from flam_env.worlds.clips import load_clips
from flam_env.worlds.directory import load_world
from flam_train.evaluate.rollouts import roll_freely
from flam_train.new_world.steps import NewWorld, new_world
from flam_train.new_world.watching import watch
from flam_train.pictures.sheets import contact_sheet, write_mp4, write_png
from flam_train.sources.films.importing import import_
from flam_train.store.store import EpisodeStore

RATE, SIZE, RADIUS = 15, 64, 6
SECONDS = (40, 20, 20, 10, 10)
COLOURS = ((240, 90, 60), (70, 200, 90), (80, 120, 250))
SHOWN = (0, 2, 4, 6, 9, 12, 15, 20, 25, 31)
STEPS = {"tokenizer_steps": 200, "world_model_steps": 300, "sampling_steps": 60, "clips": 32}


def discs(random: np.random.Generator, count: int) -> np.ndarray:
    """A camera that stands still, and three discs that move about freely before a plain ground."""
    frames = np.full((count, SIZE, SIZE, 3), (16, 18, 24), np.uint8)
    return with_discs(random, frames)


def camera(random: np.random.Generator, count: int) -> np.ndarray:
    """The same discs before a landscape of patches, over which the camera wanders."""
    ground = np.kron(random.integers(30, 200, (64, 64, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    place, speed = np.array([200.0, 200.0]), np.array([1.5, 2.5])
    frames = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for frame in frames:
        y, x = place.astype(int)
        frame[:] = ground[y : y + SIZE, x : x + SIZE]
        speed = np.where((place + speed < 0) | (place + speed > len(ground) - SIZE), -speed, speed)
        place = place + speed
    return with_discs(random, frames)


def with_discs(random: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Frames with discs that turn now and then and bounce off the edges."""
    place, speed = random.uniform(RADIUS, SIZE - RADIUS, (3, 2)), random.uniform(-2, 2, (3, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for frame in frames:
        for (y, x), colour in zip(place, COLOURS, strict=True):
            frame[(rows - y) ** 2 + (columns - x) ** 2 < RADIUS**2] = colour
        speed = np.where(random.random((3, 1)) < 0.05, random.uniform(-2, 2, (3, 2)), speed)
        speed = np.where((place + speed < RADIUS) | (place + speed > SIZE - RADIUS), -speed, speed)
        place = place + speed
    return frames


KINDS = {"works": discs, "fails": camera}


def main() -> None:
    """Makes the worlds and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        out = arguments.out / kind
        for seed, seconds in enumerate(SECONDS):
            film = KINDS[kind](np.random.default_rng(seed), seconds * RATE)
            write_mp4(out / "films" / f"{kind}-{seed}.mp4", film, RATE)
        import_((out / "films",), out=out / "store", cuts="none", workers=1)
        made = new_world(out / "store", out=out / "world", preset="tiny", **STEPS)
        write_png(arguments.pictures / f"{kind}.png", picture(made.directory))
        tell(kind, EpisodeStore.open(out / "store"), made)


def picture(directory: Path) -> np.ndarray:
    """A real clip that the world has never seen, and a dream from its first frames."""
    real = load_clips(directory.absolute())[0]
    dream = Dream(load_world(directory.absolute()), "cpu")
    context = dream.world.settings.context
    start = dream.encode(real[:context])[None]
    dreamt = roll_freely(dream, start, len(real) - context, torch.Generator().manual_seed(0))[0].numpy()
    rows = {"real": real[list(SHOWN)], "dreamt": np.concatenate([real[:context], dreamt])[list(SHOWN)]}
    return contact_sheet({f"{name}: frames {', '.join(map(str, SHOWN))}": row for name, row in rows.items()})


def tell(kind: str, store: EpisodeStore, made: NewWorld) -> None:
    """Prints a row, and the advice."""
    seen, report = watch(store), made.report
    scores, rate = report["scores"]["all"], report["rate"]
    print(
        f"{kind}: {seen.moving:.1%} of the pixels move, {seen.regions} regions at once; prediction "
        f"{scores['prediction_psnr']:.2f} dB, sampled {scores['sampled_psnr']:.2f}, Recon {scores['recon_psnr']:.2f}, "
        f"last frame {scores['copy_last_psnr']:.2f}; {rate['nats']:.2f} nats a frame"
    )
    for name, text in made.advice.items():
        print(f"  {name}: {text}")


if __name__ == "__main__":
    main()
