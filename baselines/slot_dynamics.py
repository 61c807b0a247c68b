"""What PlaySlot and SlotFormer share: slots that were learned before and are frozen, and a model of how they go on."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from baselines.learning import fitted
from baselines.savi import Savi, SaviConfig, load_slots, slots
from baselines.space_time import SpaceTime
from flam_env.models.protocol import History, Observed, Prediction
from flam_env.models.target import TargetedWorldModel
from flam_env.models.tokenizer import Tokenizer
from flam_train.engine import FitConfig
from flam_train.phases.tokenizer import choose_tokenizer
from flam_train.store.training_data import open_data

Model = TypeVar("Model", bound="SlotDynamics")
MEMORY = 3  # tensors of the history that are those of the space-time transformer


@dataclass(frozen=True, kw_only=True)
class SlotDynamicsConfig(SaviConfig):
    """Sizes of slots and of what predicts them."""

    layers: int = 2
    """Half of the blocks that predict slots: both authors have four."""


class SlotDynamics(TargetedWorldModel):
    """A world model over frozen slots: they, and nothing else of a frame, say what follows.

    A predicted frame is observed again, as by all models here, where both authors hand the predicted slots on: the
    slots of a dream are then those of its frames. Who derives from it says which actions there are, and moves slots.
    """

    config: SlotDynamicsConfig

    def __init__(self, config: SlotDynamicsConfig, memory: int):
        super().__init__()
        self.config = config
        self.slots, self.slot_dim = config.slots, config.dim
        self.patches, self.window = config.grid**2, config.window
        self.savi = Savi(config).requires_grad_(False)
        self.quantizer = self.savi.quantizer
        self.vocabulary = self.quantizer.size
        sizes = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        self.memory = SpaceTime(layers=memory, window=config.window, **sizes)
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.dim)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)

    def observe(self, tokens: Tensor, history: History | None = None) -> Observed:
        """Tokens (B, T, N) -> slots of each frame; the features (B, T, K, D) are slots that have looked back."""
        history = history or self.empty_history(len(tokens), tokens.device)
        with torch.no_grad():
            found = self.savi.observe(tokens, history[:-MEMORY])
        features, after = self.memory(found.values, history[-MEMORY:])
        return Observed(tokens, found.values.float(), found.masks, features, (*found.history, *after))

    def empty_history(self, batch: int, device: torch.device) -> History:
        """The history before the first frame: of the slots, then of the space-time transformer."""
        memory = self.memory.empty_history(batch, self.slots, device)
        return (*self.savi.factorizer.empty_history(batch, device), *memory)

    @abstractmethod
    def moved(self, observed: Observed, vectors: Tensor) -> Tensor:
        """Features of frames and what the model sees of actions -> features (B, T, K, D) of the next slots."""

    @abstractmethod
    def vectors(self, actions: Tensor) -> Tensor:
        """Actions (B, T, ...), shaped as `actions` say -> what `moved` sees of them."""

    def next_slots(self, observed: Observed, vectors: Tensor) -> Tensor:
        """The slots (B, T, K, S) that follow: those that are, and a change."""
        return observed.slots + self.head(self.norm(self.moved(observed, vectors)))

    def step(self, observed: Observed, actions: Tensor) -> Tensor:
        """What follows each frame: codes or logits, as `Savi.decode` gives them."""
        return self.savi.decode(self.next_slots(observed, self.vectors(actions)))

    def forward(self, tokens: Tensor, shown: Tensor | None = None, known: Tensor | None = None) -> Prediction:
        """As `WorldModel.forward`."""
        return self.predict(tokens, shown)[0]

    def predict(self, tokens: Tensor, shown: Tensor | None = None) -> tuple[Prediction, Tensor]:
        """As `forward`, and the predicted slots (B, T - 1, K, S)."""
        observed = self.observe(tokens)
        posterior, actions, vectors = self.acted(observed)
        seen = (observed if shown is None else self.observe(shown)).at(slice(None, -1))
        following = self.next_slots(seen, vectors)
        return Prediction(self.savi.decode(following), observed, posterior, actions), following

    @abstractmethod
    def acted(self, observed: Observed) -> tuple[Any, Tensor, Tensor]:
        """The posterior of the actions between T frames, actions, and their vectors, through which gradients pass."""


def slot_error(prediction: Prediction, following: Tensor) -> Tensor:
    """Mean squared error of predicted slots, in units of the variance of slots."""
    true = prediction.observed.slots[:, 1:]
    return (following.float() - true).square().mean() / true.var().clamp(min=1e-6)


def on_slots(
    kind: Callable[[Any], Model],
    config: SlotDynamicsConfig,
    data: Path,
    out: Path,
    learned: Path | None,
    fit_config: FitConfig,
    evaluate_every: int,
) -> tuple[Callable[[Tokenizer], Model], Savi]:
    """What builds a model on slots that were learned, or else are learned now, and these slots.

    Args:
        kind: the class of the model.
        config: of the model; the slots have the sizes with which they were learned.
        data: as for `slots`.
        out: the directory of the world; by default its slots are learned there, with the same budget.
        learned: a file of slots, or a directory that has one.
        fit_config: budget and optimiser.
        evaluate_every: steps between looks at held-out clips.

    Raises:
        FileNotFoundError: there is no such file of slots.
        ValueError: as for `slots` and `load_slots`.
    """
    tokenizer = choose_tokenizer(open_data(data), out)
    names = SaviConfig.__dataclass_fields__
    if learned is None:
        sizes = SaviConfig(**{name: getattr(config, name) for name in names})
        learned = slots(data, out=out, model=sizes, fit_config=fit_config, evaluate_every=evaluate_every)
    savi = load_slots(learned, tokenizer)
    same = {name: getattr(savi.config, name) for name in names}

    def build(tokenizer: Tokenizer) -> Model:
        model = kind(fitted(replace(config, **same), tokenizer))
        model.savi.load_state_dict(savi.state_dict())
        return model

    return build, savi
