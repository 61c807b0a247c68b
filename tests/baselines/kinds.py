"""Each baseline as small as it can be, and what it is learned by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dots import SIZES
from torch import Tensor, nn

from baselines.action_world_model import ActionWorldModel, ActionWorldModelConfig
from baselines.adaworld import AdaWorld, AdaWorldConfig
from baselines.genie import Genie, GenieConfig, GenieLossConfig, genie_loss
from baselines.playslot import PlaySlot, PlaySlotConfig, PlaySlotLossConfig, playslot_loss
from baselines.savi import Savi, SaviConfig
from baselines.slotformer import SlotFormer, SlotFormerConfig, SlotLossConfig, slotformer_loss
from flam_env.models.protocol import WorldModel
from flam_train.engine import Loss, Progress
from flam_train.phases.losses import WorldModelLossConfig, prediction_loss, token_error, world_model_loss

SCENE = SIZES | {"feed_forward": 2, "layers": 1, "memory": 1, "latent_dim": 8}
SLOTS = SIZES | {"feed_forward": 2, "slots": 3, "iterations": 1}
CHEAP = WorldModelLossConfig(information_price=0.02, free_share=0.5)


@dataclass(frozen=True)
class Kind:
    """How a model is made, how it is learned, and for how many steps."""

    make: Callable[[], WorldModel]
    loss: Loss
    steps: int


def _adaworld(network: nn.Module, tokens: Tensor, progress: Progress) -> Any:
    return world_model_loss(network, tokens, network(tokens), CHEAP, progress.share)


def _genie(network: Any, tokens: Tensor, progress: Progress) -> Any:
    return genie_loss(network, tokens, GenieLossConfig(free_share=0.5), progress.share)


def _world_model(network: Any, batch: dict[str, Tensor], progress: Progress) -> Any:
    error = prediction_loss(network, batch["tokens"], network(**batch), "even")
    return error, {"prediction": error.detach()}


def _playslot(network: Any, tokens: Tensor, progress: Progress) -> Any:
    return playslot_loss(network, tokens, PlaySlotLossConfig(free_share=0.3), progress.share)


def _slotformer(network: Any, tokens: Tensor, progress: Progress) -> Any:
    return slotformer_loss(network, tokens, SlotLossConfig())


def savi_loss(network: Any, tokens: Tensor, progress: Progress) -> Any:
    error = token_error(network.config.target, network.quantizer, network(tokens)[0], tokens).mean()
    return error, {"reconstruction": error.detach()}


def make_savi() -> Savi:
    return Savi(SaviConfig(**SLOTS))


KINDS = {
    "adaworld": Kind(lambda: AdaWorld(AdaWorldConfig(**SCENE)), _adaworld, 120),
    "genie": Kind(lambda: Genie(GenieConfig(**SCENE, codes=16)), _genie, 200),
    "world-model": Kind(lambda: ActionWorldModel(ActionWorldModelConfig(**SCENE, choices=3)), _world_model, 120),
    "playslot": Kind(lambda: PlaySlot(PlaySlotConfig(**SLOTS, layers=1, latent_dim=5, codes=8)), _playslot, 150),
    "slotformer": Kind(lambda: SlotFormer(SlotFormerConfig(**SLOTS, layers=1)), _slotformer, 100),
}
SLOTTED = ("playslot", "slotformer")
INFER = ("adaworld", "genie", "playslot")
