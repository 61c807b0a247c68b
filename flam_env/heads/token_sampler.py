"""How the tokens of a frame are drawn together, so that in a dream things come in (not in the paper).

A world model gives the level of each channel of each patch its own distribution. The likeliest of each never shows what
happens with a probability under one half, so nothing new enters; drawn each by itself, they disagree, and things fray.
Here they are drawn in a few passes, each of patches that lie apart, and a small network tells each pass what those
before have shown (after Chang et al. 2022, arXiv:2202.04200, with a fixed order). It changes what a model says, and
begins by saying the same.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, one_hot

from flam_env.heads.registry import HEADS
from flam_env.models.quantize import FSQ, check_levels
from flam_env.validation import check_fields

SURE = 5e-4  # a patch of no more doubt than this is what it is likeliest to be
LEAST_LOG = -8.0  # of a probability, as the network sees it


@dataclass(frozen=True, kw_only=True)
class TokenSamplerConfig:
    """Sizes of a token sampler. Its world fixes `levels` and `grid`.

    Raises:
        ValueError: a field of another type or below 1, an `apart` that is no power of two, or a temperature that is
            not above 0.
    """

    levels: tuple[int, ...] = (4, 4, 4, 4)
    """Of each channel of a code."""
    grid: int = 16
    """Patches along one side of a frame."""
    dim: int = 48
    layers: int = 4
    """Of 3 x 3 convolutions, which is how far a patch is seen."""
    width: int = 64
    """Of the layer that tells the channels of one patch apart."""
    apart: int = 2
    """Patches of one pass lie so many rows and columns apart; a frame takes the square of it in passes."""
    temperature: float = 0.9
    """1 draws as often as was learned; less draws what is rare more rarely."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels(self.levels)
        if self.apart & (self.apart - 1):
            raise ValueError(f"expected apart to be a power of two, got {self.apart}")
        if not self.temperature > 0:
            raise ValueError(f"expected temperature above 0, got {self.temperature}")

    @property
    def passes(self) -> int:
        """In which a frame is drawn."""
        return self.apart**2


@HEADS.register(TokenSamplerConfig)
class TokenSampler(nn.Module):
    """What a world model says of the next frame, and what the patches drawn before show -> what the others are.

    Attributes:
        passes: int64 (N,), the pass in which each patch is drawn; those that are next to each other lie far apart.
    """

    passes: Tensor
    before: Tensor

    def __init__(self, config: TokenSamplerConfig):
        super().__init__()
        self.config = config
        self.quantizer = FSQ(config.levels)
        channels, levels = len(config.levels), max(config.levels)
        self.enter = nn.Conv2d(3 * channels * levels + 1, config.dim, 1)
        self.place = nn.Parameter(torch.zeros(config.dim, config.grid, config.grid))
        self.blocks = nn.ModuleList(_Block(config.dim) for _ in range(config.layers))
        self.of_patch = nn.Linear(config.dim, channels * config.width)
        self.of_channels = nn.Linear(channels * levels, channels * config.width, bias=False)
        self.leave = nn.Parameter(torch.zeros(channels, config.width, levels))
        places = torch.arange(config.grid) % config.apart
        self.register_buffer("passes", _dispersed(config.apart)[places[:, None], places].flatten(), persistent=False)
        before = torch.ones(channels, channels).tril(-1)[:, None, :, None]
        before = before.expand(-1, config.width, -1, levels).reshape(channels * config.width, channels * levels)
        self.register_buffer("before", before.clone(), persistent=False)

    @property
    def chance(self) -> int:
        """How many numbers between 0 and 1 a frame is drawn with."""
        return self.config.grid**2 * len(self.config.levels)

    def forward(self, logs: Tensor, now: Tensor, after: Tensor, shown: Tensor) -> Tensor:
        """What patches are, in the light of those that are shown.

        Args:
            logs: float32 (B, N, L, levels), logarithms of the probabilities that a world model gives, as its
                `level_logs` says.
            now: (B, N), tokens of the frame before.
            after: (B, N, L), levels of the frame that is drawn. A channel sees those of the patches that are shown,
                and those of its own patch that come before it.
            shown: bool (B, N).

        Returns:
            Logits float32 (B, N, L, levels).
        """
        return self._channels(self._patches(logs, now, after, shown), logs, after)

    @torch.inference_mode()
    def draw(self, logs: Tensor, now: Tensor, chance: Tensor) -> Tensor:
        """Draws a frame.

        Args:
            logs: as for `forward`.
            now: as for `forward`.
            chance: (B, `chance`) in [0, 1), which decides all.

        Returns:
            Tokens int64 (B, N).
        """
        levels, shown = logs.argmax(-1), sure(logs)
        chance = chance.view(levels.shape)
        for each in range(self.config.passes):
            rows = (self.passes == each) & ~shown
            if rows.any():
                seen = self._patches(logs, now, levels, shown)[rows]
                levels[rows] = self._draw_patches(seen, logs[rows], chance[rows])
                shown = shown | rows
        return self.quantizer.join(levels)

    def _draw_patches(self, seen: Tensor, logs: Tensor, chance: Tensor) -> Tensor:
        """Patches (P, dim), one channel after the other -> levels (P, L)."""
        levels = torch.zeros(logs.shape[:2], dtype=torch.long, device=logs.device)
        for channel in range(levels.shape[1]):
            logits = self._channels(seen, logs, levels)[:, channel] / self.config.temperature
            below = logits.softmax(-1).cumsum(-1) <= chance[:, channel, None]
            levels[:, channel] = below.sum(-1).clamp(max=logits.shape[-1] - 1)
        return levels

    def _patches(self, logs: Tensor, now: Tensor, after: Tensor, shown: Tensor) -> Tensor:
        """What is known of each patch from all that is shown, (B, N, dim)."""
        shown = shown[..., None].float()
        known = self._flat(after) * shown
        seen = torch.cat(
            [logs.clamp(min=LEAST_LOG).flatten(2) / 4, self._flat(self.quantizer.steps(now)), known, shown], -1
        )
        grid = self.enter(seen.transpose(1, 2).unflatten(2, self.place.shape[1:])) + self.place
        for block in self.blocks:
            grid = block(grid)
        return grid.flatten(2).transpose(1, 2)

    def _channels(self, patches: Tensor, logs: Tensor, after: Tensor) -> Tensor:
        """Logits (..., L, levels) of patches (..., dim), each channel in the light of those before it."""
        hidden = self.of_patch(patches) + linear(self._flat(after), self.of_channels.weight * self.before)
        hidden = gelu(hidden.unflatten(-1, (len(self.leave), -1)))
        return logs + torch.einsum("...lh,lhv->...lv", hidden, self.leave).float()

    def _flat(self, levels: Tensor) -> Tensor:
        """Levels (..., L) -> float32 (..., L * levels), 1 where they are."""
        return one_hot(levels, max(self.config.levels)).flatten(-2).float()


class _Block(nn.Module):
    """Residual, at first the identity."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, dim)
        self.around = nn.Conv2d(dim, 2 * dim, 3, padding=1)
        self.back = nn.Conv2d(2 * dim, dim, 1)
        with torch.no_grad():
            for weight in self.back.parameters():
                weight.zero_()

    def forward(self, grid: Tensor) -> Tensor:
        return grid + self.back(gelu(self.around(self.norm(grid))))


def sure(logs: Tensor) -> Tensor:
    """Which patches are not drawn, bool (B, N): those whose likeliest levels have all but `SURE` of the probability."""
    return logs.amax(-1).sum(-1).exp() > 1 - SURE


def _dispersed(side: int) -> Tensor:
    """The numbers below side^2 in a square, int64 (side, side): of any first ones none are close (Bayer 1973)."""
    order = torch.zeros(1, 1, dtype=torch.long)
    while len(order) < side:
        order = torch.cat([torch.cat([4 * order, 4 * order + 2], 1), torch.cat([4 * order + 3, 4 * order + 1], 1)])
    return order
