"""Tiny networks run fastest on one thread; and a world with an action decoder."""

from dataclasses import replace

import pytest
import torch

from flam_env import ActionDecoder, ActionDecoderConfig, World


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
        decoder = ActionDecoder(ActionDecoderConfig(slots=6, slot_dim=16, latent_dim=5, actions=8, width=22)).eval()
    decoder.controlled_slot.fill_(4)
    decoder.encoder.gain.fill_(20)
    decoder.encoder.known[:7] = True
    return replace(tiny_world, decoder=decoder.requires_grad_(False))
