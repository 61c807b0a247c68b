"""PPO learns to move things up, inside a learned world, by steering the one slot that can.

    python examples/ppo_in_a_dream.py --checkpoint bigfish

Needs the rl extra: pip install 'flam-env[rl]'. The reward is a function of ours, since a learned world has none: how
much brighter the upper half of the picture has become than the lower half.
"""

import argparse

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from flam_env import FlamVectorEnv
from flam_env.sb3 import FlamSB3VecEnv

EPISODE = 8


def rise(frame_before: np.ndarray, latent_action: np.ndarray, frame_after: np.ndarray) -> float:
    """How far the light of the picture has moved from its lower half to its upper half."""
    return tilt(frame_after) - tilt(frame_before)


def tilt(frame: np.ndarray) -> float:
    """Mean brightness of the upper half less that of the lower half, in levels of 255."""
    half = len(frame) // 2
    return float(frame[:half].mean()) - float(frame[half:].mean())


def most_influential_slot(checkpoint: str) -> int:
    """The slot with which the reward varies most when it alone takes random actions."""
    spreads = []
    envs = FlamVectorEnv(16, checkpoint, horizon=EPISODE, reward_fn=rise)
    slots = envs.single_action_space.shape[0]
    for slot in range(slots):
        envs.reset(seed=0, options={"start": 0})
        actions = np.zeros(envs.action_space.shape, np.float32)
        actions[:, slot] = np.random.default_rng(0).uniform(-3, 3, actions[:, slot].shape)
        spreads.append(sum(envs.step(actions)[1] for _ in range(EPISODE // 2)).std())
    return int(np.argmax(spreads))


def mean_return(model: PPO, envs: VecEnv, episodes: int = 64) -> float:
    """Mean return of the policy's own choices, over starts that are drawn with one seed."""
    envs.seed(1000)
    observations, returns, running = envs.reset(), [], np.zeros(envs.num_envs)
    while len(returns) < episodes:
        actions, _ = model.predict(observations, deterministic=True)
        observations, rewards, dones, _ = envs.step(actions)
        running += rewards
        returns += running[dones].tolist()
        running[dones] = 0
    return float(np.mean(returns))


def main() -> None:
    """Prints the return before and after learning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bigfish", help="a bundled world or a directory of your own")
    parser.add_argument("--steps", type=int, default=16_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    slot = most_influential_slot(arguments.checkpoint)
    envs = VecMonitor(
        FlamSB3VecEnv(arguments.checkpoint, 32, slot=slot, others="replay", horizon=EPISODE, reward_fn=rise)
    )
    sizes = {"n_steps": 2 * EPISODE, "batch_size": 128, "n_epochs": 4}
    model = PPO("CnnPolicy", envs, learning_rate=1e-3, gamma=0.9, seed=arguments.seed, **sizes)
    before = mean_return(model, envs)
    model.learn(arguments.steps)
    print(f"steering slot {slot}: mean return {before:.2f} before, {mean_return(model, envs):.2f} after learning")


if __name__ == "__main__":
    main()
