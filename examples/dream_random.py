"""Dreams with actions that are drawn like real ones, and writes what it sees to a video.

    python examples/dream_random.py --checkpoint bigfish --out dream.mp4

Needs the video extra: pip install 'flam-env[video]'.
"""

import argparse

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np

import flam_env  # noqa: F401  (registers the environments)


def main() -> None:
    """Shows some episodes side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bigfish", help="a bundled world or a directory of your own")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="dream.mp4")
    arguments = parser.parse_args()

    envs = gym.make_vec("FLAM-v0", num_envs=arguments.episodes, checkpoint=arguments.checkpoint)
    frames, infos = envs.reset(seed=arguments.seed)
    video = [np.concatenate(frames, axis=1)]
    for _ in range(envs.unwrapped.horizon):
        frames, *_ = envs.step(envs.unwrapped.sample_latent_action())
        video.append(np.concatenate(frames, axis=1))
    fps = envs.metadata["render_fps"]
    imageio.imwrite(arguments.out, np.stack(video), plugin="pyav", codec="libx264", fps=fps)
    print(f"wrote {len(video)} frames of {arguments.episodes} dreams, from the starts {infos['start'].tolist()}")


if __name__ == "__main__":
    main()
