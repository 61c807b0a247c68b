"""The IMPALA network as a features extractor of Stable-Baselines3, whose zips name this module: it stays here."""

import gymnasium as gym
import torch
from torch import Tensor, nn

from flam_env.models.impala import impala_encoder

try:
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ModuleNotFoundError(
        "features for Stable-Baselines3 need it: pip install 'flam-env[rl]'", name=error.name
    ) from error


class ImpalaExtractor(BaseFeaturesExtractor):
    """IMPALA x1 (Espeholt et al. 2018), the usual network for Procgen, to be used beside SB3's NatureCNN.

    Takes images (B, C, H, W) in [0, 1] and gives features (B, features_dim), not negative. As in the literature,
    actor and critic should follow at once:

        PPO("CnnPolicy", env, policy_kwargs={"features_extractor_class": ImpalaExtractor, "net_arch": []})

    Args:
        observation_space: a Box of channel-first images, which `VecTransposeImage` makes.
        features_dim: number of features.
        widths: channels of each stage; each halves the resolution.

    Raises:
        ValueError: observations are no channel-first images.
    """

    def __init__(self, observation_space: gym.Space, features_dim: int = 256, widths: tuple[int, ...] = (16, 32, 32)):
        super().__init__(observation_space, features_dim)
        shape = observation_space.shape or ()
        if len(shape) != 3 or shape[0] > min(shape[1:]):
            raise ValueError(
                f"expected observations of shape (channels, height, width), got {shape}; wrap the environment in "
                "VecTransposeImage"
            )
        self.encoder = nn.Sequential(
            impala_encoder(widths, channels=shape[0], activation=nn.ReLU), nn.ReLU(), nn.Flatten()
        )
        with torch.no_grad():
            flat = self.encoder(torch.zeros(1, *shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, features_dim)."""
        channels_last = observations.contiguous(memory_format=torch.channels_last)  # pooled several times as fast
        return self.linear(self.encoder(channels_last))
