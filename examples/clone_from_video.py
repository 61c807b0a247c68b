"""From a video in which nobody tells the actions to a policy that plays the real game, in two minutes on a CPU.

    python examples/clone_from_video.py --out clone.zip --film clone.mp4

Somebody is filmed while playing Bigfish; the actions are not kept. The bundled world watches the film and tells what
the player did. A policy of Stable-Baselines3 learns from that, and plays levels that nobody has seen.

Needs some extras: pip install 'flam-env[train,rl,procgen,video]'.
"""

import argparse
import tempfile
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

import flam_train
from flam_env import Labeller
from flam_train.clone import BehaviourCloning, CloningConfig, Demonstrations, load_clone
from flam_train.engine import FitConfig
from flam_train.players.scores import evaluate_on_levels
from flam_train.sources.procgen.vec_env import ProcgenVecEnv

PLAYER = Path(flam_train.__file__).parent / "pretrained" / "bigfish" / "policy.safetensors"


def play(
    policy: BaseAlgorithm, split: str, seed: int, *, episodes: int = 16, films: int = 0
) -> tuple[float, list[np.ndarray]]:
    """Mean return of some episodes, and films uint8 (T, 64, 64, 3) of the first ones."""
    env = ProcgenVecEnv("bigfish", episodes, split=split, native=True)
    scores = evaluate_on_levels(policy, env, episodes_per_env=1, seed=seed, videos=films)
    env.close()
    return scores.mean, scores.videos


def pseudo_labelled(labeller: Labeller, videos: list[np.ndarray]) -> Demonstrations:
    """Each frame but the last of each video, beside what the world takes for the action, as probabilities."""
    told = [labeller.label(video).action_probabilities for video in videos]
    return Demonstrations(
        obs=np.concatenate([video[:-1] for video in videos]),
        acts=np.concatenate(told),
        episodes=np.repeat(np.arange(len(videos)), [len(video) - 1 for video in videos]),
    )


def main() -> None:
    """Films, labels, clones and plays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bigfish", help="a bundled world or a directory of your own")
    parser.add_argument("--videos", type=int, default=16, help="episodes of the player to learn from")
    parser.add_argument("--steps", type=int, default=3000, help="of cloning, with 64 frames each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="clone.zip")
    parser.add_argument("--film", default="clone.mp4", help="one episode of the clone")
    arguments = parser.parse_args()
    labeller = Labeller.from_pretrained(arguments.checkpoint)
    if arguments.videos < 2 or labeller.world.decoder is None:
        parser.error("expected two or more videos and a world with an action decoder; `flam-train ground` makes one")

    count, player = arguments.videos, load_clone(PLAYER, device="cpu")
    filmed, videos = play(player, "train", arguments.seed, episodes=count, films=count)
    pairs = pseudo_labelled(labeller, videos)
    model = PPO("CnnPolicy", ProcgenVecEnv("bigfish", native=True), seed=arguments.seed, device="cpu")
    before, _ = play(model, "test", arguments.seed)
    budget = FitConfig(steps=arguments.steps, batch_size=64, learning_rate=5e-4, weight_decay=0.0, ema=0.99)
    with tempfile.TemporaryDirectory() as logs:
        BehaviourCloning(model, pairs, config=CloningConfig(evaluate_every=500), fit_config=budget).train(logs)
    after, films = play(model, "test", arguments.seed, films=1)
    model.save(arguments.out)
    imageio.imwrite(arguments.film, films[0], plugin="pyav", codec="libx264", fps=15)
    print(
        f"the player's return is {filmed:.1f}; that of the clone on unseen levels was {before:.1f} before and is "
        f"{after:.1f} after watching {len(pairs)} frames; wrote {arguments.out} and {arguments.film}"
    )


if __name__ == "__main__":
    main()
