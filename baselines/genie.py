"""Genie (Bruce et al. 2024, arXiv:2402.15391): one latent action for a whole scene, a code of a small book.

What differs from its authors' version, and why:

- It works on the tokens of the tokenizer that FLAM has, and its sizes are FLAM's: the comparison is of actions.
- Latent action model and dynamics are one, trained together. The authors' action model decodes pixels and is thrown
  away; the dynamics then read its codes. With one set of tokens for all, both would predict the same.
- The next frame is predicted at once, its most likely tokens are taken, as by all models here; not unmasked in 25
  steps (MaskGIT), which would be compared with nobody.
- The action is added to the cells, as in the paper and in jafar; jasmine puts it before them.
- There are 256 codes where the paper has 8 in its largest model, for scenes of many agents: |A|^n where n agents have
  |A| actions each (paper, C.1), 256 for four of four.
- Actions pass as they are for the first two fifths of the training, or for as long as FLAM's are free; then they are
  codes. After a tenth, or three fifths, rollouts of MultiGrid were no better (docs/comparison.md).
- Codes are running means, and those that nothing chooses begin anew, far from all others: books of codes learned by
  gradients collapsed in many hands. Jafar and jasmine begin them anew too, anywhere.
- The inverse model sees how cells change, as FLAM's sees how slots do (`difference`), beside what they were.
- The frames before count through a causal window, for the inverse model as for the forward model, and the action of a
  transition is inferred with its next frame: an offset by one, of which every open copy had its bout, would leave the
  action with the past only.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from baselines.codebook import Codebook, Codes, UsedCodes, codes_in_use
from baselines.learning import fitted, learn
from baselines.scene import SceneChange, SceneConfig, SceneModel
from flam_env.models.action_spaces import CodebookActions
from flam_env.models.protocol import WORLD_MODELS, ActionPrior, Observed, Prediction
from flam_env.validation import check_fields
from flam_train.engine import FitConfig, Progress
from flam_train.phases.losses import DIAGNOSED_CLIPS, Weighting, diagnosis, prediction_loss
from flam_train.phases.world_model import bare
from flam_train.presets import SMALL


@dataclass(frozen=True, kw_only=True)
class GenieConfig(SceneConfig):
    """Sizes of a Genie; the tokenizer fixes `grid` and `levels`."""

    codes: int = 256
    """How many actions there are: |A|^n for n agents of |A| actions each."""


@dataclass(frozen=True, kw_only=True)
class GenieLossConfig:
    """The prediction error beside what keeps actions at their codes."""

    commitment: float = 0.25
    """Weight of the squared distance of actions from their codes, both on the unit sphere, against the mean error of a
    patch."""
    free_share: float = 0.4
    """First share of the run in which actions pass as they are: codes come when there is something to name."""
    weighting: Weighting = "even"
    """As in `WorldModelLossConfig`."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.commitment < 0 or not 0 <= self.free_share <= 1:
            raise ValueError(f"expected commitment of 0 or more and free_share in [0, 1], got {self}")


@WORLD_MODELS.register(GenieConfig)
class Genie(SceneModel):
    """One code moves the scene."""

    def __init__(self, config: GenieConfig):
        super().__init__(config)
        self.actions = CodebookActions(slots=1, codes=config.codes)
        sizes = {"dim": config.dim, "heads": config.heads, "layers": config.layers}
        self.change = SceneChange(**sizes, feed_forward=config.feed_forward, difference=config.difference)
        self.to_code = nn.Linear(config.dim, config.latent_dim)
        self.codebook = Codebook(config.codes, config.latent_dim)

    def forward(self, tokens: Tensor, shown: Tensor | None = None, known: Tensor | None = None) -> Prediction:
        """As `WorldModel.forward`, with the gradient of the prediction passing through the codes."""
        observed = self.observe(tokens)
        posterior = self.infer(observed)
        seen = observed if shown is None else self.observe(shown)
        output = self.predict(seen.at(slice(None, -1)), posterior.vectors[:, :, 0])
        return Prediction(output, observed, posterior, posterior.code)

    def infer(self, observed: Observed) -> Codes:
        """The codes (B, T - 1, 1) between T frames."""
        return self.codebook(self.to_code(self.change(observed.features))[:, :, None])

    def vectors(self, actions: Tensor) -> Tensor:
        """Codes (B, T, 1) -> (B, T, A)."""
        return self.codebook.look_up(actions[:, :, 0])

    def prior(self, observed: Observed) -> ActionPrior:
        """How often codes were used, whatever the frame."""
        return UsedCodes(self.codebook.shares)


def genie_loss(
    network: nn.Module, tokens: Tensor, config: GenieLossConfig, share: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Prediction error as FLAM's, plus the weighted mean distance of actions from their codes.

    Args:
        network: a Genie, perhaps compiled.
        tokens: clips (B, T, N).
        config: the objective.
        share: of the run that is over.
    """
    model = bare(network)
    model.codebook.free = share < config.free_share
    prediction = network(tokens)
    error = prediction_loss(model, tokens, prediction, config.weighting)
    distance = prediction.posterior.distance.mean()
    terms = {"prediction": error, "distance": distance, "codes_in_use": codes_in_use(model.codebook.shares)}
    seen = diagnosis(model, tokens, prediction, DIAGNOSED_CLIPS)
    return error + config.commitment * distance, {name: term.detach() for name, term in terms.items()} | seen


def genie(
    data: Path,
    *,
    out: Path,
    model: GenieConfig = GenieConfig(),
    fit_config: FitConfig = SMALL.world_model_fit,
    loss: GenieLossConfig = GenieLossConfig(),
    evaluate_every: int = 1000,
) -> Path:
    """Trains a Genie on a store or a pack, with the tokenizer that `out` or the pack holds.

    Args:
        data: a store of episodes, or a pack.
        out: the directory of the world. A run that was interrupted goes on where it was.
        model: sizes; `grid` and `levels` are the tokenizer's, whatever is given.
        fit_config: budget and optimiser.
        loss: the objective.
        evaluate_every: steps between looks at held-out rollouts.

    Returns:
        The directory of the world, ready for `gym.make("baselines:FLAM-v0", checkpoint=...)`.

    Raises:
        FileNotFoundError: there is no tokenizer yet.
        ValueError: no such data, frames of another size, or `out` holds another run.
    """

    def objective(network: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        return genie_loss(network, tokens, loss, progress.share)

    return learn(
        lambda tokenizer: Genie(fitted(model, tokenizer)), objective, loss, data, out, fit_config, evaluate_every
    )
