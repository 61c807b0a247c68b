"""How the prior is learned: who learns from what, from when on it charges, and what a state foretells."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flam_env import FlamEnv, load_world
from flam_env.models.dynamics import LatentActions
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_train.phases.losses import (
    WorldModelLossConfig,
    charged,
    information_weight,
    prediction_loss,
    prior_nats,
    prior_weight,
    world_model_loss,
)
from flam_train.phases.world_model import world_model

CONFIG = WorldModelConfig(
    grid=4, group=2, levels=(3, 3), slots=3, latent_dim=5, dim=16, heads=2, layers=1, prior_components=4
)
PRIOR = "learned_prior."


def model_and_clips(**changes) -> tuple[FactoredWorldModel, torch.Tensor]:
    torch.manual_seed(0)
    model = FactoredWorldModel(replace(CONFIG, **changes))
    if model.learned_prior is not None:
        torch.nn.init.normal_(model.learned_prior.head.weight, std=0.5)
    return model, torch.randint(9, (2, 6, 16))


def moved_by(loss: torch.Tensor, model: FactoredWorldModel) -> set[str]:
    """The parameters that get gradient from a loss."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {name for name, g in zip(names, gradients, strict=True) if g is not None and g.abs().max() > 0}


def test_the_prior_alone_learns_from_surprise_and_learns_from_nothing_else():
    model, tokens = model_and_clips()
    own, surprise = prior_nats(model, model(tokens))
    every = {name for name, _ in model.named_parameters()}
    assert moved_by(surprise, model) == {name for name in every if name.startswith(PRIOR)}
    charged = moved_by(own.sum(), model)
    assert not any(name.startswith(PRIOR) for name in charged)
    for part in ("inverse_dynamics", "factorizer", "features"):
        assert any(name.startswith(part) for name in charged), f"{part} is not charged for what it tells"


def test_nats_are_of_the_frames_that_actions_lead_from_and_surprise_is_their_mean_sum():
    model, tokens = model_and_clips()
    prediction = model(tokens)
    own, surprise = prior_nats(model, prediction)
    expected = model.prior(prediction.observed.at(slice(None, -1))).nats(prediction.posterior)
    assert own.shape == (2, 5, 3)
    torch.testing.assert_close(own, expected)
    torch.testing.assert_close(surprise, expected.sum(-1).mean())


def test_the_prior_charges_nothing_first_then_ever_more_and_nine_tenths_from_its_share_on():
    config = WorldModelLossConfig(prior_share=0.5)
    weights = [prior_weight(config, share) for share in (0.0, 0.3, 0.4, 0.5, 0.8, 1.0)]
    assert weights == pytest.approx([0, 0, 0.45, 0.9, 0.9, 0.9])
    assert prior_weight(WorldModelLossConfig(prior_share=1.0), 0.9) == pytest.approx(0.45)
    assert prior_weight(WorldModelLossConfig(prior_share=0.0), 0.0) == pytest.approx(0.9)


@pytest.mark.parametrize("last_price", [None, 0.9])
def test_a_share_that_is_a_tensor_gives_the_same_bits_as_a_number(last_price):
    """A recorded step has its numbers on the device."""
    model, tokens = model_and_clips()
    prediction = model(tokens)
    config = WorldModelLossConfig(
        information_price=0.3, last_price=last_price, free_share=0.05, ramp_share=0.3, prior_share=0.7
    )
    for share in (0.0, 0.17, 0.35, 0.57, 0.61, 1.0):
        loss, terms = world_model_loss(model, tokens, prediction, config, share)
        written = torch.tensor(share, dtype=torch.float64)
        other, same = world_model_loss(model, tokens, prediction, config, written)
        assert other.dtype == loss.dtype and torch.equal(other, loss)
        assert all(torch.equal(same[name], term) for name, term in terms.items())


@pytest.mark.parametrize(("share", "learned"), [(0.2, 0.0), (0.4, 0.45), (0.9, 0.9)])
def test_the_loss_is_prediction_plus_priced_nats_to_the_mixed_priors_plus_surprise(share, learned):
    model, tokens = model_and_clips()
    prediction = model(tokens)
    config = WorldModelLossConfig(information_price=0.3, free_share=0.0, ramp_share=0.0)
    loss, terms = world_model_loss(model, tokens, prediction, config, share)
    own, surprise = prior_nats(model, prediction)
    nats = (1 - learned) * prediction.posterior.nats + learned * own
    expected = terms["prediction"] + 0.3 / 16 * nats.sum(-1).mean() + surprise / 16
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms["nats_to_prior"], surprise.detach())


def test_the_prior_learns_while_information_is_free_and_draws_nobody():
    model, tokens = model_and_clips()
    prediction = model(tokens)
    config = WorldModelLossConfig(free_share=0.5)
    loss, terms = world_model_loss(model, tokens, prediction, config, 0.1)
    _, surprise = prior_nats(model, prediction)
    torch.testing.assert_close(loss, terms["prediction"] + surprise / 16)
    assert any(name.startswith(PRIOR) for name in moved_by(loss, model))


def test_without_a_prior_its_share_changes_nothing():
    model, tokens = model_and_clips(prior_components=None)
    prediction = model(tokens)
    losses = [
        world_model_loss(model, tokens, prediction, WorldModelLossConfig(prior_share=share), 0.7) for share in (0, 0.9)
    ]
    assert torch.equal(losses[0][0], losses[1][0]) and "nats_to_prior" not in losses[0][1]


def test_a_prior_learns_what_a_state_foretells():
    """Where frames are bright, slots go left or right as a coin falls; where they are dark, they stay."""
    torch.manual_seed(0)
    model = FactoredWorldModel(CONFIG)
    bright = torch.arange(32) % 2 == 0
    random = torch.Generator().manual_seed(0)
    tokens = torch.where(bright[:, None, None], 8, 0).expand(32, 6, 16)
    with torch.no_grad():
        prediction = model(tokens)
    optimizer = torch.optim.Adam(model.learned_prior.parameters(), lr=0.03)
    for _ in range(100):
        coin = torch.randint(2, (32, 5, 3, 1), generator=random) * 2.0 - 1
        mean = 2 * coin * bright[:, None, None, None] * torch.tensor([1.0, 0, 0, 0, 0])
        told = LatentActions(mean, torch.full_like(mean, -2.0))
        own, surprise = prior_nats(model, prediction._replace(posterior=told))
        optimizer.zero_grad(), surprise.backward(), optimizer.step()
    assert own[bright].mean() == pytest.approx(np.log(2), abs=0.2), "which way it goes is one coin"
    assert own[~bright].mean() == pytest.approx(0, abs=0.2), "that it stays is certain"
    assert told.nats.mean() > 3, "to who knows nothing all of it is news"
    prior = model.prior(prediction.observed)
    drawn = prior.draw(torch.randn(32, 6, 3, prior.noise, generator=random))[..., 0]
    left, right = (drawn[bright] < -1).float().mean(), (drawn[bright] > 1).float().mean()
    assert left == pytest.approx(0.5, abs=0.1) and right == pytest.approx(0.5, abs=0.1)
    assert drawn[~bright].abs().max() < 1.5


@pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")
def test_a_world_trained_with_a_prior_draws_from_it(store, trained_tokenizer, phases, tmp_path):
    out = Path(shutil.copytree(trained_tokenizer, tmp_path / "run"))
    hurried = phases.hurried | {"model": replace(phases.hurried["model"], prior_components=2)}
    world_model(store.root, out=out, **hurried)
    world = load_world(out)
    assert world.model.learns_prior and world.model.config.prior_components == 2
    env = FlamEnv(world=world)
    env.reset(seed=0)
    assert env.action_space.contains(env.sample_latent_action())
    rows = [json.loads(line) for file in out.rglob("metrics.jsonl") for line in file.read_text().splitlines()]
    assert any("nats_to_prior" in key for row in rows for key in row)


def test_free_nats_are_those_of_each_slot_in_each_clip():
    nats = torch.zeros(2, 4, 3)
    nats[0, :, 0], nats[1, 2, 1] = 2.0, 7.0  # 8 nats in a clip, and 7 in one step of another
    torch.testing.assert_close(charged(nats, 0.0), nats.sum(-1).mean())
    torch.testing.assert_close(charged(nats, 5.0), torch.tensor((3.0 + 2.0) / 2 / 4))
    assert charged(nats, 8.0) == 0
    model, tokens = model_and_clips(prior_components=None)
    prediction = model(tokens)
    free = WorldModelLossConfig(free_nats=1e6, free_share=0.0, ramp_share=0.0)
    loss, _ = world_model_loss(model, tokens, prediction, free, 0.5)
    torch.testing.assert_close(loss, prediction_loss(model, tokens, prediction, "even"))


def test_the_price_of_a_nat_may_end_elsewhere_than_it_began():
    config = WorldModelLossConfig(information_price=0.6, last_price=0.2, free_share=0.0, ramp_share=0.0)
    prices = [16 * information_weight(config, 16, share) for share in (0.1, 0.4, 0.6, 0.8, 1.0)]
    assert prices == pytest.approx([0.6, 0.6, 0.4, 0.2, 0.2])
    with pytest.raises(ValueError, match="last_price"):
        WorldModelLossConfig(last_price=-0.1)
