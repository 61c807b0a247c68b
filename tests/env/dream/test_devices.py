"""Worlds run on the device that was asked for, and compute there what they compute on a CPU."""

import copy
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tiny import MODEL

from flam_env import ActionDecoder, ActionDecoderConfig, FlamEnv, FlamVectorEnv, Labeller
from flam_env.dream.dream import Dream, DreamState
from flam_env.envs.sb3_vec_env import FlamSB3VecEnv
from flam_env.models.factored import FactoredWorldModel
from flam_env.models.factorizer import PREPARED
from flam_env.worlds.laws import Laws

CLOSE = {"atol": 1e-3, "rtol": 1e-3}  # GPUs sum in another order
STEPS = 16

FACES = {
    "env": lambda world: FlamEnv(world=world)._episodes.dream,
    "vector env": lambda world: FlamVectorEnv(3, world=world)._episodes.dream,
    "stable-baselines3": lambda world: FlamSB3VecEnv(num_envs=3, world=world).envs._episodes.dream,
    "labeller": lambda world: Labeller(world).dream,
}


@pytest.fixture(scope="module")
def lawful_world(tiny_world):
    """A world with all that a world may have: laws and an action decoder."""
    torch.manual_seed(0)
    sizes = {"slots": MODEL.slots, "slot_dim": MODEL.dim, "latent_dim": tiny_world.units.dim, "actions": 4, "width": 8}
    decoder = ActionDecoder(ActionDecoderConfig(**sizes)).eval().requires_grad_(False)
    return replace(tiny_world, laws=Laws(unseen_tokens=(3, 141), permanence=True), heads={"decoder": decoder})


@pytest.fixture
def video(tiny_world) -> np.ndarray:
    size = tiny_world.tokenizer.config.image_size
    return np.random.default_rng(5).integers(0, 256, (11, size, size, 3), np.uint8)


def moved(state: Any, device: torch.device) -> Any:
    """A state, or a part of one, on a device."""
    if isinstance(state, torch.Tensor):
        return state.to(device)
    parts = [moved(part, device) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def tensors(state: Any) -> list[torch.Tensor]:
    """All tensors of a state."""
    return [state] if isinstance(state, torch.Tensor) else [tensor for part in state for tensor in tensors(part)]


def numbers(state: DreamState) -> list[torch.Tensor]:
    """What of a state is no choice between tokens, on the CPU."""
    return [tensor.cpu() for tensor in tensors(state) if tensor.is_floating_point()]


def scores(dream: Dream, state: DreamState, actions: torch.Tensor) -> torch.Tensor:
    """How likely each next token is, before the likeliest is taken: (B, N, tokens), on the CPU."""
    inside = dream.units.to_model(actions.to(dream.device))
    return dream.model.step(state.frame, inside[:, None])[:, 0].cpu()


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("face", FACES)
def test_every_face_asks_for_the_gpu_unless_told_otherwise(tiny_world, monkeypatch, face):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="expected a device of this machine, got 'cuda'"):
        FACES[face](tiny_world)


@pytest.mark.parametrize("face", FACES)
def test_every_face_runs_on_the_cpu_where_there_is_no_gpu(tiny_world, monkeypatch, face):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert FACES[face](tiny_world).device == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("face", FACES)
def test_every_face_runs_on_the_gpu_where_there_is_one(tiny_world, face):
    assert FACES[face](tiny_world).device.type == "cuda"


def test_a_world_stays_where_it_is(lawful_world, device):
    Dream(lawful_world, device)
    for network in (lawful_world.tokenizer, lawful_world.model, *lawful_world.heads.values()):
        assert {part.device.type for part in (*network.parameters(), *network.buffers())} == {"cpu"}


# --- dreams -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_each_step_of_a_dream_is_that_of_a_cpu(tiny_world, device):
    """From equal states: numbers agree before tokens are chosen, and tokens wherever two are not nearly as likely."""
    here, there = Dream(tiny_world), Dream(tiny_world, device)
    bank = tiny_world.starts.bank.clamp(-3, 3)
    state = here.reset(tiny_world.starts.tokens[:5, :2])
    torch.testing.assert_close(numbers(there.reset(tiny_world.starts.tokens[:5, :2])), numbers(state), **CLOSE)
    changed = 0
    for step in range(STEPS):
        actions, copied = bank[5 * step % 30 :][:5], moved(state, device)
        likely = scores(here, state, actions)
        torch.testing.assert_close(scores(there, copied, actions), likely, **CLOSE)
        (after, frames), (other, other_frames) = here.step(state, actions), there.step(copied, actions)
        best = likely.topk(2).values
        sure = best[..., 0] - best[..., 1] > 0.01
        assert sure.float().mean() > 0.9
        assert torch.equal(other.tokens.cpu()[sure], after.tokens[sure])
        alike = (other.tokens.cpu() == after.tokens).all(-1)
        assert (other_frames.cpu()[alike].int() - frames[alike].int()).abs().max() <= 1
        for there_now, here_now in zip(numbers(other), numbers(after), strict=True):
            torch.testing.assert_close(there_now[alike], here_now[alike], **CLOSE)
        changed += (after.tokens != state.tokens).sum()
        state = after
    assert changed > 50, "the test shows little if nothing moves"


def test_a_dream_with_laws_runs_there_and_again_alike(lawful_world, device):
    dream, bank = Dream(lawful_world, device), lawful_world.starts.bank
    ends = []
    for _ in range(2):
        state = dream.reset(lawful_world.starts.tokens[:4, :2])
        for step in range(STEPS):
            state, frames = dream.step(state, bank[step : step + 4])
        ends.append((state.tokens, frames))
    assert {tensor.device.type for tensor in (*tensors(state), frames)} == {device.type}
    assert torch.equal(ends[0][0], ends[1][0]) and torch.equal(ends[0][1], ends[1][1])
    assert not torch.isin(state.tokens.cpu(), torch.tensor([3, 141])).any()


def test_environments_dream_there(tiny_checkpoint, device):
    arguments = {"checkpoint": str(tiny_checkpoint), "device": str(device)}
    envs = gym.make_vec("FLAM-v0", num_envs=3, horizon=4, autoreset_mode="SameStep", **arguments)
    env, on_cpu = gym.make("FLAM-v0", **arguments), gym.make("FLAM-v0", **arguments | {"device": "cpu"})
    first, infos = envs.reset(seed=7)
    alone, _ = env.reset(seed=7)
    for other in (alone, on_cpu.reset(seed=7)[0]):
        assert np.abs(first[0].astype(int) - other).max() <= 1
    frames = [first]
    for _ in range(9):
        frame, _, _, truncated, infos = envs.step(envs.unwrapped.sample_latent_action())
        frames.append(frame)
    assert {array.dtype for array in frames} == {np.dtype(np.uint8)} and len({array.tobytes() for array in frames}) > 5
    assert not truncated.any() and infos["start"].shape == (3,)
    assert envs.unwrapped.slot_masks().shape == (3, 6, 48, 48) and env.unwrapped.slot_values().shape == (6, 16)
    own = env.reset(options={"start": frames[0][:1]})[0]
    assert own.shape == (48, 48, 3)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_are_those_of_a_cpu(lawful_world, video, device):
    here, there = Labeller(lawful_world, "cpu"), Labeller(lawful_world, device)
    tokens = lawful_world.starts.tokens[:3]
    (_, seen), (_, expected) = there.follow(None, tokens.to(device)), here.follow(None, tokens)
    for part, known in zip(seen, expected, strict=True):
        torch.testing.assert_close(part.cpu(), known, **CLOSE)
    told, known = there.label(video, starts=[4]), here.label(video, starts=[4])
    assert (there.dream.encode(video).cpu() == here.dream.encode(video)).float().mean() > 0.99
    for mine, other in zip(told, known, strict=True):
        assert isinstance(mine, np.ndarray) and (mine.dtype, mine.shape) == (other.dtype, other.shape)
    assert np.array_equal(told.labelled, known.labelled) and np.isnan(told.action_probabilities).any(1).sum() == 1


def test_frames_that_come_one_by_one_are_labelled_there(lawful_world, video, device):
    stream = Labeller(lawful_world, device).stream(2)
    stream.push(video[:2])
    first = stream.push(video[2:4])
    stream.restart([1])
    second = stream.push(video[4:6])
    assert np.isfinite(first).all() and np.isfinite(second[0]).all() and np.isnan(second[1]).all()


# --- nothing is made on the CPU in between, and nothing waits ---------------------------------------------------------


@pytest.mark.parametrize("frames, recurrence", [(1, False), (16, False), (PREPARED + 9, False), (3, True)])
def test_a_model_makes_nothing_on_another_device_and_waits_for_no_number(frames, recurrence):
    """Tensors without content, "meta", can be neither read nor mixed with those of a CPU."""
    config = replace(MODEL, background_sink=True, focus=True, recurrence=recurrence)
    model = FactoredWorldModel(config).to("meta")
    tokens = torch.zeros(3, frames, config.patches, dtype=torch.long, device="meta")
    seen = model.observe(tokens)
    again = model.observe(tokens[:, :1], seen.history)
    inferred = model.infer(seen.followed_by(again)).mode
    following = model.next_tokens(model.step(again, inferred[:, -1:]))
    assert {part.device.type for part in tensors((seen, again, following))} == {"meta"}


@pytest.mark.gpu
def test_a_step_without_a_law_that_looks_never_waits_for_the_gpu(tiny_world):
    dream = Dream(replace(tiny_world, laws=Laws(unseen_tokens=(3,))), "cuda")
    state, actions = dream.reset(tiny_world.starts.tokens[:4, :2]), tiny_world.starts.bank[:4].to(dream.device)
    dream.step(state, actions)  # libraries wait when they are used for the first time
    torch.cuda.set_sync_debug_mode("error")
    try:
        state, frames = dream.step(state, actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert frames.device == dream.device


def test_tables_that_are_made_once_follow_a_model_wherever_it_is_copied(device):
    torch.manual_seed(0)
    model = FactoredWorldModel(MODEL).eval()
    tokens = torch.randint(100, (2, 12, MODEL.patches))
    with torch.no_grad():
        expected = model.observe(tokens).slots
        copied = copy.deepcopy(model).to(device)
        torch.testing.assert_close(copied.observe(tokens.to(device)).slots.cpu(), expected, **CLOSE)
        torch.testing.assert_close(copied.to("cpu").observe(tokens).slots, expected, atol=0, rtol=0)
    assert copied.state_dict().keys() == model.state_dict().keys()
    assert not {name for name in model.state_dict() if "times" in name or "table" in name}
