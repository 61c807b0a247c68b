"""From latent actions to real ones and back."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from flam_env import (
    ActionDecoder,
    ActionDecoderConfig,
    ActionEncoder,
    ActionEncoderConfig,
    FlamEnv,
    Labeller,
    LabelObservations,
    RealActions,
    SteerSlot,
    World,
    load_world,
    save_world,
)
from flam_env.heads.action_decoder import Transitions
from flam_env.heads.player_finder import PlayerFinder, PlayerFinderConfig
from flam_env.worlds.checkpoint import load_network, round_as_stored, save_network
from flam_env.worlds.finding import PRETRAINED
from flam_env.worlds.saving import add_heads

ACTIONS, SLOT = 8, 4  # the world has K = 6, S = 16, A = 5
CONFIG = ActionDecoderConfig(slots=6, slot_dim=16, latent_dim=5, actions=ACTIONS, width=22)
WAY_BACK = ActionEncoderConfig(slot_dim=16, latent_dim=5, actions=ACTIONS, width=26)


SIGHTED = replace(CONFIG, grid=6, levels=(3, 4))


def random_decoder(seed: int = 0, config: ActionDecoderConfig = CONFIG) -> ActionDecoder:
    """A decoder that is sure of itself."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = ActionDecoder(config)
        decoder.key.weight.data.mul_(9)
        if decoder.cells is not None:
            decoder.cells.layers[-1].weight.data.mul_(9)
    decoder.temperature.fill_(0.25)
    decoder.controlled_slot.fill_(SLOT)
    return round_as_stored(decoder).eval().requires_grad_(False)


def random_encoder(gain: float = 2.0) -> ActionEncoder:
    """An encoder that knows of action 2 that it equals 1, and nothing of action 7."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ActionEncoder(WAY_BACK)
    encoder.gain.fill_(gain)
    encoder.stands_for[2] = 1
    encoder.known[:7] = True
    return round_as_stored(encoder).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def decoder() -> ActionDecoder:
    return random_decoder()


@pytest.fixture(scope="module")
def encoder() -> ActionEncoder:
    return random_encoder()


@pytest.fixture(scope="module")
def world(tiny_world: World, decoder: ActionDecoder, encoder: ActionEncoder) -> World:
    return replace(tiny_world, heads={"decoder": decoder, "encoder": encoder})


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (11, 6, 6, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)


def moments(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 2, 6, 16, generator=generator), torch.randn(count, 6, 5, generator=generator)


def transitions(count: int) -> Transitions:
    """With frames of 6 x 6 patches, of which slots have shares in 3 x 3 cells."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(12, (count, 2, 36), generator=generator)
    masks = torch.randn(count, 2, 6, 9, generator=generator).mul(3).softmax(2)
    return Transitions(*moments(count), tokens, masks)


# --- the network ------------------------------------------------------------------------------------------------


def test_permuted_slots_give_the_same_logits_and_permuted_attention(decoder):
    slots, latent_actions = moments(9)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    plain, permuted = decoder(slots, latent_actions), decoder(slots[:, :, order], latent_actions[:, order])
    assert plain.logits.shape == (9, ACTIONS) and plain.attention.shape == (9, 6)
    torch.testing.assert_close(permuted.logits, plain.logits)
    torch.testing.assert_close(permuted.attention, plain.attention[:, order])
    torch.testing.assert_close(plain.attention.sum(1), torch.ones(9))
    assert plain.attention.std() > 0.05 and plain.logits.std(0).min() > 0.05


def test_the_frame_after_and_the_latent_action_both_tell(decoder):
    slots, latent_actions = moments(9)
    others = slots.clone()
    others[:, 1] = others[:, 1].roll(1, 0)
    plain = decoder(slots, latent_actions).logits
    for changed in (decoder(others, latent_actions).logits, decoder(slots, latent_actions.roll(1, 0)).logits):
        assert ((changed - plain).abs().amax(1) > 0.05).all()


def test_a_decoder_with_sight_reads_the_cells_of_both_frames_and_which_are_the_players():
    decoder, seen = random_decoder(config=SIGHTED), transitions(9)
    plain = decoder(*seen)
    before, after = seen.tokens.clone(), seen.tokens.clone()
    before[:, 0], after[:, 1] = before[:, 0].roll(1, 0), after[:, 1].roll(1, 0)
    for changed in (
        seen._replace(tokens=before),
        seen._replace(tokens=after),
        seen._replace(masks=seen.masks.roll(1, 0)),
    ):
        other = decoder(*changed)
        assert ((other.logits - plain.logits).abs().amax(1) > 5e-3).all()
        assert torch.equal(other.attention, plain.attention), "who the player is, slots alone tell"
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    permuted = decoder(seen.slots[:, :, order], seen.latent_actions[:, order], seen.tokens, seen.masks[:, :, order])
    torch.testing.assert_close(permuted.logits, plain.logits)
    with pytest.raises(ValueError, match="expected tokens and masks"):
        decoder(*moments(9))


def test_transitions_of_any_leading_axes_have_probabilities_of_these():
    decoder, seen = random_decoder(config=SIGHTED), transitions(6)
    flat = decoder.probabilities(seen)
    framed = decoder.probabilities(Transitions(*(part.unflatten(0, (2, 3)) for part in seen)))
    assert framed.shape == (2, 3, ACTIONS)
    torch.testing.assert_close(framed.flatten(0, 1), flat)


def test_stored_transitions_are_joined_and_taken_in_order():
    seen = transitions(5)
    again = Transitions.join([seen.at(slice(2)).stored(), seen.at(slice(2, None)).stored()]).at([4, 0])
    for part, expected in zip(again, seen.at([4, 0]), strict=True):
        torch.testing.assert_close(part.double(), expected.double(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("wrong", [{"grid": 3}, {"grid": 0}, {"levels": ()}, {"levels": (1,)}])
def test_cells_that_cannot_be_read_are_refused(wrong):
    with pytest.raises(ValueError, match=f"expected .*{next(iter(wrong))}"):
        replace(SIGHTED, **wrong)


def test_temperature_changes_probabilities_but_no_decision(decoder):
    warm = random_decoder()
    warm.temperature.fill_(5.0)
    sure, unsure = (each.probabilities(transitions(9)) for each in (decoder, warm))
    assert torch.equal(sure.argmax(-1), unsure.argmax(-1))
    assert (sure.amax(-1) > unsure.amax(-1)).all()


def test_actions_of_equal_effect_have_one_latent_action_and_unknown_ones_rest(encoder):
    slots = moments(9)[0][:, 0]
    latent = [encoder.encode(slots, torch.full((9, 6), action)) for action in range(ACTIONS)]
    assert latent[0].shape == (9, 6, 5) and latent[0].abs().max() <= 3
    assert torch.equal(latent[1], latent[2]) and not torch.equal(latent[0], latent[1])
    assert not latent[7].any()


def test_gain_goes_further_from_what_is_usual(encoder):
    slots, asked = moments(9)[0][:, 0], torch.full((9, 6), 3)
    known = {action: encoder(slots, torch.full((9, 6), action)) for action in (0, 1, 3, 4, 5, 6)}
    assert encoder.choices.tolist() == list(known), "2 equals 1, and 7 is unknown"
    usual = torch.stack(list(known.values())).mean(0)
    torch.testing.assert_close(encoder.encode(slots, asked), usual + 2 * (known[3] - usual))
    torch.testing.assert_close(random_encoder(gain=1).encode(slots, asked), known[3])


@pytest.mark.parametrize("wrong", [{"actions": 0}, {"width": 2.5}, {"dropout": 1.0}])
def test_sizes_that_are_none_are_refused(wrong):
    for config in (CONFIG, WAY_BACK):
        with pytest.raises(ValueError, match=f"expected {next(iter(wrong))} "):
            replace(config, **wrong)


# --- on disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CONFIG, SIGHTED])
def test_a_decoder_is_read_back_bit_for_bit(config, tmp_path):
    decoder = random_decoder(config=config)
    save_network(tmp_path / "decoder.safetensors", decoder)
    again, _ = load_network(tmp_path / "decoder.safetensors", ActionDecoder, ActionDecoderConfig)
    assert again.config == decoder.config
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor) and again.state_dict()[name].dtype == tensor.dtype
    for one, two in zip(decoder(*transitions(9)), again(*transitions(9)), strict=True):
        assert torch.equal(one, two)


def test_a_world_brings_its_heads(world, tiny_checkpoint, tmp_path):
    save_world(tmp_path, world)
    assert {"decoder.safetensors", "encoder.safetensors"} < {path.name for path in tmp_path.iterdir()}
    loaded = load_world(tmp_path)
    assert torch.equal(loaded.decoder(*moments(7)).logits, world.decoder(*moments(7)).logits)
    assert loaded.controlled_slot == SLOT and loaded.fingerprint() == world.fingerprint()
    bare = load_world(tiny_checkpoint)
    assert bare.decoder is None and bare.encoder is None and bare.controlled_slot is None


def test_a_world_without_heads_has_none_of_the_world_that_was_there(world, tiny_world, tmp_path):
    save_world(tmp_path, world)
    save_world(tmp_path, replace(tiny_world, heads={}))
    assert not load_world(tmp_path).heads


def test_a_world_that_lost_a_head_is_no_world(world, tmp_path):
    save_world(tmp_path, world)
    (tmp_path / "encoder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a checkpoint file at .*encoder.safetensors"):
        load_world(tmp_path)


def test_a_head_of_another_world_is_refused(world, tmp_path):
    save_world(tmp_path, world)
    save_network(tmp_path / "decoder.safetensors", world.decoder, world="another")
    with pytest.raises(ValueError, match=r"expected a decoder of the world .*, got one of another; learn one for this"):
        load_world(tmp_path)
    save_network(tmp_path / "decoder.safetensors", random_decoder(seed=1), world=world.fingerprint())
    with pytest.raises(ValueError, match=r"expected the decoder .* that config.json names, got .*; copy both"):
        load_world(tmp_path)
    save_world(tmp_path, world)
    (tmp_path / "decoder.safetensors").write_bytes((tmp_path / "tokenizer.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"expected a head of a kind in \['ActionDecoder', .*, got 'Tokenizer'"):
        load_world(tmp_path)


def test_heads_are_added_to_a_saved_world_and_to_a_copy_of_it(world, tiny_world, tmp_path):
    save_world(tmp_path / "bare", replace(tiny_world, heads={}))
    add_heads(tmp_path / "bare", {"decoder": world.decoder}, tmp_path / "copy")
    assert not load_world(tmp_path / "bare").heads
    copied = load_world(tmp_path / "copy")
    assert list(copied.heads) == ["decoder"] and copied.fingerprint() == world.fingerprint()
    add_heads(tmp_path / "copy", {"encoder": world.encoder})
    assert set(load_world(tmp_path / "copy").heads) == {"decoder", "encoder"}


def test_heads_never_take_the_place_of_another_world(world, tiny_world, tmp_path):
    save_world(tmp_path / "one", replace(tiny_world, heads={}))
    other = copy.deepcopy(tiny_world.model)
    with torch.no_grad():
        other.aggregator.head.bias.add_(1)
    save_world(tmp_path / "other", replace(tiny_world, model=round_as_stored(other)))
    with pytest.raises(ValueError, match=r"expected a folder of this world or without one, got .*other, another"):
        add_heads(tmp_path / "one", {"decoder": world.decoder}, tmp_path / "other")
    assert not load_world(tmp_path / "other").heads


def test_nothing_is_written_into_the_installed_package(world):
    for act in (
        lambda: add_heads("multigrid", {"decoder": world.decoder}),
        lambda: save_world(PRETRAINED / "x", world),
    ):
        with pytest.raises(ValueError, match=r"expected a directory of one's own, got .*, a bundled world"):
            act()
    assert not (PRETRAINED / "x").exists() and not load_world("multigrid").heads


def test_a_world_from_before_heads_opens_unless_it_has_a_decoder(world, tiny_world, tmp_path):
    save_world(tmp_path, tiny_world)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["heads"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"version": "1"}))
    assert not load_world(tmp_path).heads
    save_network(tmp_path / "decoder.safetensors", world.decoder, world=world.fingerprint())
    with pytest.raises(ValueError, match="got one of version 1; move the file away, and learn it again"):
        load_world(tmp_path)


# --- labels -----------------------------------------------------------------------------------------------------


def test_labels_are_the_decoder_applied_by_hand(world, video):
    labeller = Labeller(world)
    labels = labeller.label(video)
    slots = world.model.observe(labeller.dream.encode(video)[None]).slots[0]
    around = torch.stack([slots[:-1], slots[1:]], 1)
    logits = world.decoder(around, torch.from_numpy(labels.latent_actions)).logits
    assert labels.actions.shape == (10,) and labels.actions.dtype == np.int64
    assert labels.action_probabilities.shape == (10, ACTIONS) and labels.action_probabilities.dtype == np.float32
    np.testing.assert_allclose(labels.action_probabilities, logits.softmax(-1), atol=1e-4)
    assert np.array_equal(labels.actions, logits.argmax(-1)) and len(set(labels.actions)) > 1


def test_without_a_decoder_there_are_no_real_actions(tiny_world, video):
    labels = Labeller(tiny_world).label(video)
    assert labels.actions is None and labels.action_probabilities is None


@pytest.mark.parametrize("piece", [1, 3, 7])
def test_pieces_give_the_actions_of_one_pass(world, video, piece):
    whole, pieces = Labeller(world), Labeller(world)
    pieces.PIECE = piece
    expected, found = whole.label(video, [4]), pieces.label(video, [4])
    np.testing.assert_allclose(found.action_probabilities, expected.action_probabilities, atol=2e-3)
    assert np.array_equal(found.actions, expected.actions)


def test_what_has_no_label_has_no_action(world, video):
    labels = Labeller(world).label(video, [4, 9])
    assert np.flatnonzero(labels.actions == -1).tolist() == np.flatnonzero(~labels.labelled).tolist() == [3, 8]
    assert np.array_equal(np.isnan(labels.action_probabilities).all(1), ~labels.labelled)
    batch = Labeller(world).label(np.stack([video, video[::-1]]))
    assert batch.actions.shape == (2, 10) and batch.action_probabilities.shape == (2, 10, ACTIONS)
    assert np.array_equal(batch.actions[0], Labeller(world).label(video).actions)


class Film(gym.Env):
    """Shows a video, whatever one does."""

    action_space = gym.spaces.Discrete(3)
    observation_space = gym.spaces.Box(0, 255, (48, 48, 3), np.uint8)

    def __init__(self, frames: np.ndarray):
        self.frames = frames

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.frames[0], {}

    def step(self, action):
        self.time += 1
        return self.frames[self.time], 0.0, self.time == len(self.frames) - 1, False, {}


def test_observed_steps_tell_the_pseudo_action(world, tiny_world, video):
    env, labels = LabelObservations(Film(video), Labeller(world)), Labeller(world).label(video)
    assert env.reset()[1] == {}
    infos = [env.step(0)[-1] for _ in range(10)]
    assert [info["pseudo_action"] for info in infos] == labels.actions.tolist()
    found = np.stack([info["pseudo_action_probabilities"] for info in infos])
    np.testing.assert_allclose(found, labels.action_probabilities, atol=2e-3)
    bare = LabelObservations(Film(video), Labeller(tiny_world))
    bare.reset()
    assert list(bare.step(0)[-1]) == ["latent_action"]


# --- real actions in a dream ------------------------------------------------------------------------------------


class Recorder(gym.ActionWrapper):
    """Remembers the latent actions that reach the environment."""

    def action(self, action):
        self.last = action
        return action


@pytest.mark.parametrize("others", ["replay", "data", "zero"])
def test_a_real_action_moves_only_the_controlled_slot(world, others):
    recorders = [Recorder(FlamEnv(world=world)) for _ in range(2)]
    real, steered = RealActions(recorders[0], others), SteerSlot(recorders[1], SLOT, others)
    assert real.action_space == gym.spaces.Discrete(ACTIONS)
    for env in (real, steered):
        env.reset(seed=3, options={"start": 2})
    for action in (0, 5, 1, 7, np.int64(2), np.array(6)):
        slots = torch.from_numpy(real.unwrapped.slot_values())
        *_, info = real.step(action)
        mine = recorders[0].last[SLOT]
        torch.testing.assert_close(torch.from_numpy(mine), world.encoder.encode(slots[SLOT], torch.tensor(int(action))))
        *_, expected = steered.step(mine)
        assert np.array_equal(recorders[0].last, recorders[1].last)
        assert info == expected | {"known_action": int(action) != 7}


def test_a_player_that_lies_across_slots_is_moved_as_a_whole(world):
    recorder = Recorder(FlamEnv(world=world))
    env = RealActions(recorder, "zero", slots=(1, 3))
    env.reset(seed=0)
    env.step(0)
    assert np.flatnonzero(recorder.last.any(1)).tolist() == [1, 3]


def random_finder() -> PlayerFinder:
    """A finder that is sure of itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        finder = PlayerFinder(PlayerFinderConfig(slot_dim=16, width=8))
    finder.layers[-1].weight.data.mul_(40)
    return round_as_stored(finder).eval().requires_grad_(False)


def test_a_world_that_finds_its_player_moves_the_slots_that_hold_it_in_each_state(world):
    world = replace(world, heads=world.heads | {"player_finder": random_finder()})
    recorder = Recorder(FlamEnv(world=world))
    env, moved = RealActions(recorder, "zero"), set()
    assert env.slots is None
    for start in range(4):
        env.reset(seed=0, options={"start": start})
        for action in (0, 3, 5):
            slots = torch.from_numpy(env.unwrapped.slot_values())
            env.step(action)
            holds = tuple(world.player_finder.holds(slots).nonzero()[:, 0].tolist())
            assert tuple(np.flatnonzero(recorder.last.any(1))) == holds
            moved.add(holds)
    assert len(moved) > 1, "other slots in other states"
    fixed = RealActions(Recorder(FlamEnv(world=world)), "zero", slots=(1, 3))
    assert fixed.slots == [1, 3]


def test_shares_of_the_player_go_with_the_slots_and_somebody_always_has_it():
    finder, slots = random_finder(), moments(50)[0][:, 0]
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    torch.testing.assert_close(finder(slots[:, order]), finder(slots)[:, order])
    shares, holds = finder(slots).softmax(-1), finder.holds(slots)
    assert torch.equal(holds, shares >= 0.03) and 1 < holds.float().sum(1).mean() < 6
    finder.layers[-1].weight.data.zero_()
    assert finder.holds(torch.randn(2, 100, 16)).all(), "all of a hundred that are alike hold a hundredth"
    with pytest.raises(ValueError, match="expected dropout"):
        PlayerFinderConfig(slot_dim=16, dropout=1.0)


def test_real_actions_need_a_decoder_and_latent_actions(world, tiny_world):
    with pytest.raises(ValueError, match="expected a world with an action decoder, got one without; learn it"):
        RealActions(FlamEnv(world=tiny_world))
    with pytest.raises(ValueError, match="expected a FLAM environment with latent actions"):
        RealActions(SteerSlot(FlamEnv(world=world), 0))
    with pytest.raises(ValueError, match="expected others to be one of"):
        RealActions(FlamEnv(world=world), "none")
    env = RealActions(FlamEnv(world=world))
    env.reset(seed=0)
    for wrong in (ACTIONS, -1, 1.0, True, "up", np.zeros(2, int)):
        with pytest.raises(ValueError, match=r"expected integers in \[0, 8\) of shape \(\)"):
            env.step(wrong)


def test_a_registered_environment_plays_real_actions(world, tmp_path: Path):
    save_world(tmp_path, world)
    env = RealActions(gym.make("flam_env:FLAM-v0", checkpoint=str(tmp_path)))
    env.reset(seed=0)
    frame, *_ = env.step(env.action_space.sample())
    assert frame.shape == (48, 48, 3)
