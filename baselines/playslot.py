"""PlaySlot (Villar-Corrales and Behnke 2025, arXiv:2502.07600): a latent action for every one of frozen slots.

What differs from its authors' version, and why:

- Slots are `baselines.savi`'s, of tokens and not of pixels, and so is the decoder through which the second loss comes.
- Inverse and forward model are FLAM's (paper, 5: the same where they apply), the inverse one on how a slot changes, as
  theirs. Theirs sees one slot and no other; FLAM's also the current ones beside it. Their forward model mixes slots and
  actions of all: that is `coupled`.
- Before the actions slots look back in time through the blocks of all models here, as theirs do over six frames.
- A book has 16 codes where theirs has 4 to 8: what an agent of a room does is one of 13 changes of a slot. With
  `bottleneck="vector"` the action is FLAM's Gaussian at FLAM's price, of as many dimensions.
- Codes are means of what chose them, which keep nearly all of what they were: theirs keeps a twentieth, for the decay
  stands at the wrong side, and divides by the batch instead of by who chose.
- It learns to predict one step ahead, as all models here; they unroll eight. A predicted frame is observed again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from einops import rearrange
from torch import Tensor, nn

from baselines.codebook import Codebook, Codes, UsedCodes, codes_in_use
from baselines.learning import learn
from baselines.slot_dynamics import SlotDynamics, SlotDynamicsConfig, on_slots, slot_error
from flam_env.models.action_spaces import ActionSpace, CodebookActions, ContinuousActions
from flam_env.models.dynamics import ForwardDynamics, InverseDynamics, LatentActions
from flam_env.models.protocol import WORLD_MODELS, ActionPrior, Observed
from flam_env.worlds.checkpoint import fingerprint
from flam_train.engine import FitConfig, Progress
from flam_train.phases.losses import (
    DIAGNOSED_CLIPS,
    WorldModelLossConfig,
    diagnosis,
    information_weight,
    prediction_loss,
)
from flam_train.phases.world_model import bare
from flam_train.presets import SMALL


@dataclass(frozen=True, kw_only=True)
class PlaySlotConfig(SlotDynamicsConfig):
    """Sizes of a PlaySlot; the tokenizer fixes `grid` and `levels`."""

    latent_dim: int = 16
    """A, dimension of each slot's action, of a code too."""
    bottleneck: Literal["codes", "vector"] = "codes"
    """Whether an action is a code of a book that all slots share, or a vector."""
    codes: int = 16
    """How many there are in the book."""
    coupled: bool = False
    """Whether each slot is predicted from the actions of all."""


@dataclass(frozen=True, kw_only=True)
class PlaySlotLossConfig(WorldModelLossConfig):
    """FLAM's objective and what the authors add. Of codes there is no price; they are `free` for the same share."""

    slot_weight: float = 1.0
    """Weight of the error of slots, in units of their variance, against the mean error of a patch."""
    commitment: float = 0.25
    """Weight of the squared distance of actions from their codes, both on the unit sphere."""

    def __post_init__(self):
        super().__post_init__()
        if self.slot_weight < 0 or self.commitment < 0:
            raise ValueError(f"expected slot_weight and commitment of 0 or more, got {self}")


@WORLD_MODELS.register(PlaySlotConfig)
class PlaySlot(SlotDynamics):
    """An action of its own moves each slot."""

    config: PlaySlotConfig

    def __init__(self, config: PlaySlotConfig):
        super().__init__(config, memory=config.layers)
        sizes: dict[str, Any] = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        sizes |= {"latent_dim": config.latent_dim, "layers": config.layers}
        self.inverse_dynamics = InverseDynamics(**sizes, difference=True)
        self.forward_dynamics = ForwardDynamics(**sizes, coupled=config.coupled)
        self.actions: ActionSpace = ContinuousActions(slots=config.slots, dim=config.latent_dim)
        self.codebook: Codebook | None = None
        if config.bottleneck == "codes":
            self.actions = CodebookActions(slots=config.slots, codes=config.codes)
            self.codebook = Codebook(config.codes, config.latent_dim)

    def infer(self, observed: Observed) -> Codes | LatentActions:
        """The actions between T frames: codes (B, T - 1, K), or the posterior of vectors (B, T - 1, K, A)."""
        slots = observed.slots
        now, after = (rearrange(s, "b t k s -> (b t) k s") for s in (slots[:, :-1], slots[:, 1:]))
        found = self.inverse_dynamics(now, after)
        posterior = LatentActions(*(rearrange(x, "(b t) k a -> b t k a", b=len(slots)) for x in found))
        if self.codebook is None:
            return posterior
        return self.codebook(posterior.sample() if self.training else posterior.mean)

    def acted(self, observed: Observed) -> tuple[Any, Tensor, Tensor]:
        """The posterior, its actions, and their vectors."""
        posterior = self.infer(observed)
        if isinstance(posterior, Codes):
            return posterior, posterior.code, posterior.vectors
        actions = posterior.sample() if self.training else posterior.mode
        return posterior, actions, actions

    def moved(self, observed: Observed, vectors: Tensor) -> Tensor:
        """Features of frames under vectors (B, T, K, A)."""
        features, actions = (rearrange(x, "b t k d -> (b t) k d") for x in (observed.features, vectors))
        return rearrange(self.forward_dynamics(features, actions), "(b t) k d -> b t k d", b=len(observed.tokens))

    def vectors(self, actions: Tensor) -> Tensor:
        """Codes (B, T, K), or vectors (B, T, K, A), which are returned -> vectors."""
        return actions if self.codebook is None else self.codebook.look_up(actions)

    def prior(self, observed: Observed) -> ActionPrior:
        """How often codes were used, whatever the frame; of vectors the prior of no knowledge."""
        return super().prior(observed) if self.codebook is None else UsedCodes(self.codebook.shares)


def playslot_loss(
    model: PlaySlot, tokens: Tensor, config: PlaySlotLossConfig, share: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The errors of frames and slots, and what actions cost: distance from their codes, or nats at FLAM's price."""
    if model.codebook is not None:
        model.codebook.free = share < config.free_share
    prediction, following = model.predict(tokens)
    error, of_slots = prediction_loss(model, tokens, prediction, config.weighting), slot_error(prediction, following)
    terms = {"prediction": error.detach(), "slot_error": of_slots.detach()}
    if model.codebook is not None:
        distance = prediction.posterior.distance.mean()
        cost = config.commitment * distance
        terms |= {"distance": distance.detach(), "codes_in_use": codes_in_use(model.codebook.shares)}
    else:
        cost = information_weight(config, model.patches, share) * prediction.posterior.nats.sum(-1).mean()
    loss = error + config.slot_weight * of_slots + cost
    return loss, terms | diagnosis(model, tokens, prediction, DIAGNOSED_CLIPS)


def playslot(
    data: Path,
    *,
    out: Path,
    model: PlaySlotConfig = PlaySlotConfig(),
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: PlaySlotLossConfig = PlaySlotLossConfig(),
    slots: Path | None = None,
    evaluate_every: int = 1000,
) -> Path:
    """Trains a PlaySlot on a store or a pack, with the tokenizer that `out` or the pack holds.

    Args:
        data: a store of episodes, or a pack.
        out: the directory of the world. A run that was interrupted goes on where it was.
        model: sizes; `grid` and `levels` are the tokenizer's, and those of slots that were learned theirs.
        fit_config: budget and optimiser.
        loss: the objective.
        slots: a file of learned slots, or a directory that has one; by default they are learned first, in `out`, with
            the same budget.
        evaluate_every: steps between looks at held-out rollouts.

    Returns:
        The directory of the world, ready for `gym.make("baselines:FLAM-v0", checkpoint=...)`.

    Raises:
        FileNotFoundError: there is no tokenizer yet, or no such slots.
        ValueError: no such data, frames of another size, slots of another tokenizer, or `out` holds another run.
    """

    def objective(network: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        return playslot_loss(bare(network), tokens, loss, progress.share)

    build, savi = on_slots(PlaySlot, model, data, out, slots, fit_config, evaluate_every)
    return learn(build, objective, loss, data, out, fit_config, evaluate_every, slots=fingerprint(savi))
