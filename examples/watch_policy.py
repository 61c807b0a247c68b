"""Lets a policy play levels of the real game that it has never seen, and writes what it does to a video.

    python examples/watch_policy.py                                   # the bundled policy, cloned from pseudo labels
    python examples/watch_policy.py --policy runs/clone/policy.safetensors    # your own, as `flam-train clone` writes

A zip of Stable-Baselines3's PPO is watched as well, but is opened by Stable-Baselines3, which runs what is in it: name
those only whose maker you trust.

Needs some extras: pip install 'flam-env[train,rl,procgen,video]'.
"""

import argparse
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

import flam_train
from flam_train.clone import load_clone
from flam_train.players.scores import evaluate_on_levels
from flam_train.sources.procgen.vec_env import ProcgenVecEnv

BUNDLED = Path(flam_train.__file__).parent / "pretrained" / "bigfish" / "policy.safetensors"


def open_policy(path: Path) -> BaseAlgorithm:
    """The policy in a file of weights, or in a zip of Stable-Baselines3."""
    return PPO.load(path, device="cpu") if path.suffix == ".zip" else load_clone(path, device="cpu")


def side_by_side(videos: list[np.ndarray]) -> np.ndarray:
    """Videos uint8 (T, H, W, 3) of any lengths -> one (T, H, W, 3); those that are over stay as they are."""
    longest = max(map(len, videos))
    kept = [np.concatenate([video, np.repeat(video[-1:], longest - len(video), axis=0)]) for video in videos]
    return np.concatenate(kept, axis=2)


def main() -> None:
    """Plays, prints the returns, and writes the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, default=BUNDLED, help="a file of a policy that saw native pictures")
    parser.add_argument("--game", default="bigfish", help="bigfish, leaper or starpilot")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="policy.mp4")
    arguments = parser.parse_args()

    policy = open_policy(arguments.policy)
    env = ProcgenVecEnv(arguments.game, arguments.episodes, split="test", native=True)
    scores = evaluate_on_levels(policy, env, episodes_per_env=1, seed=arguments.seed, videos=arguments.episodes)
    env.close()
    imageio.imwrite(arguments.out, side_by_side(scores.videos), plugin="pyav", codec="libx264", fps=15)
    print(f"returns {scores.returns.ravel().tolist()} on unseen levels, mean {scores.mean:.1f}; wrote {arguments.out}")


if __name__ == "__main__":
    main()
