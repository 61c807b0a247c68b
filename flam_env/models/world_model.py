"""The Factored Latent Action Model: factorizer, dynamics and aggregator, joined (paper 4.2, Figure 3b)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from flam_env.models.aggregator import Aggregator
from flam_env.models.dynamics import ForwardDynamics, InverseDynamics, LatentActions
from flam_env.models.factorizer import Factorizer, SlotHistory, Slots
from flam_env.models.quantize import FSQ, check_levels
from flam_env.models.recurrent_factorizer import RecurrentFactorizer
from flam_env.validation import check_fields


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Sizes of a factored world model. The tokenizer fixes `grid` and `levels`.

    What these two must fit is checked when the model is built, since training fills them in last.

    Raises:
        ValueError: a field of another type, a size below 1, or one that does not fit the others.
    """

    grid: int = 16
    """Patches along one side of a frame."""
    group: int = 2
    """Side of the square of patches that the networks treat as one cell; 1 in the paper. A cell's tokens are embedded
    and predicted together, so attention runs over (grid / group)^2 cells however fine the tokenizer."""
    levels: tuple[int, ...] = (4, 4, 4, 4)
    """FSQ levels of each channel of a code."""
    slots: int = 16
    """K, number of factors (paper, Table 5)."""
    latent_dim: int = 16
    """A, dimension of each slot's latent action."""
    dim: int = 128
    """Attention and slot dimension."""
    heads: int = 4
    layers: int = 2
    """Layers of the inverse dynamics, the forward dynamics and the aggregator."""
    feed_forward: int = 2
    """Width of the feed-forward layers as a multiple of dim."""
    iterations: int = 2
    """Slot-attention iterations."""
    window: int = 8
    """Frames that the temporal attention of the factorizer sees, the current one included. With `recurrence` there is
    none, and this is only the most frames that a dream may start from."""
    target: Literal["code", "token", "level"] = "level"
    """What is predicted: the code (paper, equation 6), a distribution over tokens, or one over the levels of each
    channel of the code (all channels need the same number of levels)."""
    cell_context: bool = True
    """Whether the feature of a cell sees the 3 x 3 cells around it, as the features of a CNN encoder do."""
    sharpness: float = 1.5
    """Gain of the query and key projections of slot attention at the start. With a small one all slots begin with
    nearly the same average of the frame, with a large one what they hold at the start is what they keep."""
    background_sink: bool = False
    """Whether one more competitor takes what a frame is mostly made of and is then dropped (not in the paper): the
    background needs no slot, and masks sum to less than 1 where the sink took a share."""
    focus: bool = False
    """Whether patches weigh within a slot by how well they match it, beside the share of them that it won (not in the
    paper), so that what a slot holds beside an agent does not dilute it."""
    difference: bool = False
    """Whether the inverse dynamics starts from how a slot changes rather than from its next value: that nothing changes
    is then the same action wherever it happens."""
    recurrence: bool = False
    """Whether the slots of a frame start from those of the frame before, as in SAVi, in place of temporal attention
    (the paper's ablation "w/o factorizer temporal attention")."""
    coupled: bool = False
    """Whether each action is inferred from all slots of both frames, and each slot predicted from all actions (the
    paper's ablation "Global-Coupled FLAM")."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels(self.levels)
        if self.window < 2:
            raise ValueError(f"expected a temporal window of at least 2 frames, got window={self.window}")
        if not self.sharpness > 0:
            raise ValueError(f"expected sharpness above 0, got {self.sharpness}")
        if self.dim % (2 * self.heads):  # rotary positions turn pairs of channels of a head
            raise ValueError(f"expected dim to be a multiple of 2 * heads, got dim={self.dim}, heads={self.heads}")

    @property
    def patches(self) -> int:
        """N, patches of a frame."""
        return self.grid**2

    @property
    def cell_grid(self) -> int:
        """Cells along one side of a frame: what `masks` and the attention see as patches."""
        return self.grid // self.group


class Prediction(NamedTuple):
    """All that a loss or a diagnosis may need of one clip; transitions t -> t + 1 for t < T - 1.

    output: (B, T - 1, N, ...) as `FactoredWorldModel.predict` gives it; slots: (B, T, K, S); masks: (B, T, K, cells);
    posterior: mean and log variance (B, T - 1, K, A); actions: (B, T - 1, K, A), what the forward model was given.
    """

    output: Tensor
    slots: Tensor
    masks: Tensor
    posterior: LatentActions
    actions: Tensor


class CellFeatures(nn.Module):
    """Tokens to cell features: linear in the codes, plus an embedding of each token and of the cell's position."""

    offsets: Tensor

    def __init__(self, config: WorldModelConfig, quantizer: FSQ):
        super().__init__()
        self.config, self.quantizer = config, quantizer
        in_cell = config.group**2
        self.from_codes = nn.Linear(in_cell * len(config.levels), config.dim)
        self.token_embedding = nn.Embedding(in_cell * quantizer.size, config.dim)
        self.position_embedding = nn.Parameter(0.5 * smooth_positions(config.cell_grid, config.dim))
        nn.init.normal_(self.token_embedding.weight, std=0.5 / config.group)
        self.context = nn.Conv2d(config.dim, config.dim, 3, padding=1) if config.cell_context else None
        self.register_buffer("offsets", torch.arange(in_cell) * quantizer.size, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) -> cell features (B, cells, D)."""
        cells = rearrange(tokens.long(), "b (h p w q) -> b (h w) (p q)", **self.layout)
        codes = rearrange(self.quantizer.codes(cells), "b n g l -> b n (g l)")
        features = self.from_codes(codes) + self.token_embedding(cells + self.offsets).sum(2)
        if self.context is not None:
            around = self.context(rearrange(features, "b (h w) d -> b d h w", h=self.config.cell_grid))
            features = features + rearrange(around, "b d h w -> b (h w) d")
        return features + self.position_embedding

    @property
    def layout(self) -> dict[str, int]:
        """Axis lengths that take patches in row-major order apart into cells: (h p w q)."""
        return {"h": self.config.cell_grid, "p": self.config.group, "w": self.config.cell_grid, "q": self.config.group}


def smooth_positions(side: int, dim: int, reach: float = 2.0) -> Tensor:
    """Random Fourier features of a square grid: (side * side, dim) of unit spread, alike within about `reach` cells.

    Attention that starts from these is local at once, where independent noise for each cell would scatter it.
    """
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows, columns], -1).flatten(0, 1).float()
    return 2**0.5 * torch.cos(places @ torch.randn(2, dim) / reach + 2 * torch.pi * torch.rand(dim))


class FactoredWorldModel(nn.Module):
    """Learns from tokens of clips; runs one step at a time in a dream.

    Latent action a_t leads from frame t to frame t + 1, for each slot on its own unless the model is coupled.

    Raises:
        ValueError: the grid is not a whole number of groups, or the levels do not fit the target.
    """

    # Added to the logit of what a patch is now: at the start, nothing moves.
    STAY_LOGIT = 4.0

    def __init__(self, config: WorldModelConfig):
        super().__init__()
        self.config = config
        self.quantizer = FSQ(config.levels)
        if config.grid % config.group:
            raise ValueError(f"expected grid to be a multiple of group, got grid={config.grid}, group={config.group}")
        if config.target == "level" and len(set(config.levels)) > 1:
            raise ValueError(f'expected equally many levels for target="level", got levels={config.levels}')
        sizes = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        self.features = CellFeatures(config, self.quantizer)
        self.factorizer = _factorizer(config, **sizes)
        latent = {"latent_dim": config.latent_dim, "layers": config.layers}
        self.inverse_dynamics = InverseDynamics(**latent, **sizes, coupled=config.coupled, difference=config.difference)
        self.forward_dynamics = ForwardDynamics(**latent, **sizes, coupled=config.coupled)
        outputs = {"code": len(config.levels), "token": self.quantizer.size, "level": sum(config.levels)}[config.target]
        self.aggregator = Aggregator(layers=config.layers, outputs=outputs * config.group**2, **sizes)

    def forward(self, tokens: Tensor, shown: Tensor | None = None) -> Prediction:
        """One-step predictions of all transitions of clips (equation 6).

        Args:
            tokens: (B, T, N), from which slots and actions are inferred.
            shown: (B, T, N), what the forward model takes for the current frames, e.g. its own guesses; by default
                the tokens themselves (teacher forcing).
        """
        features = self.embed(tokens)
        slots = self.factorizer(features)
        posterior = self.infer(slots.values)
        actions = posterior.sample() if self.training else posterior.mean
        now, values = tokens, slots.values
        if shown is not None:
            now, features = shown, self.embed(shown)
            values = self.factorizer(features).values
        output = self.predict(now[:, :-1], features[:, :-1], values[:, :-1], actions)
        return Prediction(output, slots.values, slots.masks, posterior, actions)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, N) -> cell features (B, T, cells, D)."""
        return rearrange(self.features(rearrange(tokens, "b t n -> (b t) n")), "(b t) n d -> b t n d", b=len(tokens))

    def observe(self, tokens: Tensor, history: SlotHistory | None = None) -> Slots:
        """Tokens (B, T, N) and the history before them -> slots, masks and the history after them."""
        return self.factorizer(self.embed(tokens), history)

    def infer(self, slots: Tensor) -> LatentActions:
        """Slots (B, T, K, S) -> posterior of the latent actions (B, T - 1, K, A) between them."""
        now, after = (rearrange(s, "b t k s -> (b t) k s") for s in (slots[:, :-1], slots[:, 1:]))
        posterior = self.inverse_dynamics(now, after)
        return LatentActions(*(rearrange(x, "(b t) k a -> b t k a", b=len(slots)) for x in posterior))

    def predict(self, tokens: Tensor, features: Tensor, slots: Tensor, actions: Tensor) -> Tensor:
        """What follows frames of tokens (B, T, N), features (B, T, cells, D) and slots under actions (B, T, K, ...).

        Returns:
            Predicted codes (B, T, N, L), logits (B, T, N, tokens) or logits (B, T, N, L, levels), as `config.target`
            says; float32.
        """
        slots, actions = (rearrange(x, "b t k d -> (b t) k d") for x in (slots, actions))
        predicted_slots = self.forward_dynamics(slots, actions)
        output = self.aggregator(rearrange(features, "b t n d -> (b t) n d"), predicted_slots).float()
        pattern = "(b t) (h w) (p q o) -> b t (h p w q) o"
        output = rearrange(output, pattern, b=len(tokens), **self.features.layout)
        if self.config.target == "code":
            return self.quantizer.codes(tokens) + output
        now = tokens.long()
        if self.config.target == "level":
            output = rearrange(output, "b t n (l levels) -> b t n l levels", l=len(self.config.levels))
            now = self.quantizer.steps(now)
        return output.scatter_add(-1, now[..., None], torch.full_like(output[..., :1], self.STAY_LOGIT))

    def next_tokens(self, output: Tensor, among: Tensor | None = None) -> Tensor:
        """The most likely tokens (B, T, N) of what `predict` returns: of all, or among some, int64 (M,)."""
        if among is not None:
            return among[self._scores(output, among).argmax(-1)]
        if self.config.target == "code":
            return self.quantizer.tokens(output)
        best = output.argmax(-1)
        return self.quantizer.join(best) if self.config.target == "level" else best

    def _scores(self, output: Tensor, tokens: Tensor) -> Tensor:
        """How likely each of some tokens (M,) is by what `predict` returns, on a scale of its own: (B, T, N, M)."""
        if self.config.target == "code":
            return -torch.cdist(output, self.quantizer.codes(tokens))
        if self.config.target == "token":
            return output[..., tokens]
        steps = self.quantizer.steps(tokens)
        of_channels = zip(output.unbind(-2), steps.unbind(-1), strict=True)
        return torch.stack([levels[..., step] for levels, step in of_channels]).sum(0)


def _factorizer(config: WorldModelConfig, **sizes: int) -> Factorizer | RecurrentFactorizer:
    named = ("slots", "iterations", "sharpness", "background_sink", "focus")
    shared: dict[str, Any] = {name: getattr(config, name) for name in named} | sizes
    return RecurrentFactorizer(**shared) if config.recurrence else Factorizer(**shared, window=config.window)
