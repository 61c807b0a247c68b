"""What is minimised: pure functions of what the networks computed."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import Prediction, WorldModel
from flam_env.models.quantize import FSQ
from flam_env.models.target import Target
from flam_env.validation import check_fields

Weighting = Literal["even", "changed", "surprise"]
USUAL = 4.0  # nats of a patch, at which one more nat of it weighs twice as much under "surprise"
OWN = 0.9  # share of a nat that is one from the learned prior in the end; the rest keeps actions from drifting away
DIAGNOSED_CLIPS = 4  # accuracy is logged from the first clips of a batch; an argmax over all logits would cost time


@dataclass(frozen=True, kw_only=True)
class WorldModelLossConfig:
    """The objective of equation 6, and the alternatives to it that were measured."""

    information_price: float = 0.15
    """Weight of one nat of latent action against one nat of a frame's tokens, c: beta is c / N for a mean over N
    patches. For target="code" it multiplies the KL over N in the same way."""
    last_price: float | None = None
    """What a nat costs at the end, if it becomes cheaper or dearer: linear over the middle fifth to four fifths of the
    run. A price that begins high teaches the forward model to foretell, before there is anything to be told."""
    free_share: float = 0.05
    """First share of the run in which information is free (beta = 0), against posterior collapse."""
    ramp_share: float = 0.1
    """Share of the run over which beta then rises linearly to its value."""
    prior_share: float = 0.5
    """Share of the run from which on nats are those from the prior that the model learns, if it learns one; over the
    fifth of the run before that, they turn into these from those from the unit normal. A prior that charges from the
    start, while it learns, shuts the channel."""
    free_nats: float = 0.0
    """Nats that each slot may send in a clip at no cost. What enters is told in a few nats, once, by a slot that is
    silent else, which no slot would learn while every nat is dear; what moves all the time is not told in so few."""
    weighting: Weighting = "even"
    """`changed`: patches whose token changes share half of the weight, the others the other half. `surprise`: the worse
    a patch is foretold, the more a nat of it weighs, so that what is rare and sudden is worth being told."""

    def __post_init__(self):
        check_fields(self)
        shares = (self.free_share, self.ramp_share, self.prior_share)
        if min(self.information_price, self.last_price or 0, self.free_nats) < 0 or not all(
            0 <= share <= 1 for share in shares
        ):
            raise ValueError(
                f"expected information_price, last_price and free_nats >= 0, and shares in [0, 1], got {self}"
            )


def reconstruction_loss(frames: Tensor, reconstructions: Tensor) -> Tensor:
    """Equation 1: mean squared error of (B, 3, H, W) frames."""
    return (frames - reconstructions.float()).square().mean()


def prediction_loss(model: WorldModel, tokens: Tensor, prediction: Prediction, weighting: Weighting) -> Tensor:
    """First term of equation 6: mean over B, T - 1 and N of the `token_error` of the model's `config.target`."""
    after = tokens[:, 1:].long()
    error = token_error(model.config.target, model.quantizer, prediction.output, after)
    if weighting == "even":
        return error.mean()
    if weighting == "surprise":
        return (error + error.square() / (2 * USUAL)).mean()
    changed = (after != tokens[:, :-1]).float()
    still = 1 - changed
    halves = [(error * part).sum() / part.sum().clamp(min=1) for part in (changed, still)]
    return (halves[0] + halves[1]) / 2


def token_error(target: Target, quantizer: FSQ, output: Tensor, tokens: Tensor) -> Tensor:
    """How wrong what a network says (..., N, ...) of tokens (..., N) is, of each patch (..., N).

    For target="code" the squared error of the code, averaged over its channels; for target="token" the cross-entropy
    of the token in nats; for target="level" the sum over channels of the cross-entropy of the level.
    """
    if target == "code":
        return (output - quantizer.codes(tokens)).square().mean(-1)
    if target == "token":
        return _nats(output, tokens)
    return _nats(output, quantizer.steps(tokens)).sum(-1)


def _nats(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of logits (..., classes) at the classes (...) -> (...)."""
    return cross_entropy(logits.flatten(0, -2), classes.flatten(), reduction="none").view(classes.shape)


def information_weight(config: WorldModelLossConfig, patches: int, share: float | Tensor) -> float | Tensor:
    """Beta at a share of the run: 0 while information is free, then a linear ramp to information_price / N.

    Of a share that is a tensor without axes, one in float32.
    """
    ramp = _within_one((share - config.free_share) / max(config.ramp_share, 1e-9))
    price: float | Tensor = config.information_price
    if config.last_price is not None:
        price = price + (config.last_price - price) * _within_one((share - 0.4) / 0.4)
    weight = price / patches * ramp
    return weight.float() if isinstance(weight, Tensor) else weight


def _within_one(number: float | Tensor) -> float | Tensor:
    """The nearest number in [0, 1]; of a tensor without waiting for its value."""
    return number.clamp(0, 1) if isinstance(number, Tensor) else min(max(number, 0.0), 1.0)


def world_model_loss(
    model: WorldModel, tokens: Tensor, prediction: Prediction, config: WorldModelLossConfig, share: float | Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Equation 6: prediction error plus beta times the KL, summed over slots and dimensions, averaged over B and T."""
    error = prediction_loss(model, tokens, prediction, config.weighting)
    nats = prediction.posterior.nats
    weight = information_weight(config, model.patches, share)
    loss, terms = error, {"prediction": error.detach()}
    if model.learns_prior:
        own, surprise = prior_nats(model, prediction)
        learned = prior_weight(config, share)
        nats = (1 - learned) * nats + learned * own
        loss = loss + surprise / model.patches
        terms["nats_to_prior"] = surprise.detach()
    loss = loss + weight * charged(nats, config.free_nats)
    return loss, terms | diagnosis(model, tokens, prediction, DIAGNOSED_CLIPS)


def charged(nats: Tensor, free: float) -> Tensor:
    """What is charged of nats (B, T, K), those of a slot beyond its free ones in a clip: their sum in a mean frame."""
    return (nats.sum(1) - free).clamp(min=0).sum(-1).mean() / nats.shape[1] if free else nats.sum(-1).mean()


def prior_weight(config: WorldModelLossConfig, share: float | Tensor) -> float | Tensor:
    """How much of a nat is one from the learned prior: none at first, ever more for a fifth of the run, then most.

    Not all in the end: what a state foretells costs nothing in nats from the learned prior, however far it lies from
    zero, and actions would drift away.
    """
    return OWN * _within_one((share - config.prior_share) / 0.2 + 1)


def prior_nats(model: WorldModel, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Nats of every slot's action from the learned prior (B, T - 1, K), and their mean sum, for the prior to fit.

    The first has no gradient into the prior, the second none into anything else: the prior follows the posteriors and
    does not draw them.
    """
    seen = prediction.observed.at(slice(None, -1))
    prior: Any = model.prior(seen._replace(slots=seen.slots.detach()))
    fixed = LatentActions(*(part.detach() for part in prediction.posterior))
    return prior.detach().nats(prediction.posterior), prior.nats(fixed).sum(-1).mean()


@torch.no_grad()
def diagnosis(model: WorldModel, tokens: Tensor, prediction: Prediction, clips: int | None = None) -> dict[str, Tensor]:
    """Signs of health or collapse: accuracy on changed tokens, nats, slots in use.

    Accuracies are those of the first `clips` clips, by default of all.
    """
    few = slice(clips)
    after = tokens[few, 1:]
    right = model.next_tokens(prediction.output[few]) == after
    changed = after != tokens[few, :-1]
    owned = prediction.observed.masks.mean((0, 1, 3))
    posterior = prediction.posterior
    nats = tokens.new_zeros(model.actions.slots, dtype=torch.float32)
    if posterior is not None:
        nats = posterior.nats.mean((0, 1))
    return {
        "accuracy_changed": (right & changed).sum() / changed.sum().clamp(min=1),
        "accuracy_still": (right & ~changed).sum() / (~changed).sum().clamp(min=1),
        "frames_exact": right.all(-1).float().mean(),
        "nats_per_frame": nats.sum(),
        "nats_per_slot_least": nats.min(),
        "nats_per_slot_most": nats.max(),
        "active_slots": (nats > 0.1).sum().float(),
        "slots_with_patches": (owned > 0.2 / owned.numel()).sum().float(),
    }
