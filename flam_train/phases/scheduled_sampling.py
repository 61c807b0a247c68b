"""Phase three: the forward model learns to go on from its own mistakes (scheduled sampling; not in the paper).

A world that was trained on true frames alone meets in its dreams what it has never seen: its own guesses, and what
comes of actions that no clip had in that situation. Here some of the current frames are the model's own guesses
(Bengio et al. 2015), made while some slots act as they did in another clip, so that things in them are torn; what
is to be predicted stays the true next frame. Features, factorizer and inverse dynamics are fixed: slots and actions
keep their meaning.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from flam_env.models.factored import FactoredWorldModel
from flam_env.validation import check_integer
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.loading import load_world
from flam_train.engine import FitConfig, Progress
from flam_train.phases.losses import DIAGNOSED_CLIPS, diagnosis, prediction_loss
from flam_train.phases.world_model import bare, train_world
from flam_train.presets import SMALL
from flam_train.store.rates import warn_of_store_rate
from flam_train.store.training_data import open_data


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What the forward model takes for the current frames."""

    guessed: float = 0.7
    """Share of the frames that are the model's guesses."""
    drawn: float = 0.0
    """Share of the guesses whose tokens are drawn, each by itself, in place of the likeliest; for dreams that draw them
    too. Not with a model of codes."""
    strange: float = 0.15
    """Mean share of the slots that act in a guess as in another clip; drawn for every frame between 0 and twice it."""

    def __post_init__(self):
        if not all(0 <= share <= 1 for share in (self.guessed, self.drawn, self.strange)):
            raise ValueError(f"expected guessed, drawn and strange in [0, 1], got {self}")


def scheduled_sampling(
    world: str,
    data: Path,
    *,
    out: Path,
    sampling: SamplingConfig = SamplingConfig(),
    fit_config: FitConfig = SMALL.scheduled_sampling_fit,
    evaluate_every: int = 1000,
    context: int | None = None,
    horizon: int | None = None,
) -> Path:
    """Trains forward dynamics and aggregator of a world further, so that longer dreams hold.

    Args:
        world: name of a bundled world or directory of one's own; it stays as it is.
        data: the store that it was trained on, or a pack of it.
        out: the directory of the new world; training logs go to `out/training/scheduled_sampling`. A run that was
            interrupted goes on where it was.
        sampling: what the forward model sees.
        fit_config: budget and optimiser.
        evaluate_every: steps between looks at held-out rollouts.
        context: real frames that dreams of the new world start from, by default as many as those of the old one.
        horizon: steps for which dreams of the new world hold, by default as for the old one; a finished run can be
            called again with what its long dreams show.

    Returns:
        The directory of the new world.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no such store, frames of another size, a context beyond what the world remembers, or `out` holds
            another run.
    """
    store, old = open_data(data), load_world(world)
    if context is not None:
        check_integer(context, "context", 1, old.model.window)
    asked: dict[str, Any] = {
        name: value for name, value in (("context", context), ("horizon", horizon)) if value is not None
    }
    old = replace(old, settings=replace(old.settings, **asked))
    if not isinstance(old.model, FactoredWorldModel):
        raise ValueError(f"expected a world of a FactoredWorldModel, got one of a {type(old.model).__name__}")
    warn_of_store_rate(store, old.settings.frames_per_second)
    for part in (old.model.forward_dynamics, old.model.aggregator):  # a loaded world is fixed
        part.requires_grad_(True)

    def objective(network: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        model = bare(network)
        prediction = network(tokens, own_guesses(model, tokens, sampling))
        loss = prediction_loss(model, tokens, prediction, "even")
        return loss, {"prediction": loss.detach()} | diagnosis(model, tokens, prediction, DIAGNOSED_CLIPS)

    identity = {"sampling": asdict(sampling), "world": fingerprint(old.model)}
    return train_world(
        old, store, objective, fit_config, Path(out), "scheduled_sampling", identity, evaluate_every, old.units
    )


@torch.no_grad()
def own_guesses(model: FactoredWorldModel, tokens: Tensor, sampling: SamplingConfig) -> Tensor:
    """Clips (B, T, N) in which some frames, never the first, are the model's one-step predictions of them.

    Drawn from torch's global generator.
    """
    observed = model.observe(tokens)
    actions = _with_strange_ones(model.infer(observed).sample(), sampling.strange)
    output = model.step(observed.at(slice(None, -1)), actions)
    guesses = model.next_tokens(output)
    if sampling.drawn:
        levels = Categorical(logits=model.level_logs(output)).sample()
        drawn = torch.rand(guesses.shape[:2], device=tokens.device) < sampling.drawn
        guesses = torch.where(drawn[..., None], model.quantizer.join(levels), guesses)
    guessed = torch.rand(guesses.shape[:2], device=tokens.device) < sampling.guessed
    return torch.cat([tokens[:, :1], torch.where(guessed[..., None], guesses, tokens[:, 1:])], 1)


def _with_strange_ones(actions: Tensor, share: float) -> Tensor:
    """Actions (B, T - 1, K, A) of which some slots' are those of another clip and time."""
    clips, frames = (torch.randperm(size, device=actions.device) for size in actions.shape[:2])
    frame, slot = (torch.rand(actions.shape[:axes], device=actions.device) for axes in (2, 3))
    strange = slot < 2 * share * frame[..., None]
    return torch.where(strange[..., None], actions[clips][:, frames], actions)
