"""The rate of latent actions where it is known in closed form, and rollouts under samples of posteriors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from flam_env.models.dynamics import LatentActions
from flam_env.models.protocol import Observed
from flam_env.worlds.units import UnitConversion
from flam_train.evaluate.simulator.rate import player_slot, rate_actions, rate_scores
from flam_train.store.clips import Clips

CLIPS, LENGTH, SLOTS, DIM, SIDE = 4, 7, 3, 2, 5


class StatedPrior:
    """A Gaussian prior of given means and log variances; KL by torch's own formula."""

    noise = DIM

    def __init__(self, mean: Tensor, log_variance: Tensor):
        self.normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())

    def nats(self, posterior: LatentActions) -> Tensor:
        other = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
        return torch.distributions.kl_divergence(other, self.normal).sum(-1)


class StatedDream:
    """Frames that are grey by the sum of all actions so far, in a world whose posteriors and prior are stated.

    Args:
        mean: (K, A) of every posterior; log_variance: the same for all; prior: "own" is the posterior itself, "none"
            that of no knowledge.
    """

    device = torch.device("cpu")

    def __init__(self, mean: Tensor, log_variance: float = 0.0, prior: str = "none", context: int = 2):
        settings = SimpleNamespace(context=context)
        self.world = SimpleNamespace(settings=settings, controlled_slot=None)
        self.mean, self.log_variance, self.kind = mean, torch.full_like(mean, log_variance), prior
        self.model, self.units = self, UnitConversion(None)
        self.actions = SimpleNamespace(inferred=True)

    def encode(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames[:, 0, 0, :1]).long()

    def observe(self, tokens: Tensor) -> Observed:
        slots = torch.zeros(*tokens.shape[:2], SLOTS, 1)
        return Observed(tokens, slots, slots, slots, ())

    def infer(self, observed: Observed) -> LatentActions:
        clips, length = observed.tokens.shape[:2]
        both = (part.expand(clips, length - 1, -1, -1) for part in (self.mean, self.log_variance))
        return LatentActions(*both)

    def prior(self, observed: Observed) -> StatedPrior:
        mean, log_variance = (self.mean, self.log_variance) if self.kind == "own" else (torch.zeros(1), torch.zeros(1))
        assert observed.tokens.shape[1] == LENGTH - 1, "a prior sees the frames that actions lead from"
        return StatedPrior(mean, log_variance)

    def reset(self, context: Tensor) -> Tensor:
        return context[:, -1, 0].float()

    def step(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        state = state + 8 * actions.sum((-1, -2))
        return state, state.round().clamp(0, 255).byte()[:, None, None, None].expand(-1, SIDE, SIDE, 3)


@pytest.fixture
def grey() -> Clips:
    return Clips(np.full((CLIPS, LENGTH, SIDE, SIDE, 3), 120, np.uint8), ("planner",) * CLIPS)


def one_slot_acts() -> Tensor:
    mean = torch.zeros(SLOTS, DIM)
    mean[1] = torch.tensor([3.0, 1.0])
    return mean


def test_posteriors_that_are_the_prior_have_rate_zero(grey):
    scores = rate_scores(StatedDream(one_slot_acts(), -1.0, prior="own"), grey)
    assert scores["nats"] == pytest.approx(0, abs=1e-6) and scores["deciding_slots"] == 0
    assert scores["nats_from_no_knowledge"] > 5


def test_the_rate_without_a_prior_is_that_of_the_closed_form_by_slot(grey):
    scores = rate_scores(StatedDream(one_slot_acts()), grey)
    assert scores["by_slot"] == scores["by_slot_from_no_knowledge"] == pytest.approx([0, (9 + 1) / 2, 0])
    assert scores["nats"] == pytest.approx(5) and scores["deciding_slots"] == 1


def test_the_rate_is_of_the_frames_that_are_predicted(grey):
    dream = StatedDream(one_slot_acts(), context=4)
    acts = torch.zeros(LENGTH - 1, SLOTS, DIM)
    acts[3:] = one_slot_acts()  # nothing happens between the four frames of the context
    dream.infer = lambda observed: LatentActions(*(part.expand(CLIPS, -1, -1, -1) for part in (acts, 0 * acts)))
    scores = rate_scores(dream, grey)
    assert scores["nats"] == pytest.approx(5)
    assert len(scores["posterior_sampled_psnr_per_step"]) == LENGTH - 4


def test_samples_of_narrow_posteriors_show_what_the_means_show_and_wide_ones_less(grey):
    exact = rate_scores(StatedDream(torch.zeros(SLOTS, DIM), -20.0), grey)
    assert exact["posterior_sampled_psnr"] == 100
    wide = rate_scores(StatedDream(torch.zeros(SLOTS, DIM), 0.0), grey)
    curve = wide["posterior_sampled_psnr_per_step"]
    assert wide["nats"] == 0 and curve[-1] < curve[0] < 40


def test_samples_follow_the_seed_and_leave_the_generator_alone(grey):
    dream = StatedDream(torch.zeros(SLOTS, DIM))
    before = torch.get_rng_state()
    one, same, other = (rate_scores(dream, grey, seed) for seed in (3, 3, 4))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_player_is_who_the_decoder_names_or_else_who_has_most_nats(grey):
    dream = StatedDream(one_slot_acts())
    tokens = torch.zeros(CLIPS, LENGTH, 1, dtype=torch.long)
    assert player_slot(dream, tokens) == 1
    dream.world.controlled_slot = 2
    assert player_slot(dream, tokens) == 2


def test_a_model_that_infers_nothing_has_no_rate():
    dream = StatedDream(one_slot_acts())
    dream.actions.inferred = False
    with pytest.raises(ValueError, match="infers latent actions"):
        rate_actions(dream, torch.zeros(CLIPS, LENGTH, 1, dtype=torch.long))
