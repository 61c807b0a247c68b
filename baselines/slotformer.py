"""SlotFormer (Wu et al. 2022, arXiv:2210.05861): frozen slots go on by themselves, without actions.

What differs from its authors' version, and why:

- Slots are `baselines.savi`'s, of tokens and not of pixels, and so is the decoder through which the second loss comes.
- Attention over the slots of all frames of a window is factored into attention within a frame and of each slot to its
  own past: the blocks of all models here, and linear in the window. There are as many layers as theirs, four.
- It learns to predict one step ahead, as all models here; they unroll ten. A predicted frame is observed again.
- The prediction is a change of the slots, so that it begins with copying.

Since nothing tells it what will be decided, it can only learn what a scene does by itself; where agents act at random
it says the most likely, which is what was there. That is this row's point and no fault. It cannot label.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from baselines.learning import learn
from baselines.slot_dynamics import SlotDynamics, SlotDynamicsConfig, on_slots, slot_error
from flam_env.models.action_spaces import NoActions
from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import WORLD_MODELS, Observed, check_infers
from flam_env.validation import check_fields
from flam_env.worlds.checkpoint import fingerprint
from flam_train.engine import FitConfig, Progress
from flam_train.phases.losses import DIAGNOSED_CLIPS, Weighting, diagnosis, prediction_loss
from flam_train.phases.world_model import bare
from flam_train.presets import SMALL


@dataclass(frozen=True, kw_only=True)
class SlotFormerConfig(SlotDynamicsConfig):
    """Sizes of a SlotFormer; the tokenizer fixes `grid` and `levels`."""


@dataclass(frozen=True, kw_only=True)
class SlotLossConfig:
    """The error of predicted slots beside that of the frames that they show: both count one for the authors."""

    slot_weight: float = 1.0
    """Weight of the error of slots, in units of their variance, against the mean error of a patch."""
    weighting: Weighting = "even"
    """As in `WorldModelLossConfig`."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.slot_weight < 0:
            raise ValueError(f"expected slot_weight of 0 or more, got {self.slot_weight}")


@WORLD_MODELS.register(SlotFormerConfig)
class SlotFormer(SlotDynamics):
    """Slots of the next frame from those of the last few."""

    def __init__(self, config: SlotFormerConfig):
        super().__init__(config, memory=2 * config.layers)
        self.actions = NoActions()

    def infer(self, observed: Observed) -> LatentActions:
        """Refuses: there are no actions."""
        check_infers(self)
        raise AssertionError

    def moved(self, observed: Observed, vectors: Tensor) -> Tensor:
        """The features themselves."""
        return observed.features

    def vectors(self, actions: Tensor) -> Tensor:
        """Nothing reads them."""
        return actions

    def acted(self, observed: Observed) -> tuple[None, Tensor, Tensor]:
        """No posterior, and the one action that there is."""
        batch, time = observed.tokens.shape[:2]
        actions = self.actions.zeros(batch, time - 1, device=observed.tokens.device)
        return None, actions, actions


def slotformer_loss(model: SlotFormer, tokens: Tensor, config: SlotLossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The errors of frames and of slots, of clips (B, T, N)."""
    prediction, following = model.predict(tokens)
    error, of_slots = prediction_loss(model, tokens, prediction, config.weighting), slot_error(prediction, following)
    terms = {"prediction": error.detach(), "slot_error": of_slots.detach()}
    return error + config.slot_weight * of_slots, terms | diagnosis(model, tokens, prediction, DIAGNOSED_CLIPS)


def slotformer(
    data: Path,
    *,
    out: Path,
    model: SlotFormerConfig = SlotFormerConfig(),
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: SlotLossConfig = SlotLossConfig(),
    slots: Path | None = None,
    evaluate_every: int = 1000,
) -> Path:
    """Trains a SlotFormer on a store or a pack, with the tokenizer that `out` or the pack holds.

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
        return slotformer_loss(bare(network), tokens, loss)

    build, savi = on_slots(SlotFormer, model, data, out, slots, fit_config, evaluate_every)
    return learn(build, objective, loss, data, out, fit_config, evaluate_every, slots=fingerprint(savi))
