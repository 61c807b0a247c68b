"""The rates of videos and of worlds are known and compared, and a video can be brought to another."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from flam_env import Labeller, read_video
from flam_env.video.decoding import TimedFrame
from flam_env.video.rates import resample
from flam_env.video.reader import video_rate

av = pytest.importorskip("av")

SIDE = 48  # of the tiny world, which learned from 10 frames a second


def numbered(count: int) -> np.ndarray:
    """Frames whose brightness is their number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None] * 3, (count, SIDE, SIDE, 3)).copy()


def numbers(frames) -> list[int]:
    """Which of the numbered frames these are."""
    return [round(float(frame.mean()) / 3) for frame in frames]


def write(path: Path, frames: np.ndarray, *, rate: int, milliseconds=None) -> Path:
    """Writes frames without loss; milliseconds: when each is shown, by default `rate` a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264rgb", rate=rate, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "rgb24"
        if milliseconds is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame)
            if milliseconds is not None:
                picture.pts, picture.time_base = milliseconds[i], Fraction(1, 1000)
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return path


# --- resampled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.mp4"])
@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [
        (60, 15, [0, 4, 8, 12, 16, 20, 24, 28]),
        (30, 15, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28]),
        (30, 20, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19, 21, 22, 24, 25, 27, 28]),
        (10, 15, [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15, 16, 16]),
        (25, 25, list(range(30))),
    ],
)
def test_a_video_of_constant_rate_shows_what_a_player_shows(tmp_path, name, rate, fps, expected):
    path = write(tmp_path / name, numbered(30), rate=rate)
    found = numbers(read_video(path, fps))
    assert found[: len(expected)] == expected
    assert len(found) == round(30 * fps / rate)


def test_a_video_of_uneven_times_shows_what_a_player_shows(tmp_path):
    """A recording of a screen, which keeps frames only where something moves."""
    path = write(tmp_path / "screen.mkv", numbered(6), rate=30, milliseconds=[0, 40, 300, 310, 320, 500])
    assert numbers(read_video(path, 10))[:6] == [0, 1, 1, 2, 4, 5]
    assert numbers(read_video(path)) == [0, 1, 2, 3, 4, 5]


def test_a_stretch_begins_with_its_own_first_frame():
    frames = [TimedFrame(frame, 0.7 + i / 30, 0.7 + (i + 1) / 30, i) for i, frame in enumerate(numbered(6))]
    assert [each.number for each in resample(frames, 15)] == [0, 2, 4]
    assert list(resample([], 15)) == []


@pytest.mark.parametrize("fps", [0, -15, float("nan"), float("inf"), True, "15"])
def test_what_is_no_rate_is_refused(tmp_path, fps):
    path = write(tmp_path / "clip.mkv", numbered(3), rate=30)
    with pytest.raises(ValueError, match="expected fps to be frames a second, a number above 0, got"):
        read_video(path, fps)


def test_what_has_no_rate_is_not_brought_to_another(tmp_path, tiny_world):
    with pytest.raises(
        ValueError, match=r"expected a video file to bring to another fps, got the folder .*; leave fps out"
    ):
        read_video(tmp_path, 15)
    for frames in (numbered(3), iter(numbered(3))):
        with pytest.raises(ValueError, match=r"got frames, whose own rate nobody knows; give every n-th of them"):
            Labeller(tiny_world).label(frames, fps=15)


# --- compared ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.mp4"])
def test_the_rate_of_a_file_is_known(tmp_path, name):
    assert video_rate(write(tmp_path / name, numbered(9), rate=24)) == pytest.approx(24, rel=0.01)
    assert video_rate(tmp_path) is None


@pytest.mark.parametrize("rate, more", [(40, "less"), (5, "more")])
def test_a_video_of_another_rate_than_the_worlds_is_warned_of(tmp_path, tiny_world, rate, more):
    path = write(tmp_path / "clip.mkv", numbered(9), rate=rate)
    with pytest.warns(UserWarning, match=f"{rate} frames a second .* world had 10, .* {more} happens") as said:
        Labeller(tiny_world).label(path)
    assert len(said) == 1 and said[0].filename == __file__
    assert f"fps={rate} (--fps {rate})" in str(said[0].message)
    assert ("fps=10 (--fps 10)" in str(said[0].message)) == (rate > 10)


def test_a_video_of_the_worlds_rate_or_of_a_rate_that_is_meant_is_not(tmp_path, tiny_world):
    labeller = Labeller(tiny_world)
    alike, fast = (write(tmp_path / f"{rate}.mkv", numbered(12), rate=rate) for rate in (11, 40))
    with warnings.catch_warnings(action="error"):
        labeller.label(alike)
        assert len(labeller.label(fast, fps=40).latent_actions) == 11
        assert len(labeller.label(fast, fps=10).latent_actions) == 2


@pytest.mark.parametrize("fps, message", [(90, "of 90 some repeat the one before"), (20, "but .* is labelled at 20")])
def test_a_video_brought_to_an_odd_rate_is_warned_of(tmp_path, tiny_world, fps, message):
    path = write(tmp_path / "clip.mkv", numbered(12), rate=40)
    with pytest.warns(UserWarning, match=message):
        Labeller(tiny_world).label(path, fps=fps)


def test_labels_at_the_worlds_rate_are_those_of_the_video_without_its_repeats(tmp_path, tiny_world):
    frames = np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE, 3)).astype(np.uint8)
    path = write(tmp_path / "screen.mkv", np.repeat(frames, 4, 0), rate=40)
    labeller = Labeller(tiny_world)
    labels = labeller.label(path, [3], fps=10)
    expected = labeller.label(frames, [3])
    assert np.array_equal(labels.latent_actions, expected.latent_actions, equal_nan=True)
