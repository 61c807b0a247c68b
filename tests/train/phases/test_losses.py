"""The objective in closed form."""

import math

import pytest
import torch

from flam_env.models.dynamics import LatentActions
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_train.phases.collapse import CollapseWarning, signs_of_collapse, warn_of_collapse
from flam_train.phases.losses import (
    WorldModelLossConfig,
    information_weight,
    prediction_loss,
    world_model_loss,
)

SIZES = {"grid": 4, "group": 2, "levels": (3, 3), "slots": 3, "latent_dim": 5, "dim": 16, "heads": 2, "layers": 1}
HEALTHY = {
    "tokens_used": 100.0,
    "nats_per_frame": 20.0,
    "active_slots": 8.0,
    "slots_with_patches": 8.0,
    "accuracy_changed": 0.5,
    "accuracy_still": 0.99,
}


def world_and_clips(**changes):
    torch.manual_seed(0)
    return FactoredWorldModel(WorldModelConfig(**SIZES, **changes)), torch.randint(9, (2, 6, 16))


def with_output(prediction, output):
    return prediction._replace(output=output)


def test_kl_equals_that_of_torch_distributions():
    mean, log_variance = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(LatentActions(mean, log_variance).kl, expected)


def test_perfect_codes_cost_nothing_and_uniform_logits_cost_the_log_of_the_classes():
    model, tokens = world_and_clips(target="code")
    prediction = with_output(model(tokens), model.quantizer.codes(tokens[:, 1:]))
    assert prediction_loss(model, tokens, prediction, "even") == 0
    for target, shape in (("token", (9,)), ("level", (2, 3))):
        model, tokens = world_and_clips(target=target)
        uniform = with_output(model(tokens), torch.zeros(2, 5, 16, *shape))
        assert prediction_loss(model, tokens, uniform, "even").item() == pytest.approx(math.log(9), rel=1e-5)


def test_a_nat_weighs_twice_as_much_under_surprise_where_a_patch_is_foretold_four_nats_badly():
    model, tokens = world_and_clips(target="token")
    logits = torch.randn(2, 5, 16, 9).requires_grad_()
    prediction = with_output(model(tokens), logits)
    error = torch.nn.functional.cross_entropy(logits.flatten(0, 2), tokens[:, 1:].flatten(), reduction="none")
    loss = prediction_loss(model, tokens, prediction, "surprise")
    torch.testing.assert_close(loss, (error + error.square() / 8).mean())
    even, surprise = (
        torch.autograd.grad(prediction_loss(model, tokens, prediction, how), logits, retain_graph=True)[0]
        for how in ("even", "surprise")
    )
    torch.testing.assert_close(surprise.flatten(0, 2), even.flatten(0, 2) * (1 + error / 4)[:, None])


def test_changed_weighting_gives_changed_and_still_patches_half_each():
    model, tokens = world_and_clips(target="code")
    tokens = tokens[:, :1].repeat(1, 6, 1)
    tokens[:, 3:, 0] = (tokens[:, 3:, 0] + 1) % 9
    copied = with_output(model(tokens), model.quantizer.codes(tokens[:, :-1]))
    still_wrong = (model.quantizer.codes(tokens[:, 3]) - model.quantizer.codes(tokens[:, 2])).square().mean(-1)[:, 0]
    assert prediction_loss(model, tokens, copied, "changed").item() == pytest.approx(still_wrong.mean().item() / 2)
    even = prediction_loss(model, tokens, copied, "even").item()
    assert even == pytest.approx(still_wrong.mean().item() / (5 * 16))


def test_information_is_free_first_then_priced_per_patch():
    config = WorldModelLossConfig(information_price=0.8, free_share=0.1, ramp_share=0.2)
    weights = [information_weight(config, 16, share) for share in (0.0, 0.1, 0.2, 0.3, 1.0)]
    assert weights == pytest.approx([0, 0, 0.025, 0.05, 0.05])


def test_the_loss_is_prediction_plus_priced_nats():
    model, tokens = world_and_clips()
    prediction = model(tokens)
    config = WorldModelLossConfig(information_price=0.3, free_share=0.0, ramp_share=0.0)
    loss, terms = world_model_loss(model, tokens, prediction, config, 1.0)
    nats = prediction.posterior.kl.sum((-1, -2)).mean()
    torch.testing.assert_close(loss, terms["prediction"] + 0.3 / 16 * nats)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"tokens_used": 1.0}, "codebook collapse"),
        ({"active_slots": 0.0}, "posterior collapse"),
        ({"slots_with_patches": 2.0}, "slots own patches"),
        ({"accuracy_changed": 0.0, "accuracy_still": 1.0}, "copies the current frame"),
    ],
)
def test_each_collapse_is_named(change, cause):
    assert signs_of_collapse(HEALTHY, slots=16) == []
    (sign,) = signs_of_collapse(HEALTHY | change, slots=16)
    assert cause in sign
    with pytest.warns(CollapseWarning, match=cause) as said:
        eval("look(health, 16)", {"__name__": "flam_train", "look": warn_of_collapse, "health": HEALTHY | change})
    assert [each.filename for each in said] == [__file__]


def test_a_world_in_which_one_slot_decides_is_healthy():
    assert signs_of_collapse(HEALTHY | {"active_slots": 1.0, "nats_per_frame": 2.4}, slots=16) == []


def test_a_model_that_infers_nothing_has_no_posterior_to_collapse():
    silent = HEALTHY | {"active_slots": 0.0, "nats_per_frame": 0.0}
    assert signs_of_collapse(silent, slots=16, infers=False) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"information_price": -1.0},
        {"free_share": 2.0},
        {"ramp_share": -0.1},
        {"prior_share": 1.5},
        {"weighting": "odd"},
    ],
)
def test_objectives_out_of_range_are_named(changes):
    with pytest.raises(ValueError, match=f"expected .*{next(iter(changes))}"):
        WorldModelLossConfig(**changes)


def test_actions_are_inferred_from_the_true_frames_whatever_is_shown():
    model, tokens = world_and_clips()
    model.eval()
    true, other = model(tokens), model(tokens, shown=(tokens + 1) % 9)
    torch.testing.assert_close(true.actions, other.actions)
    assert (true.output - other.output).abs().max() > 0.1
    torch.testing.assert_close(model(tokens, shown=tokens).output, true.output)
