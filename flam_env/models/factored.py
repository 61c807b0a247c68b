"""The Factored Latent Action Model: factorizer, dynamics and aggregator, joined (paper 4.2, Figure 3b)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from flam_env.models.action_spaces import ContinuousActions
from flam_env.models.aggregator import Aggregator
from flam_env.models.cells import CellFeatures
from flam_env.models.dynamics import ForwardDynamics, InverseDynamics, LatentActions
from flam_env.models.factorizer import Factorizer
from flam_env.models.layers import check_attention
from flam_env.models.prior import LearnedPrior
from flam_env.models.protocol import WORLD_MODELS, ActionPrior, History, Observed
from flam_env.models.quantize import FSQ, check_levels
from flam_env.models.recurrent_factorizer import RecurrentFactorizer
from flam_env.models.target import Target, TargetedWorldModel, entropy, predicted, target_size
from flam_env.validation import check_fields, check_integer


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Sizes of a factored world model. The tokenizer fixes `grid` and `levels`.

    What these two must fit is checked when the model is built, since training fills them in last.

    Raises:
        ValueError: a field of another type, a size below 1, or one that does not fit the others.
    """

    BEFORE: ClassVar[dict[str, Any]] = {
        "prior_components": None,
        "persistence": 0.0,
        "cohesion": None,
        "presence": False,
        "locality": False,
    }
    """What fields mean that older files lack."""
    GONE: ClassVar[dict[str, Any]] = {"motion": []}
    """Fields that only older files have, and all that they may say."""

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
    target: Target = "level"
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
    persistence: float = 0.0
    """Advantage of a slot, in logits, at the patches that it held in the frame before, and at those beside them that
    were nobody's (not in the paper). Without it, slots that match a thing equally well take turns at it."""
    cohesion: int | None = None
    """Cells to each side of a slot's strongest one that persistence counts for, where what the slot held hangs together
    (not in the paper); it counts against the slot elsewhere, and between slots alone, after the sink took its share.
    None: for all that it held."""
    presence: bool = False
    """Whether a slot's action counts only as far as the slot is there, by its largest share of a cell (not in the
    paper). Without it, a slot that holds nothing may decide for a thing that another one holds."""
    locality: bool = False
    """Whether a patch is predicted from the slots that are near it, where any are (not in the paper): those that hold
    some of it or of a patch beside it. Without it, what a slot does may change anything anywhere."""
    difference: bool = False
    """Whether the inverse dynamics starts from how a slot changes rather than from its next value: that nothing changes
    is then the same action wherever it happens."""
    recurrence: bool = False
    """Whether the slots of a frame start from those of the frame before, as in SAVi, in place of temporal attention
    (the paper's ablation "w/o factorizer temporal attention")."""
    prior_components: int | None = None
    """Gaussians in the learned prior of each slot's latent action (not in the paper). Without a learned prior latent
    actions are charged by the unit normal, as in the paper, and drawn from a bank of inferred ones."""
    coupled: bool = False
    """Whether each action is inferred from all slots of both frames, and each slot predicted from all actions (the
    paper's ablation "Global-Coupled FLAM")."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels(self.levels)
        check_attention(self.window, self.dim, self.heads)
        if self.prior_components is not None:
            check_integer(self.prior_components, "prior_components", 1)
        if not self.sharpness > 0:
            raise ValueError(f"expected sharpness above 0, got {self.sharpness}")
        if self.persistence < 0 or (self.persistence and self.recurrence):
            raise ValueError(f"expected persistence of at least 0, and 0 with recurrence, got {self.persistence}")
        if self.cohesion is not None:
            check_integer(self.cohesion, "cohesion", 0)
            if not self.persistence:
                raise ValueError("expected persistence above 0 with cohesion, which says what it counts for, got 0")

    @property
    def patches(self) -> int:
        """N, patches of a frame."""
        return self.grid**2

    @property
    def cell_grid(self) -> int:
        """Cells along one side of a frame: what `masks` and the attention see as patches."""
        return self.grid // self.group


@WORLD_MODELS.register(WorldModelConfig)
class FactoredWorldModel(TargetedWorldModel):
    """One latent action for each slot, each inferred on its own unless the model is coupled.

    Raises:
        ValueError: the grid is not a whole number of groups, or the levels do not fit the target.
    """

    config: WorldModelConfig

    def __init__(self, config: WorldModelConfig):
        super().__init__()
        self.config = config
        self.actions = ContinuousActions(slots=config.slots, dim=config.latent_dim)
        self.slots, self.slot_dim = config.slots, config.dim
        self.patches, self.window = config.patches, config.window
        self.quantizer = FSQ(config.levels)
        self.vocabulary = self.quantizer.size
        outputs = target_size(config.target, self.quantizer) * config.group**2
        sizes = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        self.features = CellFeatures(
            self.quantizer, grid=config.grid, group=config.group, dim=config.dim, context=config.cell_context
        )
        self.factorizer = _factorizer(config, **sizes)
        latent = {"latent_dim": config.latent_dim, "layers": config.layers}
        self.inverse_dynamics = InverseDynamics(**latent, **sizes, coupled=config.coupled, difference=config.difference)
        self.forward_dynamics = ForwardDynamics(**latent, **sizes, coupled=config.coupled)
        self.learned_prior = None
        if config.prior_components:
            self.learned_prior = LearnedPrior(**sizes, components=config.prior_components, latent_dim=config.latent_dim)
        self.aggregator = Aggregator(layers=config.layers, outputs=outputs, **sizes)

    def observe(self, tokens: Tensor, history: History | None = None) -> Observed:
        """Tokens (B, T, N) and the history before them -> slots of each frame; the features are those of cells."""
        features = rearrange(
            self.features(rearrange(tokens, "b t n -> (b t) n")), "(b t) n d -> b t n d", b=len(tokens)
        )
        slots = self.factorizer(features, history or self.empty_history(len(tokens), tokens.device))
        return Observed(tokens, slots.values, slots.masks, features, slots.history)

    def empty_history(self, batch: int, device: torch.device) -> History:
        """The history before the first frame."""
        return self.factorizer.empty_history(batch, device)

    def infer(self, observed: Observed) -> LatentActions:
        """Posterior of the latent actions (B, T - 1, K, A) between T frames (equation 4)."""
        slots = observed.slots
        now, after = (rearrange(s, "b t k s -> (b t) k s") for s in (slots[:, :-1], slots[:, 1:]))
        posterior = self.inverse_dynamics(now, after)
        return LatentActions(*(rearrange(x, "(b t) k a -> b t k a", b=len(slots)) for x in posterior))

    def step(self, observed: Observed, actions: Tensor) -> Tensor:
        """What follows each frame under latent actions (B, T, K, A) (equation 5).

        Returns:
            Predicted codes (B, T, N, L), logits (B, T, N, tokens) or logits (B, T, N, L, levels), as `config.target`
            says; float32.
        """
        if self.config.presence:
            actions = actions * observed.masks.amax(-1, keepdim=True)
        slots, actions, masks = (x.flatten(0, 1) for x in (observed.slots, actions, observed.masks))
        predicted_slots = self.forward_dynamics(slots, actions)
        near = masks if self.config.locality else None
        numbers = self.aggregator(observed.features.flatten(0, 1), predicted_slots, near).float()
        numbers = rearrange(self.features.to_patches(numbers), "(b t) n o -> b t n o", b=len(observed.tokens))
        return predicted(self.config.target, self.quantizer, numbers, observed.tokens)

    @property
    def learns_prior(self) -> bool:
        """Whether latent actions are drawn from a prior that was learned."""
        return self.learned_prior is not None

    def prior(self, observed: Observed) -> ActionPrior:
        """How likely latent actions are in these frames: as learned, else as in the unit normal."""
        return self.actions.prior() if self.learned_prior is None else self.learned_prior(observed.slots)

    def doubt(self, output: Tensor) -> Tensor:
        """How undecided what `step` returns is: mean entropy of a patch in nats (B, T); 0 for codes."""
        return entropy(self.config.target, output)


def _factorizer(config: WorldModelConfig, **sizes: int) -> Factorizer | RecurrentFactorizer:
    named = ("slots", "iterations", "sharpness", "background_sink", "focus")
    shared: dict[str, Any] = {name: getattr(config, name) for name in named} | sizes
    if config.recurrence:
        return RecurrentFactorizer(**shared)
    lasting: dict[str, Any] = {name: getattr(config, name) for name in ("window", "persistence", "cohesion")}
    return Factorizer(**shared, **lasting, patches=config.cell_grid**2)
