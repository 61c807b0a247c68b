"""The network of FVD has the original's layout; its layers are checked one by one, for weights are not everywhere."""

import pytest
import torch
from torch.nn.functional import conv3d, max_pool3d

from flam_train.evaluate.perceptual.i3d import I3d, Mixed, Pool, Unit, as_input, same_padded


@pytest.fixture(scope="module")
def shapes_only() -> I3d:
    """The network without numbers."""
    with torch.device("meta"):
        return I3d().eval()


def test_the_weights_have_the_names_and_the_number_of_the_original(shapes_only):
    weights = {name: value for name, value in shapes_only.state_dict().items() if "num_batches" not in name}
    assert len(weights) == 287 and sum(value.numel() for value in weights.values()) == 12_711_824
    assert weights["Mixed_4f.b2b.conv3d.weight"].shape == (128, 32, 3, 3, 3)
    assert weights["Mixed_5c.b3b.bn.running_var"].shape == (128,)
    assert weights["logits.conv3d.weight"].shape == (400, 1024, 1, 1, 1)


@torch.inference_mode()
def test_a_video_of_9_frames_becomes_400_numbers():
    assert I3d().eval()(torch.rand(1, 3, 9, 224, 224)).shape == (1, 400)


@pytest.mark.parametrize("frames, height, width", [(8, 224, 224), (16, 224, 256), (16, 128, 128)])
def test_short_videos_and_other_sizes_are_refused(shapes_only, frames, height, width):
    with pytest.raises(ValueError, match=f"at least 9 frames of 224 x 224 px, got {frames} frames of {height} x"):
        shapes_only(torch.empty(1, 3, frames, height, width, device="meta"))


def test_of_an_odd_margin_the_smaller_half_comes_first():
    line = torch.arange(1.0, 7).view(1, 1, 1, 1, 6)
    assert same_padded(line, (1, 1, 7), (1, 1, 2)).flatten().tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0]
    assert same_padded(line, (1, 1, 3), (1, 1, 2)).flatten().tolist() == [1, 2, 3, 4, 5, 6, 0]
    assert same_padded(line, (1, 1, 3), (1, 1, 1)).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert same_padded(line, (1, 1, 1), (1, 1, 2)).flatten().tolist() == [1, 2, 3, 4, 5, 6]
    tall = same_padded(line.view(1, 1, 6, 1, 1), (3, 1, 1), (2, 1, 1))
    assert tall.shape == (1, 1, 7, 1, 1) and tall[0, 0, -1] == 0


@pytest.mark.parametrize("frames, height, width", [(5, 8, 11), (6, 9, 10)])
def test_strides_round_up(frames, height, width):
    video = torch.rand(2, 3, frames, height, width)
    halves = tuple(-(-size // 2) for size in (frames, height, width))
    assert Unit(3, 4, kernel=7, stride=2).eval()(video).shape == (2, 4, *halves)
    assert Pool((1, 3, 3), (1, 2, 2))(video).shape == (2, 3, frames, *halves[1:])
    assert Mixed(3, 4, (5, 6), (7, 8), 9).eval()(video).shape == (2, 4 + 6 + 8 + 9, frames, height, width)


@pytest.mark.parametrize("kernel, stride", [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((2, 2, 2), (2, 2, 2))])
def test_pooling_one_axis_after_the_other_is_that_of_all_at_once(kernel, stride):
    video = torch.rand(2, 3, 5, 8, 11)
    assert torch.equal(Pool(kernel, stride)(video), max_pool3d(same_padded(video, kernel, stride), kernel, stride))


def test_a_unit_normalizes_by_what_it_has_measured():
    unit = Unit(2, 3).eval().requires_grad_(False)
    unit.bn.running_mean[:], unit.bn.running_var[:] = torch.tensor([0.1, -0.2, 0.3]), torch.tensor([1.0, 1e-3, 4.0])
    unit.bn.bias[:] = torch.tensor([0.5, -0.1, 0.0])
    video = torch.rand(1, 2, 3, 4, 5)
    mean, variance, bias = (
        value.view(3, 1, 1, 1) for value in (unit.bn.running_mean, unit.bn.running_var, unit.bn.bias)
    )
    expected = ((conv3d(video, unit.conv3d.weight) - mean) / (variance + 1e-3).sqrt() + bias).relu()
    assert torch.allclose(unit(video), expected, atol=1e-5)


def test_frames_are_resized_between_the_centres_of_pixels_and_stretched_to_both_ends():
    frames = torch.zeros(1, 2, 3, 56, 56)
    frames[0, 1, :, :, 28:] = 1  # the right half of the second frame is white
    sized = as_input(frames)
    assert sized.shape == (1, 3, 2, 224, 224)
    assert (sized[:, :, 0] == -1).all()
    edge = [-1, -0.75, -0.25, 0.25, 0.75, 1]  # four pixels for each: their centres lie at 1/8, 3/8, 5/8 and 7/8
    assert sized[0, 1, 1, 100, 109:115].tolist() == pytest.approx(edge)


def test_a_frame_of_its_own_size_stays_as_it_is():
    frames = torch.rand(1, 1, 3, 224, 224)
    assert torch.equal(as_input(frames)[:, :, 0], 2 * frames[:, 0] - 1)
