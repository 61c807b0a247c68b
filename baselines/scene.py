"""What Genie, AdaWorld and the world model of known actions share: a scene is its cells, and one action moves it.

The cells are FLAM's own features, and they look back in time as its slots do, through a space-time transformer instead
of the factorizer. The inverse model is a space-time transformer over two frames with one more token from which the
action is read, the forward model a spatial transformer to whose cells the action is added: so have it AdaWorld
(lam/lam/modules/lam.py) and, but for the place of the action, Genie. There is no aggregator: cells are predicted as
they are.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from baselines.space_time import SpaceTime
from flam_env.models.cells import CellFeatures
from flam_env.models.factored import WorldModelConfig
from flam_env.models.layers import FeedForward, PairAttention, SelfAttention, check_attention
from flam_env.models.protocol import History, Observed
from flam_env.models.quantize import FSQ, check_levels
from flam_env.models.target import Target, TargetedWorldModel, predicted, target_size
from flam_env.validation import check_fields


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Sizes of a model of whole scenes; what is called as in `WorldModelConfig` is the same.

    Raises:
        ValueError: a field of another type, a size below 1, or one that does not fit the others.
    """

    grid: int = 16
    group: int = 2
    levels: tuple[int, ...] = (4, 4, 4, 4)
    latent_dim: int = 256
    """A, dimension of the one action of a scene: as much as FLAM's K actions have together (paper, C.1)."""
    dim: int = 128
    heads: int = 4
    layers: int = 2
    """Layers of the inverse model; the forward model has twice as many, for it is the aggregator as well."""
    feed_forward: int = 2
    memory: int = 2
    """Space-time blocks through which cells look back, as many as FLAM has slot-attention iterations."""
    window: int = 8
    target: Target = "level"
    cell_context: bool = True
    difference: bool = False
    """Whether the inverse model sees how cells change rather than what they become."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels(self.levels)
        check_attention(self.window, self.dim, self.heads)

    @property
    def patches(self) -> int:
        """N, patches of a frame."""
        return self.grid**2


def scene_sizes(flam: WorldModelConfig) -> dict[str, Any]:
    """The fields of a `SceneConfig` that make a model equal to FLAM of these sizes in all that they share."""
    same = ("grid", "group", "levels", "dim", "heads", "layers", "feed_forward", "window", "target", "cell_context")
    sizes = {name: getattr(flam, name) for name in (*same, "difference")}
    return sizes | {"latent_dim": flam.slots * flam.latent_dim, "memory": flam.iterations}


class SceneChange(nn.Module):
    """What happened between two frames: a transformer over the cells of both, read at a token of its own."""

    def __init__(self, *, dim: int, heads: int, layers: int, feed_forward: int, difference: bool):
        super().__init__()
        self.difference = difference
        self.action_embedding = nn.Parameter(0.5 * torch.randn(1, dim))
        self.next_cell = nn.Linear(dim, dim)
        self.temporal = nn.ModuleList(PairAttention(dim, heads) for _ in range(layers))
        self.spatial = nn.ModuleList(SelfAttention(dim, heads) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(dim, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, clips: Tensor) -> Tensor:
        """Cells (B, T, N, D) of clips -> what leads from each frame to the next, (B, T - 1, D)."""
        cells, after = (rearrange(x, "b t n d -> (b t) n d") for x in (clips[:, :-1], clips[:, 1:]))
        token = self.action_embedding.expand(len(cells), 1, -1)
        seen = after - cells if self.difference else after
        now, x = torch.cat([token, cells], 1), torch.cat([token, self.next_cell(seen)], 1)
        for temporal, spatial, feed_forward in zip(self.temporal, self.spatial, self.feed_forward, strict=True):
            x = x + temporal(x, now)
            x = x + spatial(x)
            x = x + feed_forward(x)
        return rearrange(self.norm(x[:, 0]), "(b t) d -> b t d", b=len(clips))


class SceneForward(nn.Module):
    """The next value of every cell from all cells and the one action. The head starts small, as FLAM's does."""

    def __init__(self, *, dim: int, heads: int, layers: int, feed_forward: int, latent_dim: int, outputs: int):
        super().__init__()
        self.action = nn.Linear(latent_dim, dim)
        self.spatial = nn.ModuleList(SelfAttention(dim, heads) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(dim, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, outputs)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)

    def forward(self, cells: Tensor, action: Tensor) -> Tensor:
        """Cells (B, N, D) and action vectors (B, A) -> (B, N, outputs)."""
        x = cells + self.action(action)[:, None]
        for spatial, feed_forward in zip(self.spatial, self.feed_forward, strict=True):
            x = x + spatial(x)
            x = x + feed_forward(x)
        return self.head(self.norm(x))


class SceneModel(TargetedWorldModel):
    """A world model without slots: K = 1, whose "slot" is the mean of the cells and whose mask is everything.

    Who derives from it says which actions there are and what vector (B, T, A) stands for each.
    """

    config: SceneConfig

    def __init__(self, config: SceneConfig):
        super().__init__()
        self.config = config
        self.slots, self.slot_dim = 1, config.dim
        self.patches, self.window = config.patches, config.window
        self.quantizer = FSQ(config.levels)
        self.vocabulary = self.quantizer.size
        sizes = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        outputs = target_size(config.target, self.quantizer) * config.group**2
        self.features = CellFeatures(
            self.quantizer, grid=config.grid, group=config.group, dim=config.dim, context=config.cell_context
        )
        self.memory = SpaceTime(layers=config.memory, window=config.window, **sizes)
        self.forward_dynamics = SceneForward(
            layers=2 * config.layers, latent_dim=config.latent_dim, outputs=outputs, **sizes
        )

    @abstractmethod
    def vectors(self, actions: Tensor) -> Tensor:
        """Actions (B, T, ...), shaped as `actions` say -> what the forward model sees of them, (B, T, A)."""

    def observe(self, tokens: Tensor, history: History | None = None) -> Observed:
        """Tokens (B, T, N) and the history before them -> cells (B, T, cells, D), the features, and their mean."""
        flat = self.features(rearrange(tokens, "b t n -> (b t) n"))
        history = history or self.empty_history(len(tokens), tokens.device)
        cells, after = self.memory(rearrange(flat, "(b t) n d -> b t n d", b=len(tokens)), history)
        whole = cells.new_ones(*tokens.shape[:2], 1, 1, dtype=torch.float32)
        return Observed(tokens, cells.mean(2, keepdim=True).float(), whole, cells, after)

    def empty_history(self, batch: int, device: torch.device) -> History:
        """The history before the first frame."""
        return self.memory.empty_history(batch, (self.config.grid // self.config.group) ** 2, device)

    def step(self, observed: Observed, actions: Tensor) -> Tensor:
        """What follows each frame under actions: as `FactoredWorldModel.step` gives it."""
        return self.predict(observed, self.vectors(actions))

    def predict(self, observed: Observed, vectors: Tensor) -> Tensor:
        """What follows each frame under the vectors (B, T, A) of actions."""
        cells = rearrange(observed.features, "b t n d -> (b t) n d")
        numbers = self.forward_dynamics(cells, rearrange(vectors, "b t a -> (b t) a")).float()
        numbers = rearrange(self.features.to_patches(numbers), "(b t) n o -> b t n o", b=len(observed.tokens))
        return predicted(self.config.target, self.quantizer, numbers, observed.tokens)
