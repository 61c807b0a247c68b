"""Reads the latent actions out of a video, and plays them back through the environment.

    python examples/label_video.py                                 # a real clip that comes with the bundled world
    python examples/label_video.py --video my.mp4                  # your own, of any size and length
    python examples/label_video.py --video my.mp4 --fps 15         # brought to the rate of the world's videos
    python examples/label_video.py --video frames/ --checkpoint runs/my-world

Own videos, files or folders of images, need the video extra: pip install 'flam-env[video]'. To keep the labels of many
videos beside their frames: flam-train label my/*.mp4 --world bigfish --out data/labelled
"""

import argparse
from itertools import islice

import numpy as np

from flam_env import FlamEnv, Labeller, load_clips, read_video
from flam_env.video.frames import resize_frames


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    """Peak signal-to-noise ratio of frames uint8, in dB, averaged over frames."""
    error = ((one.astype(float) - two.astype(float)) ** 2).mean((1, 2, 3)) / 255**2
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def main() -> None:
    """Prints who moved and how well the labels replay the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bigfish", help="a bundled world or a directory of your own")
    parser.add_argument("--video", help="a video file or a folder of images; default: a clip of the world")
    parser.add_argument("--fps", type=float, help="frames a second that a video file is brought to; default: its own")
    parser.add_argument("--out", help="where to save the latent actions, ending in .npy")
    arguments = parser.parse_args()

    video = arguments.video or load_clips(arguments.checkpoint)[0]
    labels = Labeller.from_pretrained(arguments.checkpoint).label(video, fps=arguments.fps)
    strength = np.linalg.norm(labels.latent_actions, axis=-1).mean(0)
    print(
        f"{len(labels.latent_actions) + 1} frames -> latent actions {labels.latent_actions.shape}; mean size by slot:"
    )
    print("  " + "  ".join(f"{slot}: {size:.2f}" for slot, size in enumerate(strength)))

    env = FlamEnv(arguments.checkpoint)
    context = env.world.settings.context
    first = islice(read_video(video, arguments.fps) if arguments.video else video, context + env.horizon)
    frames = resize_frames(np.stack(list(first)), env.observation_space.shape[0])
    env.reset(options={"start": frames[:context]})
    true = frames[context:]
    if len(true):
        replayed = np.stack([env.step(action)[0] for action in labels.latent_actions[context - 1 :][: len(true)]])
        print(f"replayed from {context} frames and the actions: {psnr(replayed, true):.2f} dB")
        print(f"standing still:                            {psnr(true * 0 + frames[context - 1], true):.2f} dB")
    if arguments.out:
        np.save(arguments.out, labels.latent_actions)


if __name__ == "__main__":
    main()
