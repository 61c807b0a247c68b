"""From three short films to a world of your own and a picture of its dreams, in some minutes on two cores.

    python examples/your_own_video.py                                # renders three films of moving discs first
    python examples/your_own_video.py a.mp4 b.mp4 c.mp4 --out runs/abc   # or takes yours: three, better more

The discs move about freely, each as it likes, and bounce off the edges: made here by a few lines of NumPy, not filmed.
Under OUT lie the films, the store, the world with its card, and `dream.gif`: what happens next in four dreams.

Needs some extras: pip install 'flam-env[train,video,cuts,eval]'.
"""

import argparse
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np

import flam_env  # noqa: F401  (registers the environments)
from flam_train.new_world.steps import new_world
from flam_train.pictures.sheets import write_mp4
from flam_train.sources.films.importing import import_

RATE, SIZE, RADIUS = 15, 64, 6
SECONDS = (60, 10, 10)
CLIPS = 8
COLOURS = ((240, 90, 60), (70, 200, 90), (80, 120, 250))


def moving_discs(seconds: float, seed: int) -> np.ndarray:
    """Discs that turn now and then and bounce off the edges, later ones in front: uint8 (T, 64, 64, 3)."""
    random = np.random.default_rng(seed)
    place, speed = random.uniform(RADIUS, SIZE - RADIUS, (3, 2)), random.uniform(-2, 2, (3, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frames = np.full((round(seconds * RATE), SIZE, SIZE, 3), (16, 18, 24), np.uint8)
    for frame in frames:
        for (y, x), colour in zip(place, COLOURS, strict=True):
            frame[(rows - y) ** 2 + (columns - x) ** 2 < RADIUS**2] = colour
        speed = np.where(random.random((3, 1)) < 0.05, random.uniform(-2, 2, (3, 2)), speed)
        speed = np.where((place + speed < RADIUS) | (place + speed > SIZE - RADIUS), -speed, speed)
        place = place + speed
    return frames


def dream(world: Path, steps: int = 60, count: int = 4) -> np.ndarray:
    """Dreams beside one another, in which each slot does what its prior says: uint8 (T, 2 H, 2 * count * W, 3)."""
    envs = gym.make_vec("FLAM-v0", num_envs=count, checkpoint=str(world.absolute()), horizon=steps)
    frames, _ = envs.reset(seed=0)
    shown = [frames]
    for _ in range(steps):
        frames, *_ = envs.step(envs.unwrapped.sample_latent_action())
        shown.append(frames)
    return np.concatenate(np.stack(shown).transpose(1, 0, 2, 3, 4), axis=2).repeat(2, 1).repeat(2, 2)


def main() -> None:
    """Renders, imports, learns, dreams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="*", type=Path, help="video files or folders of them; default: rendered discs")
    parser.add_argument("--out", type=Path, default=Path("runs/my-films"))
    parser.add_argument("--preset", default="tiny", help="small is worth it for hours of training")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training and scores")
    parser.add_argument(
        "--steps", type=int, help=f"of each training, in place of minutes; {CLIPS} clips are scored then"
    )
    arguments = parser.parse_args()

    films, out = tuple(arguments.films), arguments.out
    if not films:
        for seed, seconds in enumerate(SECONDS):
            if not (path := out / "films" / f"discs-{seed}.mp4").is_file():
                write_mp4(path, moving_discs(seconds, seed), RATE)
        films = (out / "films",)
    imported = import_(films, out=out / "store")
    print("\n".join(imported.report))
    phases = ("tokenizer_steps", "world_model_steps", "sampling_steps", "sampler_steps")
    budget = {"minutes": arguments.minutes}
    if arguments.steps is not None:
        budget = dict.fromkeys(phases, arguments.steps) | {"clips": CLIPS}
    made = new_world(out / "store", out=out / "world", preset=arguments.preset, **budget)
    for name, text in made.advice.items():
        print(f"! {name}: {text}")
    imageio.imwrite(out / "dream.gif", dream(made.directory), duration=1000 / RATE, loop=0)
    scores = made.report["scores"]["all"]
    print(
        f"predictions: {scores['prediction_psnr']:.1f} dB, the last frame instead: {scores['copy_last_psnr']:.1f} dB; "
        f"wrote {out / 'dream.gif'}\ngym.make('FLAM-v0', checkpoint='{made.directory}')"
    )


if __name__ == "__main__":
    main()
