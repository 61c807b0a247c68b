"""A reactive policy: one frame in, a preference for each distinct action of a game out; and the agent that it plays.

It sees the simulator's own 64-pixel picture whatever the size of the frames that are recorded.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.video.frames import to_float
from flam_env.worlds.checkpoint import load_network
from flam_train.sources.procgen.episodes import Game
from flam_train.sources.procgen.games import check_game, distinct_actions, first_of_best


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What a policy plays, how, and its size.

    Attributes:
        game: its actions are the distinct ones of this game.
        temperature: of the actions that it draws when it learns, in units of reward: preferences are divided by it.
        tolerance: where it takes the preferred action instead, those within so much of it count as preferred as well,
            and the first in a fixed order is taken: what hardly matters is done alike in like frames. None for one
            that draws its actions also when it is filmed: it was never taught to do without chance.
        widths: channels of the stages; each halves the resolution of 64 pixels.
        features: width of the layer before the preferences.
    """

    game: str
    temperature: float = 0.1
    tolerance: float | None = 0.05
    widths: tuple[int, ...] = (32, 32, 64)
    features: int = 256

    def __post_init__(self):
        check_game(self.game)
        if not (
            self.temperature > 0 <= (self.tolerance or 0.0)
            and 1 <= len(self.widths) <= 6
            and min(*self.widths, self.features) >= 1
        ):
            raise ValueError(
                f"expected temperature > 0, tolerance >= 0 or None, 1 to 6 widths and sizes above 0, got {self}"
            )


class Policy(nn.Module):
    """A residual network of strided convolutions, three times as fast as IMPALA on a processor."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for stage, (before, width) in enumerate(zip((3, *config.widths), config.widths, strict=False)):
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1)]
            layers += [_Residual(width), nn.ReLU()] if stage else [nn.ReLU()]
        last = config.widths[-1] * (64 >> len(config.widths)) ** 2
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last, config.features), nn.ReLU())
        self.head = nn.Linear(config.features, len(distinct_actions(config.game)))

    def forward(self, frames: Tensor) -> Tensor:
        """Preferences (logits) for the distinct actions: uint8 (B, 64, 64, 3) -> float (B, actions)."""
        images = to_float(frames, frames.device).contiguous(memory_format=torch.channels_last)
        return self.head(self.encoder(images))


class _Residual(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


@torch.no_grad()
def choose(policy: Policy, frames: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Draws an action for each frame at the policy's temperature, or takes the preferred one without a generator.

    Args:
        policy: who plays.
        frames: uint8 (B, 64, 64, 3).
        rng: decides the draw.

    Returns:
        Indices into the distinct actions of the game, int64 (B,).
    """
    preferences, config = policy(torch.from_numpy(frames)).double().numpy(), policy.config
    if rng is None:
        return first_of_best(preferences, config.game, config.tolerance or 0.0)
    return (preferences / config.temperature + rng.gumbel(size=preferences.shape)).argmax(axis=1)


def load_policy(path: Path, game: str) -> Policy:
    """The policy that a file holds, ready to play the game.

    Raises:
        ValueError: there is no such file, it is damaged or something else, or its policy plays another game.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"expected the file of a trained policy, got {path}, where there is none; "
            f"make one with `flam-train demonstrator {game}` or `flam-train reinforce {game}`, and name the "
            "policy.safetensors of its run"
        )
    policy, _ = load_network(Path(path), Policy, PolicyConfig)
    if policy.config.game != check_game(game):
        raise ValueError(
            f"expected a policy of {game} in {path}, got one of {policy.config.game}; "
            f"train another with `flam-train demonstrator {game}` or `flam-train reinforce {game}`"
        )
    return policy


class Demonstrator:
    """Plays one game by a trained policy.

    Args:
        policy: as `load_policy` returns it.
        greedy: take the action that it prefers instead of drawing one; by default as it plays when it is filmed, which
            its config says.
    """

    name = "demonstrator"

    def __init__(self, policy: Policy, *, greedy: bool | None = None):
        self._policy, self._actions = policy, distinct_actions(policy.config.game)
        self._greedy = policy.config.tolerance is not None if greedy is None else greedy

    def begin(self, rng: np.random.Generator) -> None:
        """Nothing of the last episode is remembered; any draw of the next is decided by the generator."""
        self._rng = rng

    def act(self, game: Game) -> int:
        """The action for the frame of this moment."""
        return int(self.predict(game.observation()[None])[0][0])

    def predict(self, observations: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, None]:
        """Native frames uint8 (B, 64, 64, 3) of several games -> actions int (B,); as a `Player`, whatever is asked."""
        return self._actions[choose(self._policy, observations, None if self._greedy else self._rng)], None
