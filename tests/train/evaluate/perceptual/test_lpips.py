"""LPIPS with any weights keeps its form; with those of `lpips` it is what that package computes."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, normalize

from flam_train.evaluate.perceptual.lpips import WIDTHS, Lpips


@pytest.fixture(scope="module")
def network() -> Lpips:
    """Random weights, those of the differences not negative, as in the original."""
    state = torch.get_rng_state()
    torch.manual_seed(5)
    network = Lpips().eval().requires_grad_(False)
    for layer in range(5):
        network.get_submodule(f"lin{layer}").weight.abs_()
    torch.set_rng_state(state)
    return network


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """Pairs (3, 3, 37, 45) in [0, 1], each farther apart than the one before."""
    random = torch.Generator().manual_seed(6)
    true = torch.rand(3, 3, 37, 45, generator=random)
    noise = torch.randn(true.shape, generator=random) * torch.tensor([0.02, 0.1, 0.4])[:, None, None, None]
    return (true + noise).clamp(0, 1), true


def test_equal_pictures_are_at_distance_0(network, pictures):
    _, true = pictures
    assert network(true, true.clone()).tolist() == [0.0] * 3


def test_what_is_farther_apart_is_at_a_larger_distance_either_way_round(network, pictures):
    predicted, true = pictures
    distances = network(predicted, true)
    assert 0 < distances[0] < distances[1] < distances[2]
    assert torch.equal(network(true, predicted), distances)


def test_a_picture_is_judged_by_itself(network, pictures):
    predicted, true = pictures
    alone = [network(one[None], other[None]).item() for one, other in zip(predicted, true, strict=True)]
    assert alone == pytest.approx(network(predicted, true).tolist(), rel=1e-5)


def test_the_first_difference_is_that_of_directions(pictures):
    """With all others left out, and every channel counted once: 2 - 2 cos of the angle, averaged over places."""
    predicted, true = pictures
    network = Lpips().requires_grad_(False)
    for layer in range(5):
        network.get_submodule(f"lin{layer}").weight.fill_(float(layer == 0))
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).view(2, 3, 1, 1)
    first = network.features[0]
    seen = [
        normalize(conv2d((2 * picture - 1 - shift) / scale, first.weight, first.bias, 4, 2).relu(), dim=1)
        for picture in pictures
    ]
    expected = (2 - 2 * (seen[0] * seen[1]).sum(1)).mean((1, 2))
    assert torch.allclose(network(predicted, true), expected, atol=1e-5)


def test_pictures_of_31_px_are_the_smallest(network):
    assert network(torch.zeros(1, 3, 31, 31), torch.ones(1, 3, 31, 31)).isfinite().all()
    with pytest.raises(ValueError, match="expected pictures of at least 31 x 31 px, got 30 x 47"):
        network(torch.zeros(1, 3, 30, 47), torch.ones(1, 3, 30, 47))


def test_the_weights_have_the_names_and_shapes_of_the_original():
    shapes = {name: tuple(value.shape) for name, value in Lpips().state_dict().items()}
    kernels = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    expected = {f"features.{place}.weight": shape for place, shape in kernels.items()}
    expected |= {f"features.{place}.bias": shape[:1] for place, shape in kernels.items()}
    assert shapes == expected | {f"lin{layer}.weight": (1, width, 1, 1) for layer, width in enumerate(WIDTHS)}


def test_the_package_lpips_computes_the_same(pictures):
    """With a random trunk in both, and the package's own heads: it downloads no trunk then."""
    try:
        from lpips import LPIPS
    except (ImportError, RuntimeError) as error:  # torchvision needs the very build of torch that it was made for
        pytest.skip(f"the package lpips cannot be imported here: {error}")
    theirs = LPIPS(net="alex", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    weights = {f"lin{layer}.weight": theirs.lins[layer].model[-1].weight for layer in range(5)}
    for name, value in theirs.net.state_dict().items():
        _, place, kind = name.split(".")
        weights[f"features.{place}.{kind}"] = value
    ours = Lpips().eval().requires_grad_(False)
    ours.load_state_dict(weights)
    predicted, true = pictures
    expected = theirs(predicted * 2 - 1, true * 2 - 1)[:, 0, 0, 0]
    assert expected.min() > 0
    assert torch.allclose(ours(predicted, true), expected, rtol=1e-5, atol=0)
