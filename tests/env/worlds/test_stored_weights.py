"""What was measured of a network holds for the network that is read back, and what is damaged is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flam_env import Labeller, load_world, save_world
from flam_env.models.quantize import FSQ
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import (
    fingerprint,
    load_network,
    read_tensors,
    round_as_stored,
    save_network,
)

CONFIG = TokenizerConfig(image_size=8, patch_size=4, width=6, blocks=1, levels=(3, 2))


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return round_as_stored(Tokenizer(CONFIG))


def test_networks_that_compute_alike_have_one_fingerprint_and_others_have_not(tmp_path):
    first, second = tokenizer(), tokenizer()
    assert fingerprint(first) == fingerprint(second)
    with torch.no_grad():
        second.to_code.weight.mul_(1 + 2e-5)  # less than half precision tells apart
    assert torch.equal(second.to_code.weight.half(), first.to_code.weight.half())
    assert fingerprint(first) != fingerprint(second)
    save_network(tmp_path / "network.safetensors", first)
    again, _ = load_network(tmp_path / "network.safetensors", Tokenizer, TokenizerConfig)
    assert fingerprint(again) == fingerprint(first)


def test_a_world_whose_files_would_compute_something_else_is_not_written(tiny_world, tmp_path):
    """Its starts and units were measured with weights that nobody will read back."""
    model = copy.deepcopy(tiny_world.model)
    with torch.no_grad():
        model.aggregator.head.weight.mul_(1 + 2e-5)
    with pytest.raises(ValueError, match=r"expected weights as a file holds them.*round_as_stored before anything"):
        save_world(tmp_path, replace(tiny_world, model=model))
    assert not list(tmp_path.iterdir())
    save_world(tmp_path, replace(tiny_world, model=round_as_stored(model)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_a_file_cannot_hold_are_not_written(value, tmp_path):
    network = tokenizer()
    with torch.no_grad():
        network.to_code.bias[1] = value
    with pytest.raises(ValueError, match=r"expected finite weights, got NaN or infinite ones in to_code\.bias"):
        save_network(tmp_path / "network.safetensors", network)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_read(tiny_world, tmp_path, value):
    save_world(tmp_path, tiny_world)
    path = tmp_path / "world_model.safetensors"
    header, tensors = read_tensors(path)
    tensors["aggregator.head.bias"][0] = value
    save_file(tensors, path, header)
    with pytest.raises(ValueError, match=r"world_model.safetensors: expected finite weights, .* in aggregator.head"):
        load_world(tmp_path)


def test_a_world_that_computes_nan_labels_nothing_and_says_so(tiny_world):
    """NaN stands for "no label", so it must never be what a network computed."""
    model = copy.deepcopy(tiny_world.model)
    with torch.no_grad():
        model.inverse_dynamics.mean.bias[0] = torch.nan
    video = np.zeros((5, 48, 48, 3), np.uint8)
    with pytest.raises(ValueError, match="expected a world that infers finite latent actions, got NaN"):
        Labeller(replace(tiny_world, model=model)).label(video)


def test_buffers_that_follow_from_sizes_are_not_stored():
    assert not FSQ((3, 2)).state_dict()


def test_starts_of_another_world_are_refused(tiny_world, tmp_path):
    save_world(tmp_path / "one", tiny_world)
    starts = replace(tiny_world.starts, tokens=tiny_world.starts.tokens.flip(0))
    save_world(tmp_path / "other", replace(tiny_world, starts=starts))
    (tmp_path / "one" / "starts.safetensors").write_bytes((tmp_path / "other" / "starts.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"expected the starts \w+ that config.json names, got others"):
        load_world(tmp_path / "one")


def test_actions_that_no_file_holds_leave_the_world_that_was_there(tiny_world, tmp_path):
    save_world(tmp_path, tiny_world)
    bank = tiny_world.starts.bank.clone()
    bank[0] = 1e6
    with pytest.raises(ValueError, match="expected finite weights, got NaN or infinite ones in bank"):
        save_world(tmp_path, replace(tiny_world, starts=replace(tiny_world.starts, bank=bank)))
    assert torch.equal(load_world(tmp_path).starts.tokens, tiny_world.starts.tokens)


def test_a_decoder_that_tells_nothing_finite_is_noticed(decoded_world):
    decoder = copy.deepcopy(decoded_world.decoder)
    decoder.temperature.zero_()
    labeller = Labeller(replace(decoded_world, heads={"decoder": decoder}))
    with pytest.raises(ValueError, match="expected a decoder that tells finite probabilities"):
        labeller.label(np.zeros((5, 48, 48, 3), np.uint8))
