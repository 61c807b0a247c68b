"""The learned prior: its nats, its draws, and what each slot's depends on."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from flam_env.models.dynamics import LatentActions
from flam_env.models.prior import LearnedPrior, MixturePrior

SLOTS, DIM, COMPONENTS, STATE = 5, 3, 4, 16


def mixture(seed: int = 0, components: int = COMPONENTS, apart: float = 1.0) -> MixturePrior:
    """One for each of some slots, (K, M, ...)."""
    random = torch.Generator().manual_seed(seed)
    shares = torch.randn(SLOTS, components, generator=random).log_softmax(-1)
    means, log_variances = torch.randn(2, SLOTS, components, DIM, generator=random)
    return MixturePrior(shares, apart * means, log_variances)


def repeated(prior: MixturePrior, count: int) -> MixturePrior:
    """The same in so many states, (count, K, M, ...)."""
    return MixturePrior(*(part.expand(count, *part.shape) for part in prior))


def posteriors(seed: int = 1, log_variance: float = -2.0) -> LatentActions:
    random = torch.Generator().manual_seed(seed)
    mean, spread = torch.randn(2, SLOTS, DIM, generator=random)
    return LatentActions(mean, log_variance + 0.5 * spread)


def sampled_nats(prior: MixturePrior, posterior: LatentActions, count: int = 20_000) -> tuple[torch.Tensor, float]:
    """The true KL (K,) by samples of the posterior, and its largest standard error."""
    noise = torch.randn(count, SLOTS, DIM, generator=torch.Generator().manual_seed(2))
    normal = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    drawn = normal.mean + normal.stddev * noise
    parts = Normal(prior.means, (0.5 * prior.log_variances).exp()).log_prob(drawn[:, :, None]).sum(-1)
    each = normal.log_prob(drawn).sum(-1) - torch.logsumexp(prior.log_shares + parts, -1)
    return each.mean(0), (each.std(0) / count**0.5).max().item()


def learned(seed: int = 0) -> LearnedPrior:
    torch.manual_seed(seed)
    prior = LearnedPrior(dim=STATE, heads=2, feed_forward=2, components=COMPONENTS, latent_dim=DIM)
    torch.nn.init.normal_(prior.head.weight, std=0.5)
    return prior


# --- nats -------------------------------------------------------------------------------------------------------


def test_the_nats_of_one_component_are_exact():
    prior, posterior = mixture(components=1), posteriors()
    one = Normal(prior.means[:, 0], (0.5 * prior.log_variances[:, 0]).exp())
    expected = kl_divergence(Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), one).sum(-1)
    torch.testing.assert_close(prior.nats(posterior), expected)


def test_the_nats_from_a_standard_normal_component_are_those_of_no_knowledge():
    posterior = posteriors()
    nothing = torch.zeros(SLOTS, 1, DIM)
    torch.testing.assert_close(MixturePrior(nothing[..., 0], nothing, nothing).nats(posterior), posterior.nats)


@pytest.mark.parametrize("log_variance", [-6.0, -2.0, 0.0])
@pytest.mark.parametrize("apart", [0.3, 1.0, 4.0])
def test_the_nats_of_several_components_are_a_bound_from_above_near_for_narrow_posteriors(apart, log_variance):
    prior, posterior = mixture(apart=apart), posteriors(log_variance=log_variance)
    true, error = sampled_nats(prior, posterior)
    bound = prior.nats(posterior)
    assert (bound > true - 5 * error).all()
    alone = [
        MixturePrior(torch.zeros(SLOTS, 1), *(part[:, m : m + 1] for part in prior[1:])).nats(posterior)
        for m in range(COMPONENTS)
    ]
    assert (bound <= (torch.stack(alone, -1) - prior.log_shares).amin(-1) + 1e-4).all(), "dearer than one component"
    if log_variance == -6:
        assert (bound < true + 0.05 + 5 * error).all()


def test_an_action_that_only_one_component_can_explain_costs_the_logarithm_of_its_share():
    shares = torch.tensor([0.01, 0.29, 0.7])
    means = torch.tensor([-9.0, 0, 9])[:, None].expand(3, DIM)
    log_variances = torch.full((3, DIM), -4.0)
    prior = MixturePrior(*(part.expand(SLOTS, *part.shape) for part in (shares.log(), means, log_variances)))
    for component in range(3):
        posterior = LatentActions(*(part[:, component] for part in prior[1:]))
        expected = torch.full((SLOTS,), -math.log(shares[component]))
        torch.testing.assert_close(prior.nats(posterior), expected, atol=1e-5, rtol=1e-5)


def test_nothing_costs_less_than_nothing_and_what_is_certain_costs_nothing():
    for seed in range(20):
        assert (mixture(seed).nats(posteriors(seed + 50, log_variance=0.0)) > -1e-5).all()
    posterior = posteriors()
    same = MixturePrior(mixture().log_shares, *(part[:, None].expand(SLOTS, COMPONENTS, DIM) for part in posterior))
    torch.testing.assert_close(same.nats(posterior), torch.zeros(SLOTS), atol=1e-5, rtol=0)


# --- draws ------------------------------------------------------------------------------------------------------


def test_draws_come_from_the_components_by_their_shares_with_their_means_and_spreads():
    prior, count = mixture(apart=50.0), 2000
    evenly = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).float()
    for within in (0.0, 1.0, -2.0):
        noise = torch.full((count, SLOTS, prior.noise), within)
        noise[..., 0] = evenly[:, None]
        drawn = repeated(prior, count).draw(noise)
        assert drawn.shape == (count, SLOTS, DIM)
        expected = prior.means + within * (0.5 * prior.log_variances).exp()
        distance = (drawn[:, :, None] - expected).abs().amax(-1)
        nearest, which = distance.min(-1)
        assert nearest.max() < 1e-4, "every draw is of a component"
        shares = torch.stack([(which == component).float().mean(0) for component in range(COMPONENTS)], -1)
        torch.testing.assert_close(shares, prior.log_shares.exp(), atol=1.5 / count, rtol=0)


def test_random_draws_have_the_mean_and_the_spread_of_the_mixture():
    prior = mixture()
    noise = torch.randn(40_000, SLOTS, prior.noise, generator=torch.Generator().manual_seed(0))
    drawn, shares = repeated(prior, len(noise)).draw(noise), prior.log_shares.exp()[..., None]
    mean = (shares * prior.means).sum(1)
    variance = (shares * (prior.log_variances.exp() + prior.means.square())).sum(1) - mean.square()
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0), variance, atol=0, rtol=0.06)


def test_a_draw_is_of_a_component_however_far_out_the_noise_is():
    prior = mixture(apart=50.0)
    for extreme, component in ((-12.0, 0), (12.0, COMPONENTS - 1)):
        noise = torch.zeros(SLOTS, prior.noise)
        noise[:, 0] = extreme
        torch.testing.assert_close(prior.draw(noise), prior.means[:, component])


# --- what it depends on -----------------------------------------------------------------------------------------


def test_every_slots_prior_sees_all_slots_of_its_frame_and_of_no_other():
    prior, slots = learned(), torch.randn(2, 3, SLOTS, STATE, requires_grad=True)
    for part in prior(slots):
        for slot in range(SLOTS):
            (gradient,) = torch.autograd.grad(part[1, 2, slot].square().sum(), slots, retain_graph=True)
            assert (gradient[1, 2].abs().amax(-1) > 1e-7).all()
            assert gradient[0].eq(0).all() and gradient[1, :2].eq(0).all()


def test_it_does_not_matter_how_slots_are_numbered():
    prior, slots, order = learned(), torch.randn(2, 3, SLOTS, STATE), torch.tensor([3, 0, 4, 2, 1])
    for one, other in zip(prior(slots), prior(slots[:, :, order]), strict=True):
        torch.testing.assert_close(one[:, :, order], other)


def test_shares_are_a_distribution_and_spreads_stay_in_reach_whatever_the_slots_hold():
    prior = learned()
    torch.nn.init.normal_(prior.head.weight, std=50.0)
    shares, means, log_variances = prior(torch.randn(2, 3, SLOTS, STATE))
    torch.testing.assert_close(shares.exp().sum(-1), torch.ones(2, 3, SLOTS))
    assert means.shape == log_variances.shape == (2, 3, SLOTS, COMPONENTS, DIM)
    assert log_variances.min() == -10 and log_variances.max() == 4


def test_at_the_start_components_are_equally_likely_and_not_the_same():
    torch.manual_seed(0)
    fresh = LearnedPrior(dim=STATE, heads=2, feed_forward=2, components=COMPONENTS, latent_dim=DIM)
    shares, means, log_variances = fresh(torch.randn(2, 3, SLOTS, STATE))
    torch.testing.assert_close(shares.exp(), torch.full_like(shares, 1 / COMPONENTS), atol=0.1, rtol=0)
    assert log_variances.abs().max() < 0.5
    assert (means[..., 0, :] - means[..., 1, :]).abs().amax(-1).min() > 0.05


def test_numbers_are_float32_whatever_the_precision_around():
    with torch.autocast("cpu", torch.bfloat16):
        assert {part.dtype for part in learned()(torch.randn(2, 3, SLOTS, STATE))} == {torch.float32}
