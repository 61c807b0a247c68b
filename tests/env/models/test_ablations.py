"""Options of the world model: a background sink, focus, difference, a prior, and the paper's two ablations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flam_env import Dream, Labeller, load_world, save_world
from flam_env.dream.dream import replace_rows, slot_owners
from flam_env.models.aggregator import Aggregator
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.models.factorizer import SlotAttention
from flam_env.worlds.checkpoint import round_as_stored
from flam_train.evaluate.rooms.clips import owning_slots
from flam_train.evaluate.rooms.dci import own_slots
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss

CONFIG = WorldModelConfig(
    grid=6, group=2, levels=(3, 3), slots=5, latent_dim=7, dim=24, heads=2, layers=3, iterations=2, window=4
)
BATCH, TIME = 3, 11
OPTIONS = [
    {"background_sink": True},
    {"focus": True},
    {"persistence": 3.0},
    {"difference": True},
    {"recurrence": True},
    {"coupled": True},
    {"prior_components": 3},
    {"prior_components": 2, "recurrence": True},
    {"background_sink": True, "focus": True, "recurrence": True, "coupled": True},
    {"background_sink": True, "focus": True, "persistence": 4.0, "prior_components": 2},
    {"background_sink": True, "focus": True, "persistence": 4.0, "cohesion": 2},
    {"background_sink": True, "presence": True, "locality": True},
]


@pytest.fixture(params=OPTIONS, ids=" and ".join)
def options(request):
    return request.param


def build(**changes):
    torch.manual_seed(0)
    model = FactoredWorldModel(replace(CONFIG, **changes)).eval()
    for name, parameter in model.named_parameters():  # heads start small; make every path loud
        if parameter.ndim > 1 and "embedding" not in name:
            torch.nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5)
    return model


def clips(seed=0):
    return torch.randint(9, (BATCH, TIME, CONFIG.patches), generator=torch.Generator().manual_seed(seed))


def weights(**changes):
    torch.manual_seed(0)
    return FactoredWorldModel(replace(CONFIG, **changes)).state_dict()


@pytest.fixture
def world(tiny_world, options):
    """A world with random weights and the options, in which things move."""
    torch.manual_seed(0)
    model = FactoredWorldModel(replace(tiny_world.model.config, **options)).eval().requires_grad_(False)
    model.aggregator.head.weight.normal_(std=1.5)
    return replace(tiny_world, model=round_as_stored(model))


# --- what an option adds ----------------------------------------------------------------------------------------


def test_a_sink_adds_one_number_and_other_options_nothing():
    plain = weights()
    assert set(weights(background_sink=True)) - set(plain) == {"factorizer.slot_attention.sink_gain"}
    for option in ("focus", "difference", "coupled"):
        changed = weights(**{option: True})
        assert list(changed) == list(plain) and all(torch.equal(changed[name], plain[name]) for name in plain)


def test_a_prior_adds_parameters_of_its_own_and_changes_nothing_else_that_is_said():
    plain, full = build(), build(prior_components=2)
    added = set(full.state_dict()) - set(plain.state_dict())
    assert {name.split(".")[0] for name in added} == {"learned_prior"}
    assert set(plain.state_dict()) < set(full.state_dict())
    full.load_state_dict(plain.state_dict(), strict=False)
    one, other = plain(clips()), full(clips())
    assert torch.equal(one.output, other.output) and torch.equal(one.posterior.mean, other.posterior.mean)


def test_sharpness_scales_the_competition_at_the_start():
    soft, sharp = (weights(sharpness=value)["factorizer.slot_attention.project_query.weight"] for value in (0.5, 2.0))
    torch.testing.assert_close(sharp, 4 * soft)


def test_recurrence_has_a_predictor_in_place_of_temporal_attention():
    plain, recurrent = weights(), weights(recurrence=True)
    assert {name.split(".")[1] for name in set(plain) - set(recurrent)} == {"temporal_attention"}
    added = {name.split(".")[1] for name in set(recurrent) - set(plain)}
    assert added == {"predictor_attention", "predictor_feed_forward"}


def test_every_parameter_gets_gradient(options):
    model, tokens = build(**options).train(), clips()
    loss, _ = world_model_loss(model, tokens, model(tokens), WorldModelLossConfig(free_share=0.0), share=1.0)
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_permuting_the_slot_embeddings_permutes_everything(options):
    model, tokens = build(**options), clips()
    order = torch.tensor([3, 0, 4, 2, 1])
    before = model(tokens)
    model.factorizer.slot_embedding.data = model.factorizer.slot_embedding.data[order]
    after = model(tokens)
    torch.testing.assert_close(after.observed.slots, before.observed.slots[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.observed.masks, before.observed.masks[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.posterior.mean, before.posterior.mean[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.output, before.output, atol=1e-3, rtol=1e-3)


def test_bfloat16_agrees_with_float32_within_three_percent(options):
    model, tokens = build(**options), clips()
    exact = model(tokens).output
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(tokens).output
    assert (rough - exact).square().mean().sqrt() < 0.03 * exact.std()


def all_parts(model, observed):
    """What is made of every frame, (B, T, ...) each."""
    prior = model.prior(observed)._asdict() if model.learns_prior else {}
    return {"features": observed.features, "slots": observed.slots, "masks": observed.masks} | prior


@pytest.mark.parametrize("pieces", [(1,) * TIME, (4, 5, 2), (7, 1, 3)])
def test_a_clip_in_pieces_is_the_clip_as_a_whole(options, pieces):
    model, tokens = build(**options), clips()
    history, parts = None, []
    for piece in tokens.split(pieces, dim=1):
        observed = model.observe(piece, history)
        history = observed.history
        parts.append(all_parts(model, observed))
    for name, whole in all_parts(model, model.observe(tokens)).items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts], 1), whole, atol=1e-5, rtol=1e-4)


def test_a_later_frame_changes_nothing_before_it(options):
    model, tokens = build(**options), clips()
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    one, other = (all_parts(model, model.observe(each)) for each in (tokens, changed))
    for name, part in one.items():
        assert torch.equal(part[:, :5], other[name][:, :5]) and not torch.equal(part[:, 5], other[name][:, 5]), name


# --- coupled ----------------------------------------------------------------------------------------------------


def test_a_coupled_action_sees_every_slots_future():
    model = build(coupled=True)
    slots = torch.randn(BATCH, CONFIG.slots, CONFIG.dim)
    after = torch.randn(BATCH, CONFIG.slots, CONFIG.dim, requires_grad=True)
    mean = model.inverse_dynamics(slots, after).mean
    for i in range(CONFIG.slots):
        (gradient,) = torch.autograd.grad(mean[:, i].square().sum(), after, retain_graph=True)
        assert (gradient.abs().amax((0, 2)) > 1e-6).all()


def test_a_coupled_prediction_sees_every_slots_action():
    model = build(coupled=True)
    slots = torch.randn(BATCH, CONFIG.slots, CONFIG.dim)
    actions = torch.randn(BATCH, CONFIG.slots, CONFIG.latent_dim, requires_grad=True)
    predicted = model.forward_dynamics(slots, actions)
    for i in range(CONFIG.slots):
        (gradient,) = torch.autograd.grad(predicted[:, i].square().sum(), actions, retain_graph=True)
        assert (gradient.abs().amax((0, 2)) > 1e-6).all()


# --- recurrence -------------------------------------------------------------------------------------------------


def test_recurrent_slots_see_all_frames_before_and_none_after():
    model, tokens = build(recurrence=True), clips()
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 9
    before, after = model.observe(tokens).slots, model.observe(changed).slots
    assert torch.equal(before[:, :4], after[:, :4])
    assert ((before - after)[:, 4 : 4 + CONFIG.window + 2].abs().amax((0, 2, 3)) > 1e-5).all()


# --- background sink --------------------------------------------------------------------------------------------


def test_the_sink_takes_a_share_of_the_patches_and_leaves_the_shapes():
    plain, sunk = (build(background_sink=on).observe(clips()) for on in (False, True))
    assert sunk.slots.shape == plain.slots.shape and sunk.masks.shape == plain.masks.shape
    torch.testing.assert_close(plain.masks.sum(2), torch.ones(BATCH, TIME, CONFIG.cell_grid**2))
    total = sunk.masks.sum(2)
    assert total.max() <= 1 + 1e-6 and total.mean() < 0.95


def test_the_sink_holds_what_a_frame_is_mostly_made_of():
    torch.manual_seed(0)
    attention = SlotAttention(16, 2, sharpness=1.0, background_sink=True, focus=False)
    agent, empty = 4 * torch.eye(16)[:2]
    _, masks = attention(torch.randn(1, 5, 16), torch.stack([agent] + [empty] * 60)[None], torch.randn(1, 61, 16))
    taken = 1 - masks.sum(1)[0]
    assert taken[0] < 0.2 and taken[1:].min() > 0.6


def test_what_the_sink_owns_is_no_slots():
    model = build(background_sink=True)
    masks = model.observe(clips()).masks[0]
    owners = slot_owners(masks)
    lost, kept = owners == -1, owners >= 0
    assert lost.any() and kept.any()
    assert (1 - masks.sum(1) > masks.amax(1))[lost].all()
    assert torch.equal(owners[kept], masks.argmax(1)[kept])
    frame = int((lost.any(1) & kept.any(1)).nonzero()[0])
    cells = torch.stack([x[frame].nonzero()[0, 0] for x in (lost, kept)])
    positions = torch.stack([cells % CONFIG.cell_grid, cells // CONFIG.cell_grid], -1)
    agents = owning_slots(masks[frame : frame + 1], positions[None], CONFIG.cell_grid)
    assert agents.tolist() == [[-1, owners[frame, cells[1]]]]
    assert own_slots(agents).tolist() == [[False, True]]


# --- worlds -----------------------------------------------------------------------------------------------------


def dreamt(world, steps=6):
    """State of three dreams after some steps, and all tokens (B, C + steps, N) that they went through."""
    dream, context = Dream(world), world.starts.tokens[:3, :2]
    state, seen = dream.reset(context), [context]
    for t in range(1, steps):
        state, frame = dream.step(state, world.starts.actions[:3, t])
        seen.append(state.tokens[:, None])
    assert frame.shape == (3, 48, 48, 3)
    return state, torch.cat(seen, 1)


def test_a_dream_equals_one_pass_over_its_frames(world):
    state, tokens = dreamt(world)
    assert (tokens[:, 1:] != tokens[:, :-1]).any(-1).all(), "nothing moves"
    whole = world.model.observe(tokens)
    torch.testing.assert_close(state.slots, whole.slots[:, -1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(state.masks, whole.masks[:, -1], atol=1e-5, rtol=1e-4)


def test_a_saved_world_dreams_the_same(world, options, tmp_path):
    save_world(tmp_path / "first", world)
    once = load_world(tmp_path / "first")
    save_world(tmp_path / "second", once)
    again = load_world(tmp_path / "second")
    assert again.model.config == once.model.config == replace(once.model.config, **options)
    (state, tokens), (state_again, tokens_again) = dreamt(once), dreamt(again)
    assert torch.equal(tokens, tokens_again) and torch.equal(state.slots, state_again.slots)


def test_rows_of_a_dream_begin_anew_on_their_own(world):
    dream = Dream(world)
    (old, _), fresh = dreamt(world), dream.reset(world.starts.tokens[5:6, :2])
    mixed = replace_rows(old, [1], fresh)
    actions = world.starts.actions[5:6, 1]
    after, alone, others = (
        dream.step(state, actions.expand(len(state.tokens), -1, -1))[0] for state in (mixed, fresh, old)
    )
    torch.testing.assert_close(after.slots[1:2], alone.slots, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after.slots[::2], others.slots[::2], atol=1e-5, rtol=1e-4)


def test_labels_do_not_depend_on_the_pieces_of_a_video(world, monkeypatch):
    frames = np.random.default_rng(0).integers(0, 256, (10, 48, 48, 3)).astype(np.uint8)
    whole = Labeller(world).label(frames).latent_actions
    monkeypatch.setattr(Labeller, "PIECE", 3)
    np.testing.assert_allclose(Labeller(world).label(frames).latent_actions, whole, atol=1e-4, rtol=1e-3)


# --- persistence ------------------------------------------------------------------------------------------------


def test_of_slots_that_match_a_thing_equally_well_the_one_that_held_it_keeps_it_with_persistence():
    torch.manual_seed(0)
    frames, patches = 8, 9
    slots, key = torch.randn(frames, 2, 4), 0.1 * torch.randn(frames, patches, 4)
    held = torch.tensor([[1.0], [0.0]]).expand(1, 2, patches)
    owners = {}
    for persistence in (0.0, 4.0):
        torch.manual_seed(1)
        attention = SlotAttention(4, 2, sharpness=1.0, background_sink=False, focus=False, persistence=persistence)
        _, masks = attention(slots, key, key, held)
        torch.testing.assert_close(masks.sum(1), torch.ones(frames, patches))
        owners[persistence] = masks.argmax(1)
    assert owners[0.0].float().mean() > 0.2, "both slots hold some"
    assert (owners[4.0] == 0).all()


def test_what_the_background_took_is_nobodys_advantage():
    torch.manual_seed(0)
    attention = SlotAttention(4, 2, sharpness=1.0, background_sink=True, focus=False, persistence=4.0)
    slots, key = torch.randn(1, 3, 4), torch.randn(1, 9, 4)
    _, free = attention(slots, key, key)
    _, after = attention(slots, key, key, torch.zeros(1, 3, 9))
    torch.testing.assert_close(free, after)


def test_a_slot_has_the_advantage_where_it_was_and_beside_where_nobody_was():
    torch.manual_seed(0)
    attention = SlotAttention(4, 2, sharpness=1.0, background_sink=False, focus=False, persistence=4.0)
    slots, key = torch.randn(1, 2, 4), torch.randn(1, 9, 4)
    held = torch.zeros(1, 2, 9)
    held[0, 0, 0], held[0, 1, 2] = 1, 0.5  # in two corners of 3 x 3
    (_, free), (_, after) = attention(slots, key, key), attention(slots, key, key, held)
    gained = (after / free).log()[0]
    advantage = torch.tensor([[4.0, 4, 0, 4, 4, 0, 0, 0, 0], [0, 2, 3, 0, 2, 2, 0, 0, 0]])
    torch.testing.assert_close(gained[0] - gained[1], advantage[0] - advantage[1], atol=1e-4, rtol=1e-4)


def cohesive_attention(**more):
    torch.manual_seed(0)
    return SlotAttention(4, 2, **{"sharpness": 1.0, "focus": False, "persistence": 4.0, "cohesion": 2} | more)


def test_with_cohesion_a_slot_has_the_advantage_at_one_thing_and_the_disadvantage_away_from_it():
    attention = cohesive_attention(background_sink=False)
    slots, key = torch.randn(1, 2, 4), torch.randn(1, 25, 4)
    held = torch.zeros(1, 2, 5, 5)
    held[0, 0, 0, 0], held[0, 0, 1, 1], held[0, 0, 4, 4] = 1, 0.5, 0.75  # a thing, its weaker half, and another thing
    (_, free), (_, after) = attention(slots, key, key), attention(slots, key, key, held.flatten(2))
    gained = (after / free).log()[0].unflatten(-1, (5, 5))
    advantage = torch.full((5, 5), -4.0)
    advantage[:3, :3] = 0.0  # the weaker half says half for it, and half against it
    advantage[:2, :2] = 4.0
    torch.testing.assert_close(gained[0] - gained[1], advantage, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("reach", "advantage"), [(0, [4, 0, -4, -4, -4]), (1, [4, 4, 0, -4, -4]), (2, [4, 4, 4, 0, -4])]
)
def test_cohesion_says_how_far_a_thing_may_reach(reach, advantage):
    attention = cohesive_attention(background_sink=False, cohesion=reach)
    slots, key, held = torch.randn(1, 2, 4), torch.randn(1, 25, 4), torch.zeros(1, 2, 25)
    held[0, 0, 10], held[0, 0, 11:15] = 1, 0.999999  # the strongest one at the end of a row
    (_, free), (_, after) = attention(slots, key, key), attention(slots, key, key, held)
    gained = (after / free).log()[0, :, 10:15]
    torch.testing.assert_close(gained[0] - gained[1], torch.tensor(advantage).float(), atol=1e-3, rtol=0)


def test_with_cohesion_the_sink_keeps_its_share():
    attention = cohesive_attention(background_sink=True)
    slots, key, held = torch.randn(1, 3, 4), torch.randn(1, 9, 4), torch.rand(1, 3, 9) / 3
    (_, free), (_, after) = attention(slots, key, key), attention(slots, key, key, held)
    torch.testing.assert_close(free.sum(1), after.sum(1))
    assert not torch.allclose(free, after, atol=0.01)


def test_with_cohesion_who_holds_nothing_gets_what_is_new_to_one_that_holds_something():
    attention = cohesive_attention(background_sink=False)
    slots, key = torch.randn(1, 1, 4).expand(1, 2, 4), torch.randn(1, 25, 4)
    held = torch.zeros(1, 2, 25)
    held[0, 0, 0] = 1
    _, masks = attention(slots, key, key, held)
    assert masks[0, 0, 0] > 0.9 and masks[0, 1, 24] > 0.9


def test_cohesion_without_persistence_is_refused():
    with pytest.raises(ValueError, match="expected persistence above 0 with cohesion, which says what it counts for"):
        replace(CONFIG, cohesion=2)


@pytest.mark.parametrize("reach", [-1, True, 0.5])
def test_cohesion_that_is_no_number_of_cells_is_refused(reach):
    with pytest.raises(ValueError, match="expected cohesion"):
        replace(CONFIG, persistence=4.0, cohesion=reach)


@pytest.mark.parametrize("wrong", [{"persistence": -1.0}, {"persistence": 1.0, "recurrence": True}], ids=str)
def test_persistence_that_is_negative_or_beside_recurrence_is_refused(wrong):
    with pytest.raises(ValueError, match="expected persistence of at least 0, and 0 with recurrence, got"):
        replace(CONFIG, **wrong)


# --- presence and locality ------------------------------------------------------------------------------------------


def test_with_presence_a_slot_decides_as_far_as_it_is_there():
    model, actions = build(presence=True), torch.randn(BATCH, TIME, 5, CONFIG.latent_dim)
    observed, there = model.observe(clips()), torch.rand(BATCH, TIME, 5, 1)
    observed = observed._replace(masks=there * torch.rand(1, 1, 1, CONFIG.patches).clamp(max=0.9))
    observed.masks[..., 3] = there[..., 0]  # the patch that it has most of
    everywhere = observed._replace(masks=torch.ones_like(observed.masks))
    assert not torch.allclose(model.step(observed, actions), model.step(everywhere, actions), atol=1e-3)
    torch.testing.assert_close(model.step(observed, actions), model.step(everywhere, there * actions))


def test_with_locality_a_patch_looks_at_the_slots_that_are_near_where_any_are():
    torch.manual_seed(0)
    aggregator = Aggregator(dim=8, heads=2, layers=1, feed_forward=2, outputs=3)
    torch.nn.init.normal_(aggregator.head.weight)
    features, slots = torch.randn(1, 25, 8), torch.randn(1, 3, 8)
    masks, other = torch.zeros(1, 3, 25), torch.randn(1, 1, 8)
    masks[0, 0, 0], masks[0, 1, 24] = 1, 1  # in two corners of 5 x 5; slot 2 holds nothing

    def change(slot, masks):
        changed = slots.index_copy(1, torch.tensor([slot]), other)
        return (aggregator(features, changed, masks) - aggregator(features, slots, masks))[0].norm(dim=-1)

    beside_first, beside_second = [0, 1, 5, 6], [18, 19, 23, 24]
    nowhere = [patch for patch in range(25) if patch not in beside_first + beside_second]
    for slot, near, far in ((0, beside_first, beside_second), (1, beside_second, beside_first)):
        with_locality, without = change(slot, masks), change(slot, None)
        assert with_locality[far].max() < 0.1 * without[far].max()
        assert (with_locality[near] > with_locality[far].max()).all()
        torch.testing.assert_close(with_locality[nowhere], without[nowhere])
    assert change(2, masks)[beside_first + beside_second].max() < 0.1 * change(2, None).max()


# --- focus ------------------------------------------------------------------------------------------------------


def test_what_a_slot_holds_beside_its_best_match_hardly_dilutes_it_with_focus():
    torch.manual_seed(0)
    agent, empty = torch.tensor([9.0, 0, 0, 0]), torch.tensor([1.0, 0, 0, 0])
    key = torch.stack([agent] + [empty] * 60)[None]
    value = torch.zeros(1, 61, 4)
    value[0, 0] = 1
    slots, seen = torch.tensor([[[2.0, 0, 0, 0], [-2.0, 0, 0, 0]]]), {}
    for focus in (False, True):
        attention = SlotAttention(4, 2, sharpness=1.0, background_sink=False, focus=focus)
        attention.project_query.weight.data = torch.eye(4)
        attention._gated_update = lambda update, slots, focus=focus: seen.setdefault(focus, update)
        _, masks = attention(slots, key, value)
        assert masks[0, 0].min() > 0.5, "the first slot wins everything"
    assert seen[False][0, 0].max() < 0.03
    assert seen[True][0, 0].min() > 0.5


# --- difference -------------------------------------------------------------------------------------------------


def test_with_difference_the_private_stream_starts_from_the_change():
    torch.manual_seed(0)
    slots, after = torch.randn(2, 5, 24), torch.randn(2, 5, 24)
    seen = {}
    for difference in (False, True):
        inverse = build(difference=difference).inverse_dynamics
        inverse.next_slot.register_forward_pre_hook(lambda _, given, on=difference: seen.update({on: given[0]}))
        inverse(slots, after)
    assert torch.equal(seen[False], after) and torch.equal(seen[True], after - slots)
