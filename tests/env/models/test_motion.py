"""Motion in the features of cells: what they see of the frames before, where, and when."""

from dataclasses import replace

import pytest
import torch

from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.models.motion import NARROW, Motion

CONFIG = WorldModelConfig(
    grid=10, group=2, levels=(3, 3), slots=4, latent_dim=7, dim=24, heads=2, layers=1, iterations=2, window=3
)
SIDE, LAGS = CONFIG.cell_grid, (1, 4)
BATCH, TIME = 2, 11
KINDS = [{}, {"motion": LAGS}, {"recurrence": True}, {"motion": LAGS, "recurrence": True}]


def build(**changes) -> FactoredWorldModel:
    torch.manual_seed(0)
    model = FactoredWorldModel(replace(CONFIG, prior_components=3, **changes)).eval().requires_grad_(False)
    model.learned_prior.head.weight.normal_(std=0.5)
    return model


def clips() -> torch.Tensor:
    return torch.randint(9, (BATCH, TIME, CONFIG.patches), generator=torch.Generator().manual_seed(1))


def all_parts(model: FactoredWorldModel, observed) -> dict[str, torch.Tensor]:
    """What is made of every frame, (B, T, ...) each."""
    parts = {"features": observed.features, "slots": observed.slots, "masks": observed.masks}
    return parts | model.prior(observed)._asdict()


def differing(one: torch.Tensor, other: torch.Tensor) -> list[int]:
    """The frames in which two (B, T, ...) differ."""
    return (one != other).transpose(0, 1).flatten(1).any(1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("pieces", [(1,) * TIME, (2, 6, 3), (9, 1, 1)], ids=str)
def test_a_clip_in_pieces_is_the_clip_as_a_whole(kind, pieces):
    model, tokens = build(**kind), clips()
    history, parts = None, []
    for piece in tokens.split(pieces, 1):
        observed = model.observe(piece, history)
        history = observed.history
        parts.append(all_parts(model, observed))
    for name, whole in all_parts(model, model.observe(tokens)).items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts], 1), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_later_frame_changes_nothing_before_it(kind):
    model, tokens = build(**kind), clips()
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    one, other = (all_parts(model, model.observe(each)) for each in (tokens, changed))
    for name, part in one.items():
        assert min(differing(part, other[name])) == 5, name


def seen_by_slots(model: FactoredWorldModel, tokens: torch.Tensor) -> torch.Tensor:
    """The features of cells (B, T, cells, D) that slots compete for."""
    seen = []
    with model.factorizer.register_forward_pre_hook(lambda _, given: seen.append(given[0])):
        model.observe(tokens)
    return seen[0]


def test_features_see_exactly_the_lags_and_only_the_three_by_three_cells_around():
    torch.manual_seed(0)
    motion = Motion(SIDE, 6, LAGS)
    features = torch.randn(1, TIME, SIDE**2, 6, requires_grad=True)
    seen, _ = motion(features, motion.empty_history(1, features.device))
    for row, column, frame in ((2, 2, 9), (0, 0, 9), (4, 1, 2)):
        (gradient,) = torch.autograd.grad(seen[0, frame, row * SIDE + column].sum(), features, retain_graph=True)
        frames, cells = gradient[0].abs().sum(-1).nonzero(as_tuple=True)
        around = {
            y * SIDE + x
            for y in range(max(row - 1, 0), min(row + 2, SIDE))
            for x in range(max(column - 1, 0), min(column + 2, SIDE))
        }
        looks = {frame - lag for lag in (0, *LAGS) if lag <= frame}
        assert set(zip(frames.tolist(), cells.tolist(), strict=True)) == {(t, c) for t in looks for c in around}


def test_a_frame_is_seen_again_so_many_frames_later_and_no_more():
    model, tokens = build(motion=LAGS), clips()
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 9
    one, other = (seen_by_slots(model, each) for each in (tokens, changed))
    assert differing(one, other) == [3, *(3 + lag for lag in LAGS)]
    one, other = (model.observe(each).features for each in (tokens, changed))
    assert differing(one, other) == [3], "the aggregator sees a frame alone: slots alone know of motion"


def test_what_is_remembered_is_as_long_as_the_longest_lag_and_of_each_clip_its_own():
    model, tokens = build(motion=LAGS), clips()
    remembered = model.observe(tokens).history[-1]
    assert remembered.shape == (BATCH, max(LAGS), SIDE**2, NARROW) and remembered.dtype == torch.float32
    for count in (2, 4, 9):
        before = model.observe(tokens[:, :count]).history[-1]
        assert before[:, : max(4 - count, 0)].eq(0).all() and before[:, -1].ne(0).any()
    torch.testing.assert_close(model.observe(tokens[1:]).history[-1][0], remembered[1])


def test_standing_still_and_moving_look_different_with_motion_and_alike_without():
    moving = clips()
    still = moving[:, -1:].expand_as(moving)
    for kind, alike in (({}, True), ({"motion": LAGS}, False)):
        model = build(**kind)
        last = [seen_by_slots(model, tokens)[:, -1] for tokens in (moving, still)]
        assert torch.allclose(*last, atol=1e-6) == alike


def test_motion_and_a_prior_add_parameters_of_their_own_and_change_no_other():
    torch.manual_seed(0)
    plain = FactoredWorldModel(CONFIG).eval()
    torch.manual_seed(0)
    again = FactoredWorldModel(replace(CONFIG, motion=(), prior_components=None)).eval()
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    full = FactoredWorldModel(replace(CONFIG, motion=LAGS, prior_components=2)).eval()
    added = set(full.state_dict()) - set(plain.state_dict())
    assert {name.split(".")[0] for name in added} == {"motion", "learned_prior"}
    assert set(plain.state_dict()) < set(full.state_dict())
    full.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.zeros_(full.motion.project_out.weight), torch.nn.init.zeros_(full.motion.project_out.bias)
    tokens = clips()
    with torch.no_grad():
        one, other = plain(tokens), full(tokens)
    assert torch.equal(one.output, other.output) and torch.equal(one.posterior.mean, other.posterior.mean)
    assert len(plain.empty_history(1, tokens.device)) + 1 == len(full.empty_history(1, tokens.device))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": (1, 0)}, r"motion to be how many frames back, at least 1 each, got \(1, 0\)"),
        ({"motion": (1.5,)}, r"motion of WorldModelConfig to be tuple\[int, \.\.\.\], got \(1\.5,\)"),
        ({"motion": 2}, "motion of WorldModelConfig to be tuple"),
        ({"prior_components": 0}, "prior_components to be an integer of at least 1, got 0"),
        ({"prior_components": 2.5}, "prior_components of WorldModelConfig to be int"),
        ({"prior_components": True}, "prior_components of WorldModelConfig to be int"),
    ],
)
def test_no_motion_and_no_prior_that_could_not_be(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)
