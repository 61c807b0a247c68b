"""The quantiser and the tokenizer keep their promises."""

import pytest
import torch
import vector_quantize_pytorch

from flam_env.models.quantize import FSQ
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig

ARCHITECTURES = pytest.mark.parametrize("architecture", ["patch", "impala", "magvit"])


def test_codes_equal_those_of_vector_quantize_pytorch():
    x = 3 * torch.randn(6, 7, 4)
    reference = vector_quantize_pytorch.FSQ(levels=[4, 4, 3, 5], preserve_symmetry=True)
    codes, _ = reference(x)
    torch.testing.assert_close(FSQ((4, 4, 3, 5))(x), codes)


def test_every_token_comes_back_from_its_code():
    quantizer = FSQ((4, 3, 5))
    tokens = torch.arange(quantizer.size)
    codes = quantizer.codes(tokens)
    assert codes.unique(dim=0).shape == (60, 3) and codes.abs().max() == 1
    assert (quantizer.tokens(codes) == tokens).all()
    assert (quantizer.join(quantizer.steps(tokens)) == tokens).all()
    assert (quantizer.tokens(codes + 0.2 * (torch.rand_like(codes) - 0.5)) == tokens).all()


def test_gradient_goes_straight_through():
    x = torch.randn(5, 2, requires_grad=True)
    FSQ((4, 4))(x).sum().backward()
    torch.testing.assert_close(x.grad, 1 - torch.tanh(x.detach()).square())


@ARCHITECTURES
def test_tokens_of_a_frame_are_those_of_its_codes(architecture):
    network = Tokenizer(TokenizerConfig(image_size=24, patch_size=4, width=16, architecture=architecture))
    frames = torch.rand(7, 3, 24, 24)
    tokens = network.encode(frames)
    assert torch.equal(tokens, network.quantizer.tokens(network.codes(frames))) and len(tokens.unique()) > 5


@ARCHITECTURES
def test_round_trip_has_the_shape_of_the_frame(architecture):
    network = Tokenizer(
        TokenizerConfig(image_size=24, patch_size=4, width=16, architecture=architecture, levels=(3, 5))
    )
    frames = torch.rand(2, 3, 24, 24)
    tokens = network.encode(frames)
    assert tokens.shape == (2, 36) and tokens.min() >= 0 and tokens.max() < 15
    torch.testing.assert_close(network.decode(tokens), network(frames).clamp(0, 1))


def test_patch_tokenizer_gives_still_patches_the_same_token():
    network = Tokenizer(TokenizerConfig(image_size=24, patch_size=4, width=16))
    frames = torch.rand(1, 3, 24, 24)
    moved = frames.clone()
    moved[..., 4:8, 8:12] = torch.rand(1, 3, 4, 4)
    changed = (network.encode(frames) != network.encode(moved)).nonzero()[:, 1].tolist()
    assert set(changed) <= {8}


@ARCHITECTURES
def test_a_frame_does_not_depend_on_its_batch(architecture):
    network = Tokenizer(TokenizerConfig(image_size=16, patch_size=4, width=16, architecture=architecture)).eval()
    frames = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(frames)[2:3], network(frames[2:3]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "multiple of patch_size"),
        ({"image_size": 30, "patch_size": 6, "architecture": "impala"}, "power of two"),
        ({"patch_size": 1, "architecture": "impala"}, "power of two"),
        ({"image_size": 30, "patch_size": 6, "architecture": "magvit"}, "power of two"),
        ({"patch_size": 0}, "patch_size of TokenizerConfig to be an integer of at least 1, got 0"),
        ({"image_size": 64.0}, "image_size of TokenizerConfig to be int, got 64.0"),
        ({"blocks": True}, "blocks of TokenizerConfig to be int, got True"),
        ({"width": -3}, "width of TokenizerConfig to be an integer of at least 1, got -3"),
        ({"levels": ()}, "2 levels"),
        ({"levels": (4, 1)}, "2 levels"),
        ({"levels": (256, 257)}, "at most 65536 tokens, which fit uint16, got 65792"),
        ({"levels": (4, 2.5)}, r"levels of TokenizerConfig to be tuple\[int, ...\]"),
        ({"architecture": "vit"}, "architecture of TokenizerConfig to be Literal.*got 'vit'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**changes)


def test_too_few_levels_are_refused():
    with pytest.raises(ValueError, match="2 levels"):
        FSQ((4, 1))
