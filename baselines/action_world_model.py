"""World Model: the true actions instead of latent ones, and only the forward model is learned (paper, 5).

It has no authors of its own. It is the forward half of Genie's kin here with a table of actions in place of the inverse
model, as jasmine has it where actions are known. What the paper says of it is kept:

- The actions of several agents are one token, a code of its own for every joint action. So |A|^n codes have to be seen
  to be known, which is the point of this row; and beyond 2^16 of them the model is refused.
- In a game only the player's action is known. What else moves is not told, and no code stands for it.

The trap here is tinyworlds': the action that conditions a frame must be the one that was taken before it, and in
dreams the one that is given, not one drawn at random. There is nothing to label with: the actions must be in the data.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from baselines.learning import fitted, learn
from baselines.scene import SceneConfig, SceneModel
from flam_env.models.action_spaces import CodebookActions
from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import WORLD_MODELS, Observed, check_infers
from flam_env.validation import check_fields
from flam_train.engine import FitConfig, Progress
from flam_train.phases.losses import DIAGNOSED_CLIPS, Weighting, diagnosis, prediction_loss
from flam_train.phases.world_model import bare
from flam_train.presets import SMALL
from flam_train.store.taken import split_actions
from flam_train.store.training_data import TrainingData, open_data

MOST_CODES = 2**16


@dataclass(frozen=True, kw_only=True)
class ActionWorldModelConfig(SceneConfig):
    """Sizes of a world model of known actions; the tokenizer fixes `grid` and `levels`, the data fix who acts.

    Raises:
        ValueError: as for `SceneConfig`, or there are too many joint actions.
    """

    agents: int = 1
    """How many have actions that are known."""
    choices: int = 15
    """|A|, how many actions each of them has."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codes > MOST_CODES:
            raise ValueError(
                f"expected at most {MOST_CODES} joint actions, got {self.choices} to the power of {self.agents}; take "
                "fewer agents, or a model that infers an action for each"
            )

    @property
    def codes(self) -> int:
        """How many joint actions there are."""
        return self.choices**self.agents


@dataclass(frozen=True, kw_only=True)
class PredictionLossConfig:
    """The prediction error alone."""

    weighting: Weighting = "even"
    """As in `WorldModelLossConfig`."""

    def __post_init__(self) -> None:
        check_fields(self)


@WORLD_MODELS.register(ActionWorldModelConfig)
class ActionWorldModel(SceneModel):
    """One joint action, which is known, moves the scene."""

    config: ActionWorldModelConfig

    def __init__(self, config: ActionWorldModelConfig):
        super().__init__(config)
        self.actions = CodebookActions(slots=1, codes=config.codes, inferred=False)
        self.action_embedding = nn.Embedding(config.codes, config.latent_dim)

    def infer(self, observed: Observed) -> LatentActions:
        """Refuses: actions are known or not."""
        check_infers(self)
        raise AssertionError

    def from_known(self, known: Tensor | None) -> Tensor:
        """Actions int64 (B, T) of one agent, or (B, T, agents) -> joint actions (B, T, 1): the first agent counts most.

        Raises:
            ValueError: there are none, or those of other agents.
        """
        agents, choices = self.config.agents, self.config.choices
        wanted = f"expected the known actions of {agents} agents, each in [0, {choices - 1}]"
        if known is None:
            raise ValueError(f"{wanted}, got none; name a store or a pack that has them")
        each = known[..., None] if known.ndim == 2 else known
        if each.shape[-1] != agents:
            raise ValueError(f"{wanted}, got those of {each.shape[-1]}; take data as those that it learned from")
        if not self.training and len(each) and (each.min() < 0 or each.max() >= choices):
            raise ValueError(f"{wanted}, got some in [{each.min()}, {each.max()}]; take data as it learned from")
        powers = choices ** torch.arange(agents - 1, -1, -1, device=each.device)
        return (each * powers).sum(-1, keepdim=True)

    def vectors(self, actions: Tensor) -> Tensor:
        """Joint actions (B, T, 1) -> (B, T, A)."""
        return self.action_embedding(actions[:, :, 0])


def action_world_model(
    data: Path,
    *,
    out: Path,
    model: ActionWorldModelConfig = ActionWorldModelConfig(),
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: PredictionLossConfig = PredictionLossConfig(),
    evaluate_every: int = 1000,
) -> Path:
    """Trains a world model of true actions on a store or a pack that has them, with the tokenizer of `out` or the pack.

    Args:
        data: a store of episodes, or a pack, in which all actions are known.
        out: the directory of the world. A run that was interrupted goes on where it was.
        model: sizes; `grid` and `levels` are the tokenizer's, `agents` and `choices` the data's, whatever is given.
        fit_config: budget and optimiser.
        loss: the objective.
        evaluate_every: steps between looks at held-out rollouts.

    Returns:
        The directory of the world, ready for `gym.make("baselines:FLAM-v0", checkpoint=...)`.

    Raises:
        FileNotFoundError: there is no tokenizer yet.
        ValueError: no such data, actions that are not known or too many, frames of another size, or `out` holds another
            run.
    """
    agents, choices = who_acts(open_data(data))

    def objective(network: nn.Module, batch: dict[str, Tensor], progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, prediction = batch["tokens"], network(**batch)
        error = prediction_loss(bare(network), tokens, prediction, loss.weighting)
        return error, {"prediction": error.detach()} | diagnosis(bare(network), tokens, prediction, DIAGNOSED_CLIPS)

    return learn(
        lambda tokenizer: ActionWorldModel(replace(fitted(model, tokenizer), agents=agents, choices=choices)),
        objective,
        loss,
        data,
        out,
        fit_config,
        evaluate_every,
    )


def who_acts(data: TrainingData) -> tuple[int, int]:
    """How many agents have known actions, and how many actions each has: as many as occur in any split.

    Raises:
        ValueError: actions are not known, or the splits have not equally many agents.
    """
    taken = [split_actions(data, split) for split in data.splits if data.episodes(split)]
    counts = {actions.shape[1] if actions.ndim == 2 else 1 for actions in taken}
    if len(counts) > 1:
        raise ValueError(f"{data.root}: expected equally many agents in all splits, got {sorted(counts)}")
    return counts.pop(), int(max(np.max(actions) for actions in taken)) + 1
