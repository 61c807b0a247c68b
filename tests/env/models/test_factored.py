"""The properties that make the model factored, causal and equivariant. All sizes differ."""

from dataclasses import fields, replace

import pytest
import torch

from flam_env.models import factorizer
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.models.factorizer import PREPARED
from flam_env.models.layers import rotary_turns
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss

CONFIG = WorldModelConfig(
    grid=6, group=2, levels=(3, 3), slots=5, latent_dim=7, dim=24, heads=2, layers=3, iterations=2, window=4
)
BATCH, TIME = 3, 11


@pytest.fixture(params=["code", "token", "level"])
def target(request):
    return request.param


def build(**changes):
    torch.manual_seed(0)
    model = FactoredWorldModel(WorldModelConfig(**{**vars(CONFIG), **changes})).eval()
    for parameter in model.parameters():  # heads start small; make every path loud
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5)
    return model


def clips(seed=0):
    return torch.randint(9, (BATCH, TIME, CONFIG.patches), generator=torch.Generator().manual_seed(seed))


def test_inferred_action_of_a_slot_sees_no_other_slots_future():
    model = build()
    slots = torch.randn(BATCH, CONFIG.slots, CONFIG.dim)
    after = torch.randn(BATCH, CONFIG.slots, CONFIG.dim, requires_grad=True)
    mean = model.inverse_dynamics(slots, after).mean
    for i in range(CONFIG.slots):
        (gradient,) = torch.autograd.grad(mean[:, i].square().sum(), after, retain_graph=True)
        others = [j for j in range(CONFIG.slots) if j != i]
        assert gradient[:, i].abs().max() > 1e-6
        assert (gradient[:, others] == 0).all()


def test_predicted_slot_sees_no_other_slots_action():
    model = build()
    slots = torch.randn(BATCH, CONFIG.slots, CONFIG.dim)
    actions = torch.randn(BATCH, CONFIG.slots, CONFIG.latent_dim, requires_grad=True)
    predicted = model.forward_dynamics(slots, actions)
    for i in range(CONFIG.slots):
        (gradient,) = torch.autograd.grad(predicted[:, i].square().sum(), actions, retain_graph=True)
        others = [j for j in range(CONFIG.slots) if j != i]
        assert gradient[:, i].abs().max() > 1e-6
        assert (gradient[:, others] == 0).all()


def test_both_dynamics_see_all_current_slots():
    model = build()
    slots = torch.randn(BATCH, CONFIG.slots, CONFIG.dim, requires_grad=True)
    after, actions = torch.randn(BATCH, CONFIG.slots, CONFIG.dim), torch.randn(BATCH, CONFIG.slots, CONFIG.latent_dim)
    for output in (model.inverse_dynamics(slots, after).mean, model.forward_dynamics(slots, actions)):
        (gradient,) = torch.autograd.grad(output[:, 0].square().sum(), slots)
        assert (gradient.abs().amax((0, 2)) > 1e-7).all()


def test_factorizer_is_causal():
    model, tokens = build(), clips()
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 9
    before, after = model.observe(tokens).slots, model.observe(changed).slots
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert ((before - after)[:, 6:8].abs().amax((2, 3)) > 1e-4).all()


def test_factorizer_forgets_what_left_the_window():
    model, tokens = build(iterations=1), clips()
    changed = tokens.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 9
    before, after = model.observe(tokens).slots, model.observe(changed).slots
    last = 2 + CONFIG.window - 1
    assert (before - after)[:, last].abs().max() > 1e-5
    torch.testing.assert_close(before[:, last + 1 :], after[:, last + 1 :])


def test_permuting_the_slot_embeddings_permutes_everything():
    model, tokens = build(), clips()
    order = torch.tensor([3, 0, 4, 2, 1])
    before = model(tokens)
    model.factorizer.slot_embedding.data = model.factorizer.slot_embedding.data[order]
    after = model(tokens)
    torch.testing.assert_close(after.observed.slots, before.observed.slots[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.observed.masks, before.observed.masks[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.posterior.mean, before.posterior.mean[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.output, before.output, atol=1e-3, rtol=1e-3)


def test_masks_are_a_distribution_over_slots():
    masks = build().observe(clips()).masks
    assert masks.shape == (BATCH, TIME, CONFIG.slots, CONFIG.cell_grid**2)
    torch.testing.assert_close(masks.sum(2), torch.ones(BATCH, TIME, CONFIG.cell_grid**2))


def test_every_parameter_gets_gradient(target):
    model, tokens = build(target=target).train(), clips()
    loss, _ = world_model_loss(model, tokens, model(tokens), WorldModelLossConfig(free_share=0.0), share=1.0)
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@pytest.mark.parametrize("pieces", [(1,) * TIME, (4, 5, 2), (7, 1, 3)])
def test_a_clip_in_pieces_gives_the_slots_of_one_pass(pieces):
    model, tokens = build(), clips()
    whole, history, parts = model.observe(tokens).slots, None, []
    for piece in tokens.split(pieces, dim=1):
        slots = model.observe(piece, history)
        parts.append(slots.slots)
        history = slots.history
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


def test_what_attention_in_time_needs_is_made_once_for_clips_of_usual_length(monkeypatch):
    model, made = build(), []
    tokens = torch.randint(9, (2, PREPARED + 7, CONFIG.patches), generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(factorizer, "rotary_turns", lambda *rest: made.append(rest) or rotary_turns(*rest))
    first = model.observe(tokens[:, :PREPARED])
    last = model.observe(tokens[:, PREPARED:], first.history)
    assert not made
    whole = model.observe(tokens).slots
    assert len(made) == 1, "a longer clip makes its own"
    torch.testing.assert_close(torch.cat([first.slots, last.slots], 1), whole, atol=1e-5, rtol=1e-4)


def test_prediction_of_one_step_equals_that_step_of_the_whole_pass(target):
    model, tokens = build(target=target), clips()
    whole, history, t = model(tokens), None, 0
    for t in range(5):
        slots = model.observe(tokens[:, t : t + 1], history)
        history = slots.history
    alone = model.step(slots, whole.actions[:, t : t + 1])
    torch.testing.assert_close(alone[:, 0], whole.output[:, t], atol=1e-4, rtol=1e-4)


def test_bfloat16_agrees_with_float32_within_three_percent():
    model, tokens = build(), clips()
    exact = model(tokens).output
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(tokens).output
    assert (rough - exact).square().mean().sqrt() < 0.03 * exact.std()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple of group"):
        build(grid=7)
    with pytest.raises(ValueError, match="equally many levels"):
        build(levels=(3, 4), target="level")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 1}, "a temporal window of at least 2 frames, got window=1"),
        ({"heads": 3, "dim": 27}, r"dim to be a multiple of 2 \* heads, got dim=27, heads=3"),
        ({"levels": (1, 3)}, "2 levels"),
        ({"target": "pixel"}, "target of WorldModelConfig to be Literal.*got 'pixel'"),
        ({"cell_context": None}, "cell_context of WorldModelConfig to be bool"),
        ({"prior_components": 0}, "prior_components to be an integer of at least 1, got 0"),
        ({"prior_components": 2.5}, "prior_components of WorldModelConfig to be int"),
        ({"prior_components": True}, "prior_components of WorldModelConfig to be int"),
        *(
            ({field.name: 0}, f"{field.name} of WorldModelConfig to be an integer of at least 1, got 0")
            for field in fields(CONFIG)
            if field.type is int
        ),
    ],
)
def test_configs_of_no_model_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_action_index_leads_from_its_frame_to_the_next():
    model, tokens = build(), clips()
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    difference = (model(tokens).posterior.mean - model(changed).posterior.mean).abs().amax((0, 2, 3))
    assert (difference[:4] == 0).all() and difference[4] > 1e-4
