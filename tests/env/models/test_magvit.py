"""The MAGVIT-v2 style tokenizer of real video, and world models on its 16,384 tokens."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.models.quantize import FSQ
from flam_env.models.target import likeliest, predicted
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import fingerprint, load_network, save_network
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss
from flam_train.presets import NUPLAN, NUPLAN_SMALL

LEVELS = (4,) * 7
SMALL = TokenizerConfig(image_size=48, patch_size=16, architecture="magvit", width=24, blocks=1, levels=LEVELS)
MODEL = WorldModelConfig(grid=6, group=2, levels=LEVELS, slots=3, latent_dim=5, dim=16, heads=2, layers=1, iterations=1)


def test_a_frame_of_224_px_becomes_14_x_14_of_16384_tokens():
    """The sizes of Table 5, in fewer channels."""
    assert NUPLAN.tokenizer.grid == 14
    network = Tokenizer(replace(NUPLAN.tokenizer, width=16, blocks=1))
    assert network.quantizer.size == 16_384
    with torch.no_grad():
        tokens = network.encode(torch.rand(1, 3, 224, 224))
        assert tokens.shape == (1, 196) and tokens.min() >= 0 and tokens.max() < 16_384
        assert network.decode(tokens).shape == (1, 3, 224, 224)


def test_it_is_made_of_normalised_residuals_strided_convolutions_and_depth_to_space():
    network = Tokenizer(SMALL)
    assert not [layer for layer in network.modules() if isinstance(layer, nn.MaxPool2d | nn.Upsample | nn.GELU)]
    strides = [layer.stride for layer in network.encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert strides.count((2, 2)) == 4 and all(s == (1, 1) for s in strides if s != (2, 2))
    for trunk in (network.encoder, network.decoder):
        pairs = itertools.pairwise(type(layer) for layer in trunk.modules())
        assert (nn.GroupNorm, nn.SiLU) in set(pairs)


def test_it_learns_what_a_picture_shows():
    torch.manual_seed(0)
    network = Tokenizer(replace(SMALL, image_size=32, patch_size=8))
    frames = torch.rand(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0)
    losses = []
    for _ in range(60):
        loss = (network(frames) - frames).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.15 * losses[0]


def test_its_file_is_read_back(tmp_path):
    network = Tokenizer(SMALL)
    save_network(tmp_path / "tokenizer.safetensors", network)
    read, _ = load_network(tmp_path / "tokenizer.safetensors", Tokenizer, TokenizerConfig)
    assert read.config == SMALL
    save_network(tmp_path / "again.safetensors", read)
    assert fingerprint(read) == fingerprint(load_network(tmp_path / "again.safetensors", Tokenizer, TokenizerConfig)[0])


def test_tokenizers_of_before_have_the_fields_that_they_had():
    """So their files and fingerprints stay what they were."""
    assert set(vars(TokenizerConfig())) == {"image_size", "patch_size", "architecture", "width", "blocks", "levels"}
    assert TokenizerConfig().architecture == "patch"


def test_worlds_predict_16384_tokens_by_the_levels_of_seven_channels():
    quantizer = FSQ(LEVELS)
    tokens = torch.arange(0, 16_384, 97)
    numbers = torch.zeros(len(tokens), 7 * 4)
    assert torch.equal(likeliest("level", quantizer, predicted("level", quantizer, numbers, tokens)), tokens)
    wanted = torch.randint(16_384, tokens.shape)
    numbers.unflatten(-1, (7, 4)).scatter_(-1, quantizer.steps(wanted)[..., None], 9.0)
    assert torch.equal(likeliest("level", quantizer, predicted("level", quantizer, numbers, tokens)), wanted)


def test_no_network_gives_a_number_for_each_of_16384_tokens():
    """Not in a step of training either: neither activations nor weights of an output are that wide."""
    model, widest = FactoredWorldModel(replace(MODEL, prior_components=2)), []
    for layer in model.modules():
        layer.register_forward_hook(lambda layer, _, out: widest.extend(_widths(out)))
    tokens = torch.randint(16_384, (2, 3, 36))
    prediction = model(tokens)
    loss, _ = world_model_loss(model, tokens, prediction, WorldModelLossConfig(), 0.5)
    loss.backward()
    assert prediction.output.shape == (2, 2, 36, 7, 4)
    assert widest and max(widest) < 16_384 and model.aggregator.head.out_features == 4 * 7 * 4
    outputs = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert max(outputs) < 16_384


def _widths(out) -> list[int]:
    if isinstance(out, torch.Tensor):
        return [out.shape[-1]] if out.ndim else []
    return [width for part in out for width in _widths(part)] if isinstance(out, tuple) else []


def test_the_presets_of_driving_are_what_they_say():
    paper, small = NUPLAN.world_model, NUPLAN_SMALL.world_model
    assert (paper.slots, paper.layers, paper.grid, paper.levels) == (16, 3, 14, LEVELS)
    assert (NUPLAN.tokenizer.image_size, NUPLAN.tokenizer.patch_size) == (224, 16)
    assert NUPLAN.loss.information_price == pytest.approx(2e-4 * 196)
    assert small.background_sink and small.focus and small.difference and small.prior_components == 8
    assert (NUPLAN_SMALL.loss.information_price, NUPLAN_SMALL.loss.last_price) == (0.6, 0.3)
    for preset in (NUPLAN, NUPLAN_SMALL):
        assert preset.tokenizer.architecture == "magvit" and preset.tokenizer.grid == preset.world_model.grid
        assert preset.tokenizer.levels == preset.world_model.levels == LEVELS
