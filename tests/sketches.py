"""World models as others build them, as small as they can be: what the seam between models and the house must hold.

`SceneModel` has one vector that moves the whole scene (as AdaWorld), `CodeModel` one code of a book (as Genie), and
`StillModel` slots and no actions at all (as SlotFormer).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flam_env.models.action_spaces import CodebookActions, ContinuousActions, NoActions
from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import WORLD_MODELS, History, Observed, WorldModel, check_infers
from flam_env.models.quantize import FSQ


@dataclass(frozen=True, kw_only=True)
class SketchConfig:
    """Sizes of a sketch."""

    grid: int
    levels: tuple[int, ...]
    dim: int = 10
    latent_dim: int = 3


class Sketch(WorldModel):
    """Features of patches, a summary that remembers the frame before, and a network over both and the action."""

    def __init__(self, config: SketchConfig, actions_dim: int):
        super().__init__()
        self.config, self.quantizer = config, FSQ(config.levels)
        self.slots, self.slot_dim, self.window = 1, config.dim, 4
        self.patches, self.vocabulary = config.grid**2, self.quantizer.size
        self.embed = nn.Linear(len(config.levels), config.dim)
        self.mix = nn.Linear(2 * config.dim, config.dim)
        self.predict = nn.Linear(2 * config.dim + actions_dim, self.quantizer.size)

    def observe(self, tokens: Tensor, history: History | None = None) -> Observed:
        (before,) = history or self.empty_history(len(tokens), tokens.device)
        features = self.embed(self.quantizer.codes(tokens))
        seen = features.mean(2)
        past = torch.cat([before[:, None], seen], 1)
        slots = self.mix(torch.cat([seen, past[:, :-1]], -1))[:, :, None]
        masks = torch.ones(*tokens.shape[:2], 1, 1, device=tokens.device)
        return Observed(tokens, slots, masks, features, (seen[:, -1],))

    def empty_history(self, batch: int, device: torch.device) -> History:
        return (torch.zeros(batch, self.config.dim, device=device),)

    def infer(self, observed: Observed):
        check_infers(self)
        return self.posterior(observed.slots[:, 1:] - observed.slots[:, :-1])

    def step(self, observed: Observed, actions: Tensor) -> Tensor:
        scene = torch.cat([observed.slots.mean(2), self.as_vector(actions)], -1)
        around = scene[:, :, None].expand(*observed.features.shape[:3], -1)
        return self.predict(torch.cat([observed.features, around], -1))

    def next_tokens(self, output: Tensor) -> Tensor:
        return output.argmax(-1)


@WORLD_MODELS.register(SketchConfig)
class SceneModel(Sketch):
    """One Gaussian vector for the scene."""

    def __init__(self, config: SketchConfig):
        super().__init__(config, config.latent_dim)
        self.actions = ContinuousActions(slots=1, dim=config.latent_dim)
        self.mean = nn.Linear(config.dim, config.latent_dim)

    def posterior(self, change: Tensor) -> LatentActions:
        mean = self.mean(change)
        return LatentActions(mean, torch.full_like(mean, -2.0))

    def as_vector(self, actions: Tensor) -> Tensor:
        return actions[:, :, 0]


class Codes(NamedTuple):
    """A posterior over codes: logits (B, T, K, codes)."""

    logits: Tensor

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1)

    @property
    def nats(self) -> Tensor:
        chances = self.logits.softmax(-1)
        return (chances * (chances * chances.shape[-1]).log()).sum(-1)

    def sample(self) -> Tensor:
        return torch.distributions.Categorical(logits=self.logits).sample()


@WORLD_MODELS.register(SketchConfig)
class CodeModel(Sketch):
    """One of seven codes for the scene."""

    CODES = 7

    def __init__(self, config: SketchConfig):
        super().__init__(config, self.CODES)
        self.actions = CodebookActions(slots=1, codes=self.CODES)
        self.logits = nn.Linear(config.dim, self.CODES)

    def posterior(self, change: Tensor) -> Codes:
        return Codes(9 * self.logits(change))

    def as_vector(self, actions: Tensor) -> Tensor:
        return nn.functional.one_hot(actions[:, :, 0], self.CODES).float()


@WORLD_MODELS.register(SketchConfig)
class StillModel(Sketch):
    """Three slots, and no actions."""

    def __init__(self, config: SketchConfig):
        super().__init__(config, 0)
        self.slots, self.actions = 3, NoActions()
        self.query = nn.Linear(config.dim, 3)

    def observe(self, tokens: Tensor, history: History | None = None) -> Observed:
        seen = super().observe(tokens, history)
        masks = self.query(seen.features).softmax(-1).transpose(2, 3)
        return seen._replace(slots=masks @ seen.features, masks=masks)

    def as_vector(self, actions: Tensor) -> Tensor:
        return actions.new_zeros(*actions.shape[:2], 0, dtype=torch.float32)
