"""What a world model is to all who run, train, score or label with it.

`Dream`, the environments, the labeller, the evaluator, the export and the training know a model by what stands here
and by nothing else. FLAM (`flam_env.models.factored`) is one class behind it; whoever brings another derives it from
`WorldModel` and registers it with `WORLD_MODELS.register`: importing its module is then all it takes to open a world.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from flam_env.models.action_spaces import ActionSpace
from flam_env.models.quantize import FSQ
from flam_env.worlds.checkpoint import Kinds

WORLD_MODELS = Kinds("world model")
"""The classes whose worlds can be opened, by the name that their files give."""

History = tuple[Tensor, ...]
"""What a model remembers of the frames before, to be handed on to it: tensors (B, ...), a row for each clip."""


class Observed(NamedTuple):
    """What a world model makes of frames: all that their actions, and what follows them, depend on.

    tokens: (B, T, N) int64, the frames themselves; slots: (B, T, K, S) float32, K = 1 where the scene is not split;
    masks: (B, T, K, cells) float32, the share of each slot in every cell of a square grid, summing to 1 over slots or
    to less where a background sink took the rest, a single cell of 1 where nothing is split; features: (B, T, ...),
    what else the model predicts from; history: after the last frame.
    """

    tokens: Tensor
    slots: Tensor
    masks: Tensor
    features: Tensor
    history: History

    def at(self, frames: slice) -> "Observed":
        """Some of the frames, the history as it is."""
        tokens, slots, masks, features = (part[:, frames] for part in self[:4])
        return Observed(tokens, slots, masks, features, self.history)

    def followed_by(self, after: "Observed") -> "Observed":
        """These frames and then those, with the history after those."""
        tokens, slots, masks, features = (torch.cat(both, 1) for both in zip(self[:4], after[:4], strict=True))
        return Observed(tokens, slots, masks, features, after.history)


class Posterior(Protocol):
    """What was inferred of latent actions: T - 1 of T frames, the first leads from frame 0 to frame 1."""

    @property
    def mode(self) -> Tensor:
        """The most likely actions (B, T - 1, ...), shaped as the model's `actions` say."""

    @property
    def nats(self) -> Tensor:
        """Information of each slot's action beside the prior of no knowledge, float32 (B, T - 1, K)."""

    def sample(self) -> Tensor:
        """Actions drawn from torch's global generator, shaped as `mode`."""


class Prediction(NamedTuple):
    """All that a loss or a diagnosis may need of clips; transitions t -> t + 1 for t < T - 1.

    output: (B, T - 1, N, ...) as `WorldModel.step` gives it; observed: of all T frames; posterior: of the T - 1
    actions, None where the model infers none; actions: (B, T - 1, ...), what the prediction was made with.
    """

    output: Tensor
    observed: Observed
    posterior: Any
    actions: Tensor


class ActionPrior(Protocol):
    """How likely latent actions are in a state, for every frame (B, T)."""

    @property
    def noise(self) -> int:
        """How many standard normal numbers a draw takes for each slot."""

    def draw(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (B, T, K, noise) -> actions (B, T, ...), shaped as the model's `actions` say."""

    def nats(self, posterior: Any) -> Tensor:
        """KL of a posterior from this, of each slot, float32 (B, T, K)."""


class WorldModel(nn.Module, ABC):
    """Learns from tokens of clips; runs one step at a time in a dream.

    Latent action a_t leads from frame t to frame t + 1. All methods take any B and T.

    Attributes:
        config: the resolved config, a frozen dataclass of sizes.
        actions: the latent actions that the model has.
        slots: K.
        slot_dim: S.
        patches: N.
        quantizer: of the tokens.
        vocabulary: number of different tokens.
        window: frames that a dream may start from at most.
    """

    config: Any
    actions: ActionSpace
    slots: int
    slot_dim: int
    patches: int
    quantizer: FSQ
    vocabulary: int
    window: int

    @property
    def learns_prior(self) -> bool:
        """Whether `prior` was learned; nobody draws from that of no knowledge where there are real actions to draw."""
        return False

    def forward(self, tokens: Tensor, shown: Tensor | None = None, known: Tensor | None = None) -> Prediction:
        """One-step predictions of all transitions of clips (equation 6), what training minimises the error of.

        Args:
            tokens: (B, T, N), from which actions are inferred; drawn from their posterior in training, else its mode.
            shown: (B, T, N), what the model takes for the current frames, e.g. its own guesses; by default the tokens
                themselves (teacher forcing).
            known: what was really done, for a model that takes known actions; as for `from_known`.
        """
        observed = self.observe(tokens)
        posterior = self.infer(observed) if self.actions.inferred else None
        if posterior is not None:
            actions = posterior.sample() if self.training else posterior.mode
        elif self.actions.known:
            actions = self.from_known(known)[:, :-1]
        else:
            actions = self.actions.zeros(*tokens[:, 1:].shape[:2], device=tokens.device)
        seen = observed if shown is None else self.observe(shown)
        return Prediction(self.step(seen.at(slice(None, -1)), actions), observed, posterior, actions)

    @abstractmethod
    def observe(self, tokens: Tensor, history: History | None = None) -> Observed:
        """Tokens (B, T, N) and the history before them -> what the model makes of them.

        A clip may be given in pieces: the result is the same when each piece gets the history of the one before.
        """

    @abstractmethod
    def empty_history(self, batch: int, device: torch.device) -> History:
        """The history before the first frame."""

    @abstractmethod
    def infer(self, observed: Observed) -> Posterior:
        """The latent actions between T frames, T - 1 of them.

        Raises:
            ValueError: the model infers none (`actions.inferred`).
        """

    @abstractmethod
    def step(self, observed: Observed, actions: Tensor) -> Tensor:
        """What follows each of T frames under actions (B, T, ...): an output (B, T, N, ...) for `next_tokens`."""

    @abstractmethod
    def next_tokens(self, output: Tensor) -> Tensor:
        """The most likely next tokens (B, T, N) int64 of what `step` returns."""

    def level_logs(self, output: Tensor) -> Tensor:
        """Logarithms of the probabilities of the level of each channel, of what `step` returns.

        Returns:
            float32 (B, T, N, L, levels).

        Raises:
            ValueError: the model says one thing instead of a distribution.
        """
        raise ValueError(
            f"expected a world whose model tells how likely each token is, got a {type(self).__name__}, which does not"
        )

    def from_known(self, known: Tensor | None) -> Tensor:
        """What was really done, as the model takes it.

        Args:
            known: real actions int64 (B, T) of one agent or (B, T, agents) of several, each taken at its frame; None
                where nobody knows.

        Returns:
            Actions (B, T, ...), shaped as the model's `actions` say.

        Raises:
            ValueError: the model takes no known actions (`actions.known`), or not these.
        """
        raise ValueError(
            f"expected a world whose model takes known actions, got a {type(self).__name__} with "
            f"{type(self.actions).__name__}; give it latent actions"
        )

    def prior(self, observed: Observed) -> ActionPrior:
        """How likely latent actions are in these frames: by default as in the prior of no knowledge."""
        return self.actions.prior()

    def doubt(self, output: Tensor) -> Tensor:
        """How undecided an output of `step` (B, T, N, ...) is: mean entropy of a patch in nats, float32 (B, T).

        0 by default, for models that say one thing instead of a distribution.
        """
        return torch.zeros(output.shape[:2], device=output.device)

    def rest(self, frame: Observed) -> Tensor:
        """The actions (B, 1, ...) that would be inferred if nothing changed after one frame (T = 1).

        Raises:
            ValueError: the model infers none.
        """
        return self.infer(frame.followed_by(frame)).mode


def check_infers(model: WorldModel) -> None:
    """Raises ValueError unless a model infers latent actions."""
    if not model.actions.inferred:
        raise ValueError(
            f"expected a world whose model infers latent actions, got a {type(model).__name__} with "
            f"{type(model.actions).__name__}, which infers none; it can be dreamt in and scored, but not label"
        )
