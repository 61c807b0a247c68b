"""Video files come as a player would show them, or say why not."""

import gc
import os
import struct
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from flam_env import read_video

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def blocks() -> np.ndarray:
    """60 frames of 64 x 96, blocks of colour that move: what a codec blurs least."""
    colours = np.random.default_rng(0).integers(30, 226, (4, 6, 3))
    still = np.kron(colours, np.ones((16, 16, 1))).astype(np.uint8)
    return np.stack([np.roll(still, t, 1) for t in range(60)])


def write(path: Path, frames: np.ndarray, codec: str = "libx264", times=None, rate: int = 30, turned=None) -> Path:
    """Writes a video; times: of the frames, in thirtieths of a second; turned: arguments of `set_display_rotation`."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if turned is not None:
            stream.set_display_rotation(*turned)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame)
            if times is not None:
                picture.pts, picture.time_base = times[i], Fraction(1, 30)
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return path


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).mean())


# --- turned -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turned", "expected"),
    [
        ((0,), lambda frame: frame),
        ((90,), lambda frame: np.rot90(frame, 1)),
        ((180,), lambda frame: np.rot90(frame, 2)),
        ((-90,), lambda frame: np.rot90(frame, 3)),
        ((0, True), np.fliplr),
        ((0, False, True), np.flipud),
        ((90, True), lambda frame: np.fliplr(np.rot90(frame, 1))),
        ((90, False, True), lambda frame: np.flipud(np.rot90(frame, 1))),
    ],
)
def test_a_video_that_was_filmed_on_its_side_comes_upright(tmp_path, blocks, turned, expected):
    path = write(tmp_path / "phone.mp4", blocks[:3], turned=turned)
    first = next(read_video(path))
    assert difference(first, expected(blocks[0])) < 6 and first.flags.c_contiguous
    if turned != (0,):
        assert first.shape != blocks[0].shape or difference(first, blocks[0]) > 20


def test_a_video_that_is_turned_askew_is_refused(tmp_path, blocks):
    write(tmp_path / "askew.mp4", blocks[:3], turned=(30,))
    with pytest.raises(ValueError, match=r"expected a video turned by quarters, got .*askew\.mp4"):
        next(read_video(tmp_path / "askew.mp4"))


def test_pictures_are_let_go_once_they_were_read(tmp_path, blocks):
    path = write(tmp_path / "clip.mp4", blocks, turned=(90,))
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in read_video(path)) == 60
        kept = [each for each in gc.get_objects() if type(each).__name__ == "VideoFrame"]
    finally:
        gc.enable()
    assert len(kept) < 5


# --- colours ----------------------------------------------------------------------------------------------------

MATRICES = {"709": (1, 0.2126, 0.0722), "601": (6, 0.299, 0.114), "2020": (9, 0.2627, 0.0593)}
"""Number of each colour space, and the shares of red and blue in its brightness."""


def write_colours(path: Path, frame: np.ndarray, space: str, full: bool, transfer: int = 2) -> None:
    """Writes one frame without loss in the 8 bits that the standard of a colour space asks for."""
    number, red_share, blue_share = MATRICES[space]
    red, green, blue = np.moveaxis(frame / 255, -1, 0)
    bright = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    tints = (blue - bright) / (2 * (1 - blue_share)), (red - bright) / (2 * (1 - red_share))
    scale, offset, spread = (255, 0, 255) if full else (219, 16, 224)
    planes = [bright * scale + offset, *(tint * spread + 128 for tint in tints)]
    picture = av.VideoFrame(frame.shape[1], frame.shape[0], "yuv444p")
    for plane, values in zip(picture.planes, planes, strict=True):
        rows = np.zeros((frame.shape[0], plane.line_size), np.uint8)
        rows[:, : frame.shape[1]] = values.round().clip(0, 255)
        plane.update(rows.tobytes())
    picture.colorspace, picture.color_range, picture.pts = number, 2 if full else 1, 0
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 2 if full else 1
        stream.codec_context.color_trc = transfer
        file.mux(stream.encode(picture))
        file.mux(stream.encode())


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("space", MATRICES)
def test_colours_of_every_space_and_range_are_right(tmp_path, blocks, space, full):
    write_colours(tmp_path / "colours.mkv", blocks[0], space, full)
    assert difference(next(read_video(tmp_path / "colours.mkv")), blocks[0]) < 1


def test_versions_of_pyav_that_get_colours_wrong_are_refused(tmp_path, blocks, monkeypatch):
    path = write(tmp_path / "clip.mp4", blocks[:2])
    monkeypatch.setattr(av, "__version__", "16.1.0")
    with pytest.raises(
        ImportError, match=r"expected PyAV 17 or newer, .* got 16\.1\.0; .*pip install 'flam-env\[video\]'"
    ):
        read_video(path)


def test_colours_of_high_range_are_warned_of(tmp_path, blocks):
    write_colours(tmp_path / "phone.mkv", blocks[0], "2020", False, transfer=18)
    with pytest.warns(UserWarning, match=r"phone\.mkv has colours of high dynamic range, .* convert it") as said:
        list(read_video(tmp_path / "phone.mkv"))
    assert [each.filename for each in said] == [__file__]


# --- whole ------------------------------------------------------------------------------------------------------


def promise(path: Path, frames: int) -> Path:
    """Has the header of an AVI say that it has so many frames."""
    content = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 16), (b"strh", 32)):
        struct.pack_into("<I", content, content.index(name) + 8 + offset, frames)
    path.write_bytes(content)
    return path


def test_a_video_of_far_fewer_frames_than_it_says_is_refused(tmp_path, blocks):
    path = promise(write(tmp_path / "short.avi", blocks[:20], "mjpeg"), 60)
    with pytest.raises(
        ValueError, match=r"expected the 60 frames that .*short\.avi says it has, got 20 frames: it breaks"
    ):
        list(read_video(path))
    assert len(list(read_video(promise(path, 21)))) == 20


@pytest.mark.parametrize("codec, name", [("mpeg4", "clip.mkv"), ("libvpx-vp9", "clip.webm"), ("flv1", "clip.flv")])
def test_a_video_that_ends_long_before_its_time_is_refused(tmp_path, blocks, codec, name):
    path = write(tmp_path / name, blocks, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        ValueError, match=rf"expected the 2 s that .*{name} says it has, got 0\.\d+ s of pictures: it breaks"
    ):
        list(read_video(path))


def write_with_sound(path: Path, frames: np.ndarray, seconds: float, rate: int = 8000) -> Path:
    with av.open(str(path), "w") as file:
        pictures, sound = file.add_stream("mpeg4", rate=30), file.add_stream("pcm_s16le", rate=rate, layout="mono")
        pictures.height, pictures.width, pictures.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(frame)))
        file.mux(pictures.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, int(rate * seconds)), np.int16), format="s16", layout="mono")
        silence.rate, silence.pts = rate, 0
        file.mux(sound.encode(silence))
        file.mux(sound.encode())
    return path


def test_a_sound_that_goes_on_after_the_pictures_is_warned_of(tmp_path, blocks):
    path = write_with_sound(tmp_path / "song.mkv", blocks, 4)
    with pytest.warns(UserWarning, match=r"song\.mkv says that it has 4 s, but there are 2 s of pictures") as said:
        assert len(list(read_video(path))) == 60
    assert [each.filename for each in said] == [__file__]


def test_frames_that_were_left_out_do_not_make_a_video_short(tmp_path, blocks):
    path = write(tmp_path / "slow.avi", blocks[:20], "mjpeg", times=range(0, 60, 3))
    with av.open(str(path)) as file:
        assert file.streams.video[0].frames > 50, "expected a header that counts the frames that were left out"
    with warnings.catch_warnings(action="error"):
        assert len(list(read_video(path))) == 20


# --- what is no video -------------------------------------------------------------------------------------------


def test_what_has_sound_only_says_so(tmp_path):
    with av.open(str(tmp_path / "song.mkv"), "w") as file:
        sound = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        silence.rate = 8000
        file.mux(sound.encode(silence))
    with pytest.raises(ValueError, match=r"expected a video, got .*song\.mkv without moving pictures, only sound"):
        list(read_video(tmp_path / "song.mkv"))


def test_the_cover_of_a_song_is_no_video(tmp_path, blocks):
    with av.open(str(tmp_path / "song.mp4"), "w") as file:
        sound, cover = file.add_stream("aac", rate=8000, layout="mono"), file.add_stream("mjpeg")
        cover.height, cover.width, cover.pix_fmt = *blocks.shape[1:3], "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        file.mux(cover.encode(av.VideoFrame.from_ndarray(blocks[0])))
        file.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        file.mux(sound.encode(silence))
        file.mux(sound.encode())
    with pytest.raises(ValueError, match="without moving pictures, only sound"):
        list(read_video(tmp_path / "song.mp4"))


def test_a_pipe_is_called_a_pipe_and_a_link_to_nothing_a_link(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(
        ValueError, match=r"pipe\.mp4, which is a pipe or a device; write what comes out of it to a file"
    ):
        read_video(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match="which is a pipe or a device"):
        read_video("/dev/null")
    (tmp_path / "link.mp4").symlink_to("gone.mp4")
    with pytest.raises(ValueError, match=r"link\.mp4, a link to gone\.mp4, which does not exist"):
        read_video(tmp_path / "link.mp4")
