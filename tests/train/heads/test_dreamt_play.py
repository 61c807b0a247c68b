"""Dreams in which keys are pressed for no reason, as examples of what keys do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flam_env import ActionDecoder, ActionDecoderConfig, ActionEncoder, ActionEncoderConfig
from flam_env.dream.dream import Dream
from flam_env.envs.controls import RealActionControl
from flam_env.envs.pressing import press
from flam_env.heads.action_decoder import Transitions
from flam_env.heads.player_finder import PlayerFinder, PlayerFinderConfig
from flam_train.engine import FitConfig
from flam_train.heads import dreamt_play
from flam_train.heads.dreamt_play import HELD, STEPS, DreamtPlay, draw_starts, dream_of_keys
from flam_train.heads.few_labels import LearningConfig
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.learning import all_logits
from flam_train.heads.models import DecoderSize, LabelLearning, learn_taught_decoder
from flam_train.store.moments import Moments
from flam_train.store.tokens import TokenSplit

ACTIONS = 4


@pytest.fixture(scope="module")
def keyed(tiny_world) -> Dream:
    """Of a tiny world with heads of random weights, for four keys of which the last two do the same."""
    sizes = {"slot_dim": tiny_world.model.slot_dim, "latent_dim": tiny_world.action_shape[-1], "actions": ACTIONS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = ActionDecoder(ActionDecoderConfig(slots=tiny_world.model.slots, **sizes))
        encoder = ActionEncoder(ActionEncoderConfig(**sizes))
        finder = PlayerFinder(PlayerFinderConfig(slot_dim=tiny_world.model.slot_dim))
    encoder.known.fill_(True)
    encoder.stands_for[3] = 2
    heads = {"decoder": decoder.eval(), "encoder": encoder.eval(), "player_finder": finder.eval()}
    return Dream(replace(tiny_world, heads={**tiny_world.heads, **heads}))


@pytest.fixture(scope="module")
def starts(keyed) -> torch.Tensor:
    """Tokens of five beginnings of two frames."""
    return keyed.world.starts.tokens[:5, :2].to(torch.uint16)


def test_what_is_kept_is_what_dreams_of_these_keys_show(keyed, starts):
    dreamt = dream_of_keys(keyed, starts, seed=3)
    keys = dreamt.keys.unflatten(0, (STEPS, len(starts))).T.numpy()
    state, streams = keyed.reset(starts.long()), [np.random.default_rng([3, row]) for row in range(len(starts))]
    for stream in streams:
        stream.choice([0, 1, 2], STEPS // HELD)
    states = [state] + [after for after, _ in press(keyed, RealActionControl(keyed.world), state, keys, streams)]
    tokens = torch.stack([state.tokens for state in states], 1)
    seen = dreamt.seen.tokens.unflatten(0, (STEPS, len(starts))).transpose(0, 1)
    assert torch.equal(seen[:, :, 0], tokens[:, :-1].int()) and torch.equal(seen[:, :, 1], tokens[:, 1:].int())
    inferred = keyed.transitions(states[2].frame.followed_by(states[3].frame)).latent_actions[:, 0]
    assert torch.equal(dreamt.seen.latent_actions.unflatten(0, (STEPS, -1))[2], inferred)


def test_keys_are_held_and_only_those_that_differ_in_effect_are_pressed(keyed, starts):
    keys = dream_of_keys(keyed, starts.repeat(8, 1, 1), seed=0).keys.unflatten(0, (STEPS, -1))
    assert set(keys.flatten().tolist()) == {0, 1, 2}
    held = keys.unflatten(0, (-1, HELD))
    assert (held == held[:, :1]).all() and (held[0] != held[1]).any()


def test_a_dream_of_keys_is_the_same_whatever_is_dreamt_beside_it(keyed, starts, monkeypatch):
    one, same, other = (dream_of_keys(keyed, starts, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip((*one.seen, one.keys), (*same.seen, same.keys), strict=True))
    assert not torch.equal(one.keys, other.keys)
    monkeypatch.setattr(dreamt_play, "AT_ONCE", 2)
    apart = dream_of_keys(keyed, starts, seed=0)
    first = torch.arange(STEPS) * len(starts)
    assert torch.equal(one.keys[first], apart.keys[torch.arange(STEPS) * 2])
    assert torch.equal(one.seen.tokens[first], apart.seen.tokens[torch.arange(STEPS) * 2])


def test_dreams_begin_anywhere_in_video_and_not_across_episodes():
    bounds, tokens = np.array([0, 3, 4, 20]), np.arange(20, dtype=np.uint16)[:, None]
    split = TokenSplit(tokens=tokens, bounds=bounds, agents=("a",) * 3, names=("x", "y", "z"))
    every = draw_starts(split, 100, 4, seed=0)[..., 0].int()
    assert sorted(every[:, 0].tolist()) == list(range(4, 17)) and (every.diff() == 1).all()
    assert torch.equal(draw_starts(split, 5, 4, seed=0)[..., 0].int(), every[:5])
    assert not torch.equal(draw_starts(split, 100, 4, seed=1)[..., 0].int(), every)
    assert draw_starts(split, 9, 99, seed=0).shape == (1, 16, 1), "the longest episode, where none has a window"


def played(keys: list[int]) -> DreamtPlay:
    nothing = torch.zeros(len(keys), 2, 1, 1)
    return DreamtPlay(Transitions(nothing, nothing[:, 0], nothing[..., 0].long(), nothing), torch.tensor(keys))


def test_what_was_asked_for_is_believed_as_far_as_dreams_obey():
    stands_for = torch.tensor([0, 1, 2, 2])
    logits = torch.tensor([[4.0, 0, 0, 1], [0, 4.0, 0, 1]])
    right = played([0, 1]).likely(logits, 0.9, stands_for)
    assert torch.equal(right, torch.eye(4)[:2]), "what is read as often as a decoder is right was done"
    half = played([0, 2]).likely(logits, 1.0, stands_for)
    read = logits.softmax(-1)
    shared = torch.tensor([0, 0, 1, torch.e]) / (1 + torch.e)
    torch.testing.assert_close(half, 0.5 * read + 0.5 * torch.stack([torch.eye(4)[0], shared]))
    never = played([1, 0]).likely(logits, 0.0, stands_for)
    torch.testing.assert_close(never, read)


def test_a_decoder_learns_from_dreams_what_its_labels_do_not_tell(tmp_path):
    """In the labels the state gives the action away; in dreams it does not."""
    random, codes = torch.Generator().manual_seed(0), 2 * torch.eye(3)

    def transitions(count: int, betrayed: bool) -> tuple[Transitions, torch.Tensor]:
        actions = torch.randint(3, (count,), generator=random)
        slots = torch.randn(count, 2, 1, 6, generator=random)
        state = actions if betrayed else torch.randint(3, (count,), generator=random)
        slots[:, :, 0, :3] = 4 * torch.eye(3)[state][:, None]
        done = codes[actions][:, None] + torch.randn(count, 1, 3, generator=random)
        nothing = torch.zeros(count, 2, 1, 16)
        return Transitions(slots, done, nothing[:, :, 0].long(), nothing), actions

    seen, actions = transitions(200, betrayed=True)
    dreamt, keys = transitions(600, betrayed=False)
    at = Moments(split="train", names=tuple("abcdefghij"), episodes=np.arange(200) // 20, frames=np.zeros(200, int))
    learning = LabelLearning(
        classes=np.arange(3),
        size=DecoderSize(),
        config=LearningConfig(evaluate_every=50, patience=0),
        fit_config=FitConfig(steps=200, batch_size=32, learning_rate=3e-3, ema=0.9, precision="fp32"),
        identity={},
    )
    config = ActionDecoderConfig(slots=1, slot_dim=6, latent_dim=3, actions=3, width=24, dropout=0.1)
    labels, (others, done) = LabelledTransitions(at=at, actions=actions.numpy()), transitions(300, betrayed=False)
    nothing = dreamt.at(slice(0)), torch.zeros(0, 3)
    accuracy = {}
    for name, taught in {"labels": nothing, "dreams": (dreamt, torch.eye(3)[keys])}.items():
        decoder, _ = learn_taught_decoder(config, seen, labels, learning, tmp_path / name, taught=taught)
        accuracy[name] = (all_logits(decoder, others).argmax(-1) == done).float().mean().item()
    assert accuracy["labels"] < 0.6 and accuracy["dreams"] > 0.75
