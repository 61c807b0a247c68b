"""The Factored Latent Action Model: factorizer, dynamics and aggregator, joined (paper 4.2, Figure 3b)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from flam_env.models.aggregator import Aggregator
from flam_env.models.dynamics import ForwardDynamics, InverseDynamics, LatentActions
from flam_env.models.factorizer import Factorizer, SlotHistory, Slots
from flam_env.models.quantize import FSQ


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Sizes of a factored world model. The tokenizer fixes `grid` and `levels`."""

    grid: int = 8
    """Patches along one side of a frame."""
    levels: tuple[int, ...] = (4, 4, 4, 4, 4)
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
    """Frames that the temporal attention of the factorizer sees, the current one included."""
    target: Literal["code", "token"] = "token"
    """What is predicted: the code (paper, equation 6) or a distribution over tokens."""
    patch_context: bool = True
    """Whether a patch feature sees the 3 x 3 patches around it, as the features of a CNN encoder do."""

    @property
    def patches(self) -> int:
        """N, patches of a frame."""
        return self.grid**2


class Prediction(NamedTuple):
    """All that a loss or a diagnosis may need of one clip; transitions t -> t + 1 for t < T - 1.

    output: (B, T - 1, N, L) codes or (B, T - 1, N, tokens) logits; slots: (B, T, K, S); masks: (B, T, K, N);
    posterior: mean and log variance (B, T - 1, K, A); actions: (B, T - 1, K, A), what the forward model was given.
    """

    output: Tensor
    slots: Tensor
    masks: Tensor
    posterior: LatentActions
    actions: Tensor


class PatchFeatures(nn.Module):
    """Tokens to patch features: linear in the code plus an embedding of the token and of the position."""

    def __init__(self, config: WorldModelConfig, quantizer: FSQ):
        super().__init__()
        self.grid = config.grid
        self.quantizer = quantizer
        self.from_code = nn.Linear(len(config.levels), config.dim)
        self.token_embedding = nn.Embedding(quantizer.size, config.dim)
        self.position_embedding = nn.Parameter(0.5 * torch.randn(config.patches, config.dim))
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        self.context = nn.Conv2d(config.dim, config.dim, 3, padding=1) if config.patch_context else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) -> features (B, N, D)."""
        features = self.from_code(self.quantizer.codes(tokens)) + self.token_embedding(tokens)
        if self.context is not None:
            around = self.context(rearrange(features, "b (h w) d -> b d h w", h=self.grid))
            features = features + rearrange(around, "b d h w -> b (h w) d")
        return features + self.position_embedding


class FactoredWorldModel(nn.Module):
    """Learns from tokens of clips; runs one step at a time in a dream.

    Latent action a_t leads from frame t to frame t + 1, for each slot on its own.
    """

    # Added to the logit of a patch's current token: at the start, nothing moves.
    STAY_LOGIT = 4.0

    def __init__(self, config: WorldModelConfig):
        super().__init__()
        self.config = config
        self.quantizer = FSQ(config.levels)
        sizes = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        self.features = PatchFeatures(config, self.quantizer)
        self.factorizer = Factorizer(slots=config.slots, iterations=config.iterations, window=config.window, **sizes)
        latent = {"latent_dim": config.latent_dim, "layers": config.layers}
        self.inverse = InverseDynamics(**latent, **sizes)
        self.dynamics = ForwardDynamics(**latent, **sizes)
        outputs = self.quantizer.size if config.target == "token" else len(config.levels)
        self.aggregator = Aggregator(layers=config.layers, outputs=outputs, **sizes)

    def forward(self, tokens: Tensor) -> Prediction:
        """Tokens (B, T, N) of clips -> one-step predictions of all transitions, teacher-forced (equation 6)."""
        features = self.embed(tokens)
        slots = self.factorizer(features)
        posterior = self.infer(slots.values)
        actions = posterior.sample() if self.training else posterior.mean
        output = self.predict(tokens[:, :-1], features[:, :-1], slots.values[:, :-1], actions)
        return Prediction(output, slots.values, slots.masks, posterior, actions)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, N) -> patch features (B, T, N, D)."""
        return rearrange(self.features(rearrange(tokens, "b t n -> (b t) n")), "(b t) n d -> b t n d", b=len(tokens))

    def observe(self, tokens: Tensor, history: SlotHistory | None = None) -> Slots:
        """Tokens (B, T, N) and the history before them -> slots, masks and the history after them."""
        return self.factorizer(self.embed(tokens), history)

    def infer(self, slots: Tensor) -> LatentActions:
        """Slots (B, T, K, S) -> posterior of the latent actions (B, T - 1, K, A) between them."""
        now, after = (rearrange(s, "b t k s -> (b t) k s") for s in (slots[:, :-1], slots[:, 1:]))
        posterior = self.inverse(now, after)
        return LatentActions(*(rearrange(x, "(b t) k a -> b t k a", b=len(slots)) for x in posterior))

    def predict(self, tokens: Tensor, features: Tensor, slots: Tensor, actions: Tensor) -> Tensor:
        """What follows frames of tokens (B, T, N), features (B, T, N, D), slots (B, T, K, S) and actions (B, T, K, A).

        Returns:
            Predicted codes (B, T, N, L) or logits (B, T, N, tokens), as `config.target` says; float32.
        """
        slots, actions = (rearrange(x, "b t k d -> (b t) k d") for x in (slots, actions))
        predicted_slots = self.dynamics(slots, actions)
        output = self.aggregator(rearrange(features, "b t n d -> (b t) n d"), predicted_slots).float()
        output = rearrange(output, "(b t) n o -> b t n o", b=len(tokens))
        if self.config.target == "code":
            return self.quantizer.codes(tokens) + output
        stay = torch.full_like(output[..., :1], self.STAY_LOGIT)
        return output.scatter_add(-1, tokens.long()[..., None], stay)

    def next_tokens(self, output: Tensor) -> Tensor:
        """The most likely tokens (...) of predicted codes (..., L) or logits (..., tokens)."""
        return self.quantizer.tokens(output) if self.config.target == "code" else output.argmax(-1)
