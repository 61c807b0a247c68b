"""AdaWorld (Gao et al. 2025, arXiv:2503.18938): one continuous latent action for a whole scene, priced in nats.

What differs from its authors' version, and why:

- It works on the tokens of the tokenizer that FLAM has, not on pixels, and its sizes are FLAM's: the comparison is of
  actions (paper, 5). Its action has as many dimensions as all of FLAM's together (paper, C.1).
- Its latent action model *is* the world model. The authors' only labels video, for a diffusion model on top of Stable
  Video Diffusion, which would be compared with nobody.
- Cells look back through a causal window of frames, in both inverse and forward model. The authors' sees two frames;
  without a past no velocity is known, and FLAM knows it.
- The inverse model sees how cells change, as FLAM's sees how slots do (`difference`), beside what they were.
- The price of a nat, its ramp and a posterior that starts narrow are FLAM's, since both pay in one currency. Theirs,
  2e-4 times the KL beside a mean squared error, is what FLAM's paper took over.
- Tables of positions are parameters and nothing is recorded in evaluation: theirs keeps every mean that it ever
  inferred, and runs on a GPU only.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from baselines.learning import fitted, learn
from baselines.scene import SceneChange, SceneConfig, SceneModel
from flam_env.models.action_spaces import ContinuousActions
from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import WORLD_MODELS, Observed
from flam_train.engine import FitConfig, Progress
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss
from flam_train.phases.world_model import bare
from flam_train.presets import SMALL


@dataclass(frozen=True, kw_only=True)
class AdaWorldConfig(SceneConfig):
    """Sizes of an AdaWorld; the tokenizer fixes `grid` and `levels`."""


@WORLD_MODELS.register(AdaWorldConfig)
class AdaWorld(SceneModel):
    """One Gaussian vector moves the scene."""

    def __init__(self, config: AdaWorldConfig):
        super().__init__(config)
        self.actions = ContinuousActions(slots=1, dim=config.latent_dim)
        sizes = {"dim": config.dim, "heads": config.heads, "layers": config.layers}
        self.change = SceneChange(**sizes, feed_forward=config.feed_forward, difference=config.difference)
        self.mean = nn.Linear(config.dim, config.latent_dim)
        self.log_variance = nn.Linear(config.dim, config.latent_dim)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -4.0)

    def infer(self, observed: Observed) -> LatentActions:
        """Posterior of the latent actions (B, T - 1, 1, A) between T frames."""
        change = self.change(observed.features)[:, :, None]
        return LatentActions(self.mean(change).float(), self.log_variance(change).float().clamp(-10, 10))

    def vectors(self, actions: Tensor) -> Tensor:
        """Actions (B, T, 1, A) -> (B, T, A)."""
        return actions[:, :, 0]


LOSS = WorldModelLossConfig()
"""FLAM's objective where no prior is learned: nats from the unit normal, at the price that all pay for them."""


def adaworld(
    data: Path,
    *,
    out: Path,
    model: AdaWorldConfig = AdaWorldConfig(),
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: WorldModelLossConfig = LOSS,
    evaluate_every: int = 1000,
) -> Path:
    """Trains an AdaWorld on a store or a pack, with the tokenizer that `out` or the pack holds.

    Args:
        data: a store of episodes, or a pack.
        out: the directory of the world. A run that was interrupted goes on where it was.
        model: sizes; `grid` and `levels` are the tokenizer's, whatever is given.
        fit_config: budget and optimiser.
        loss: the objective, FLAM's where no prior is learned.
        evaluate_every: steps between looks at held-out rollouts.

    Returns:
        The directory of the world, ready for `gym.make("baselines:FLAM-v0", checkpoint=...)`.

    Raises:
        FileNotFoundError: there is no tokenizer yet.
        ValueError: no such data, frames of another size, or `out` holds another run.
    """

    def objective(network: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        return world_model_loss(bare(network), tokens, network(tokens), loss, progress.share)

    return learn(
        lambda tokenizer: AdaWorld(fitted(model, tokenizer)), objective, loss, data, out, fit_config, evaluate_every
    )
