"""The door that users of Stable-Baselines3 know; what is behind it lies in `flam_env.envs.sb3_vec_env`."""

from flam_env.envs.sb3_vec_env import FlamSB3VecEnv

__all__ = ["FlamSB3VecEnv"]
