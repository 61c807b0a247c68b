"""What baselines are known to get wrong, at the smallest size: offsets, codebooks, modes, sizes that nothing reads."""

import inspect
import math
from dataclasses import asdict, replace

import pytest
import torch
from dots import FRAMES, GRID, played_dots
from kinds import CHEAP, INFER, KINDS, SCENE, make_savi, savi_loss
from torch import Tensor
from torch.nn.functional import normalize

from baselines.action_world_model import ActionWorldModel, ActionWorldModelConfig
from baselines.adaworld import AdaWorld, AdaWorldConfig
from baselines.codebook import DECAY, PATIENCE, Codebook, Codes, UsedCodes, codes_in_use
from baselines.genie import Genie, GenieConfig
from baselines.playslot import PlaySlot, PlaySlotConfig
from baselines.savi import SaviConfig
from baselines.slotformer import SlotFormerConfig
from baselines.train import KINDS as TRAINED
from baselines.train import preset_arguments
from flam_env.models.protocol import WorldModel
from flam_train.engine import Progress
from flam_train.evaluate.rooms.factorization import measures_of
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.presets import PRESETS


def random_clips(count: int = 5, frames: int = FRAMES) -> Tensor:
    return torch.randint(9, (count, frames, GRID**2), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(kind) -> WorldModel:
    torch.manual_seed(0)
    return KINDS[kind].make().eval()


def vectors_of(posterior) -> Tensor:
    """What is inferred, before it is rounded to a code."""
    return posterior.vectors if isinstance(posterior, Codes) else posterior.mean


@pytest.mark.parametrize("kind", INFER)
def test_the_action_into_a_frame_is_inferred_from_that_frame_and_from_none_after_it(kind, model):
    """An offset by one leaves the action with the past only."""
    model.train()  # in which a code passes the gradient to what it was
    tokens = random_clips()
    observed = model.observe(tokens)
    seen = observed.slots if kind == "playslot" else observed.features
    seen = seen.detach().requires_grad_()
    watched = observed._replace(**{"slots" if kind == "playslot" else "features": seen})
    vectors_of(model.infer(watched))[:, 1].square().sum().backward()
    told = seen.grad.abs().amax((0, 2, 3)) > 0
    assert told.tolist() == [False, True, True, False]


def test_what_is_observed_of_a_frame_does_not_depend_on_those_after_it(model):
    tokens = random_clips()
    other = tokens.clone()
    other[:, 2:] = (other[:, 2:] + 1) % 9
    for before, after in zip(model.observe(tokens)[1:4], model.observe(other)[1:4], strict=True):
        torch.testing.assert_close(before[:, :2], after[:, :2])


def test_a_clip_may_be_given_in_pieces(model):
    tokens = random_clips(3, 7)
    whole, history = model.observe(tokens), None
    for first in (0, 1, 4):
        piece = model.observe(tokens[:, first : {0: 1, 1: 4, 4: 7}[first]], history)
        torch.testing.assert_close(piece.features, whole.features[:, first : first + piece.features.shape[1]])
        history = piece.history


def test_the_same_state_and_action_give_the_same_frame_in_training_and_after(model):
    """Batch statistics, noise, or an action that is drawn where one is given, would make them differ."""
    seen = model.observe(random_clips())
    shape = model.actions.zeros(5, FRAMES).shape
    if model.actions.zeros().is_floating_point():
        actions = torch.randn(shape)
    else:
        actions = torch.randint(model.actions.codes, shape)
    with torch.no_grad():
        after, again = model.step(seen, actions), model.step(seen, actions)
        torch.testing.assert_close(model.train().step(seen, actions), after, rtol=0, atol=0)
        torch.testing.assert_close(again, after, rtol=0, atol=0)


def test_looking_changes_nothing(model):
    """One kept all that it ever inferred, another would learn codes from what it is scored on."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = {name: set(vars(part)) for name, part in model.named_modules()}
    if model.actions.inferred:
        model.infer(model.observe(random_clips()))
    else:
        model.step(model.observe(random_clips()), model.actions.zeros(5, FRAMES))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()
    assert {name: set(vars(part)) for name, part in model.named_modules()} == kept
    loose = [
        name for part in model.modules() for name, value in vars(part).items() if isinstance(value, (Tensor, list))
    ]
    assert not loose, "what is no buffer stays behind when the model goes to another device"


def test_every_weight_learns(kind):
    """What has no gradient is of no use, and keeps several processes from training together."""
    torch.manual_seed(0)
    model = KINDS[kind].make().train()
    tokens, known = played_dots(6, 0)
    batch = {"tokens": tokens, "known": known} if kind == "world-model" else tokens
    KINDS[kind].loss(model, batch, Progress(60, 0.6))[0].backward()
    assert not [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    reached = [name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()]
    assert any("change" in name or "inverse" in name for name in reached) == (kind in INFER)


def test_a_code_keeps_nearly_all_of_what_it_was_and_follows_the_mean_of_what_chose_it():
    """One kept a twentieth, for the decay stood at the wrong side, and divided by the batch instead of who chose."""
    book = Codebook(2, 2).train()
    with torch.no_grad():
        book.code_embedding.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        book.usage.fill_(1), book.unused.fill_(0)
    towards = torch.tensor([0.8, 0.6])
    x = torch.stack([towards, towards, towards, torch.tensor([0.0, -1.0])])[None, :, None]
    assert book(x).code.flatten().tolist() == [0, 0, 0, 1]
    # Three of four are 1.5 times the mean use.
    moved = DECAY * torch.tensor([1.0, 0.0]) + (1 - DECAY) * 1.5 * towards
    torch.testing.assert_close(book.vectors[0], moved / moved.norm())
    torch.testing.assert_close(book.vectors[1], torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(book.usage, torch.tensor([DECAY + (1 - DECAY) * 1.5, DECAY + (1 - DECAY) * 0.5]))


def test_a_code_that_nothing_chose_for_a_while_is_put_where_something_is():
    book = Codebook(2, 2).train()
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None]
    with torch.no_grad():
        book.code_embedding.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        book.unused.copy_(torch.tensor([0.0, PATIENCE]))
    book(x)
    assert book.vectors[1].tolist() == [-1.0, 0.0]
    book(x)
    assert book.vectors[1].tolist() == [0.0, 1.0], "there is nothing at the other code that it has not"


def test_a_book_begins_with_what_there_is():
    torch.manual_seed(0)
    book = Codebook(3, 2).train()
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None]
    book.free = True
    for _ in range(6):  # each of the three begins anew twice
        book(x)
    assert all((code == x[0, :, 0]).all(-1).any() for code in book.vectors)


@pytest.mark.parametrize(
    ("codes", "clusters", "vectors", "share"), [(16, 16, 60, 0.9), (16, 13, 480, 0.9), (64, 64, 32, 0.8)]
)
def test_nearly_every_cluster_gets_a_code_of_its_own(codes, clusters, vectors, share):
    """Codes put anywhere where something is share some clusters and leave others to a neighbour for good."""
    torch.manual_seed(0)
    centres = normalize(torch.randn(clusters, 16), dim=-1)
    book = Codebook(codes, 16).train()
    for step in range(150):
        book.free = step < 50
        x = centres[torch.randint(clusters, (vectors,))]
        book((x + 0.04 * torch.randn_like(x))[None, :, None])
    similar = book.vectors @ centres.T
    assert len(similar.argmax(1)[similar.amax(1) > 0.9].unique()) >= share * clusters


def test_the_nats_of_codes_are_the_entropy_of_those_used():
    counts = torch.tensor([6, 3, 0, 1])
    posterior = Codes(torch.arange(4).repeat_interleave(counts)[None, :, None], *torch.zeros(2, 1, 10, 1), 4)
    used = UsedCodes(counts / 10)
    chances = torch.tensor([0.6, 0.3, 0.1])
    entropy = -(chances * chances.log()).sum()
    assert used.nats(posterior).mean().item() == pytest.approx(entropy.item(), rel=1e-5)
    assert codes_in_use(used.shares).item() == pytest.approx(entropy.exp().item(), rel=1e-5)
    assert (posterior.nats == torch.tensor(math.log(4))).all()
    drawn = used.draw(torch.randn(1, 4000, 1, 1, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(drawn.flatten().bincount(minlength=4) / 4000, used.shares, atol=0.03, rtol=0)


def test_codes_pass_the_gradient_to_what_they_were_and_nothing_passes_unrounded():
    book = Codebook(5, 4)
    x = torch.randn(1, 6, 2, 4, requires_grad=True)
    codes = book.eval()(x)
    torch.testing.assert_close(codes.vectors, book.look_up(codes.code))
    (codes.vectors**3).sum().backward()
    assert x.grad.abs().sum() > 0
    book.free = True
    torch.testing.assert_close(book(x).vectors, codes.vectors)  # codes are free in training only
    assert not torch.allclose(book.train()(x).vectors, codes.vectors)


def test_an_action_has_the_dimensions_that_it_is_given():
    """One ignored the size of its latent action and took that of the tokenizer."""
    assert Genie(GenieConfig(**SCENE | {"latent_dim": 11})).codebook.code_embedding.shape == (256, 11)
    wider = KINDS["adaworld"].make().config
    assert AdaWorld(replace(wider, latent_dim=13)).actions.shape == (1, 13)


def test_the_action_of_a_slot_knows_nothing_of_what_another_becomes():
    torch.manual_seed(0)
    config = replace(KINDS["playslot"].make().config, bottleneck="vector")
    model = PlaySlot(config).eval()
    observed = model.observe(random_clips(2, 2))
    slots = observed.slots.detach().requires_grad_()
    model.infer(observed._replace(slots=slots)).mean[:, 0, 1].sum().backward()
    assert (slots.grad.abs().amax((0, 3))[1] > 0).tolist() == [False, True, False]


def test_joint_actions_are_one_token_the_first_agent_counting_most():
    model = ActionWorldModel(ActionWorldModelConfig(**SCENE, agents=3, choices=4)).eval()
    assert model.actions.codes == 64 and not model.actions.inferred and model.actions.known
    known = torch.tensor([[[0, 0, 3], [1, 2, 3]]])
    assert model.from_known(known).tolist() == [[[3], [16 + 8 + 3]]]
    with pytest.raises(ValueError, match=r"known actions of 3 agents, each in \[0, 3\], got none"):
        model(random_clips())
    with pytest.raises(ValueError, match="got those of 1"):
        model.from_known(torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"got some in \[0, 4\]"):
        model.from_known(torch.tensor([[[0, 4, 0]]]))
    with pytest.raises(ValueError, match="expected at most 65536 joint actions, got 4 to the power of 9"):
        ActionWorldModelConfig(**SCENE, agents=9, choices=4)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_give_baselines_the_sizes_the_budget_and_the_capacity_of_flam(preset):
    flam = PRESETS[preset].world_model
    for name, learn in TRAINED.items():
        given = preset_arguments(learn, preset)
        model = given["model"]
        assert (model.dim, model.heads, model.window, model.target) == (flam.dim, flam.heads, flam.window, flam.target)
        assert given["fit_config"] == PRESETS[preset].world_model_fit
        if name in ("adaworld", "genie", "world-model"):
            assert model.latent_dim == flam.slots * flam.latent_dim and model.layers == flam.layers
        else:
            assert model.slots == flam.slots
        if name == "playslot":
            assert model.latent_dim == flam.latent_dim
    with pytest.raises(ValueError, match="expected a preset of"):
        preset_arguments(learn, "huge")


def test_what_is_default_is_the_preset_small_at_the_price_of_the_unit_normal():
    defaults = (AdaWorldConfig(), GenieConfig(), ActionWorldModelConfig(), PlaySlotConfig(), SlotFormerConfig())
    for learn, model in zip(TRAINED.values(), (*defaults, SaviConfig()), strict=True):
        assert asdict(preset_arguments(learn, "small")["model"]) == asdict(model)
    usual = WorldModelLossConfig(information_price=0.15)
    assert inspect.signature(TRAINED["adaworld"]).parameters["loss"].default == usual
    for preset in ("small", "gpu"):
        assert preset_arguments(TRAINED["adaworld"], preset)["loss"] == usual != CHEAP
        playslot = preset_arguments(TRAINED["playslot"], preset)["loss"]
        assert (playslot.information_price, playslot.last_price) == (0.15, None)


def test_each_is_measured_in_rooms_by_what_it_has(kind, model):
    scene, slots = {"exactness"}, {"exactness", "dci"}
    wanted = {"playslot": slots | {"actions", "independence"}, "slotformer": slots}
    assert measures_of(model) == wanted.get(kind, scene)


def test_slots_are_reconstructed_from_slots_alone():
    torch.manual_seed(0)
    savi = make_savi().eval()
    output, slots = savi(random_clips())
    torch.testing.assert_close(savi.decode(slots.values), output)
    assert slots.masks.sum(2).allclose(torch.ones(5, FRAMES, GRID**2))
    assert savi_loss(savi, random_clips(), Progress(0, 0))[0] > 0


def test_slots_by_reconstruction_are_of_one_length_however_long_they_grow_in_learning():
    """In long ones an action would drown that what predicts them adds."""
    savi, clips = make_savi().eval(), random_clips()
    before = savi.observe(clips).values
    with torch.no_grad():
        for name, weight in savi.named_parameters():
            if name.startswith("factorizer.slot_attention.feed_forward") and weight.ndim == 2:
                weight.mul_(30)
    after = savi.observe(clips).values
    for values in (before, after):
        torch.testing.assert_close(values.mean(-1), torch.zeros(values.shape[:-1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(values.var(-1, unbiased=False), torch.ones(values.shape[:-1]), atol=1e-2, rtol=0)
    assert (after - before).abs().max() > 0.1
