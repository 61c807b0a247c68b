"""Tiny networks run fastest on one thread; and worlds with heads."""

from dataclasses import replace

import pytest
import torch
from tiny import random_road

from flam_env import ActionDecoder, ActionDecoderConfig, ActionEncoder, ActionEncoderConfig, World
from flam_env.worlds.checkpoint import round_as_stored


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def decoded_world(tiny_world: World) -> World:
    """The tiny world with an action decoder of 8 real actions, of which the last is unknown."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = ActionDecoder(ActionDecoderConfig(slots=6, slot_dim=16, latent_dim=5, actions=8, width=22))
        encoder = ActionEncoder(ActionEncoderConfig(slot_dim=16, latent_dim=5, actions=8, width=22))
    decoder.controlled_slot.fill_(4)
    encoder.gain.fill_(20)
    encoder.known[:7] = True
    heads = {"decoder": decoder, "encoder": encoder}
    return replace(tiny_world, heads={k: round_as_stored(v).eval().requires_grad_(False) for k, v in heads.items()})


@pytest.fixture(scope="session")
def road_world(tiny_world: World) -> World:
    """The tiny world, which can tell whether a dream has left the road."""
    return replace(tiny_world, heads={"road": random_road()})
