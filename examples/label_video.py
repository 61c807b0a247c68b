"""Reads the latent actions out of a video, and plays them back through the environment.

    python examples/label_video.py --checkpoint bigfish                  # a real clip that comes with the world
    python examples/label_video.py --checkpoint bigfish --video my.mp4   # your own, in the size of the world's frames

Own videos need the video extra: pip install 'flam-env[video]'.
"""

import argparse

import numpy as np

from flam_env import FlamEnv, Labeller, load_clips


def read_video(path: str) -> np.ndarray:
    """A video file -> uint8 (T, H, W, 3)."""
    import imageio.v3 as imageio

    return imageio.imread(path, plugin="pyav")


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    """Peak signal-to-noise ratio of frames uint8, in dB, averaged over frames."""
    error = ((one.astype(float) - two.astype(float)) ** 2).mean((1, 2, 3)) / 255**2
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def main() -> None:
    """Prints who moved and how well the labels replay the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bigfish", help="a bundled world or a directory of your own")
    parser.add_argument("--video", help="a video file; default: the first clip of the world")
    parser.add_argument("--out", help="where to save the latent actions, ending in .npy")
    arguments = parser.parse_args()

    frames = read_video(arguments.video) if arguments.video else load_clips(arguments.checkpoint)[0]
    labels = Labeller.from_pretrained(arguments.checkpoint).label(frames)
    strength = np.linalg.norm(labels.latent_actions, axis=-1).mean(0)
    print(f"{len(frames)} frames -> latent actions {labels.latent_actions.shape}; mean size by slot:")
    print("  " + "  ".join(f"{slot}: {size:.2f}" for slot, size in enumerate(strength)))

    env = FlamEnv(arguments.checkpoint)
    context = env.world.settings.context
    env.reset(options={"start": frames[:context]})
    actions = labels.latent_actions[context - 1 :][: env.horizon]
    if len(actions):
        replayed = np.stack([env.step(action)[0] for action in actions])
        true = frames[context:][: env.horizon]
        print(f"replayed from {context} frames and the actions: {psnr(replayed, true):.2f} dB")
        print(f"standing still:                            {psnr(true * 0 + frames[context - 1], true):.2f} dB")
    if arguments.out:
        np.save(arguments.out, labels.latent_actions)


if __name__ == "__main__":
    main()
