"""Pictures: every pixel where it belongs, files that others can read, and nothing after a failure."""

import imageio.v3 as imageio
import numpy as np
import pytest

from flam_train.pictures.sheets import (
    LABEL_HEIGHT,
    contact_sheet,
    overlay_masks,
    side_by_side,
    slot_colours,
    write_mp4,
    write_png,
)


def stripes(length: int, height: int = 6, width: int = 10) -> np.ndarray:
    """Frames of one grey each, 20 apart, uint8 (T, H, W, 3)."""
    greys = 10 + 20 * np.arange(length, dtype=np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (length, height, width, 3)).copy()


def test_slots_have_colours_that_differ():
    colours = slot_colours(16).astype(int)
    assert colours.shape == (16, 3)
    distances = np.abs(colours[:, None] - colours[None]).max(-1)
    assert distances[~np.eye(16, dtype=bool)].min() >= 20


def test_an_overlay_tints_each_pixel_with_the_colour_of_its_slot():
    frames = stripes(2, height=3, width=4)
    owners = np.random.default_rng(0).integers(0, 5, (2, 3, 4))
    masks = 0.1 + 0.5 * (owners[:, None] == np.arange(5)[None, :, None, None])
    tinted = overlay_masks(frames, masks, strength=0.25)
    assert tinted.dtype == np.uint8 and tinted.shape == frames.shape
    assert np.abs(tinted - (0.75 * frames + 0.25 * slot_colours(5)[owners])).max() < 1
    assert np.array_equal(overlay_masks(frames, masks, strength=0.0), frames)
    assert np.array_equal(overlay_masks(frames, masks, strength=1.0), slot_colours(5)[owners])


def test_an_overlay_leaves_the_pixels_of_the_sink_untinted():
    frames = stripes(2, height=3, width=4)
    masks = np.full((2, 5, 3, 4), 0.1, np.float32)
    masks[0, 3, 1, 2] = 0.6
    tinted = overlay_masks(frames, masks, strength=1.0)
    assert np.array_equal(tinted[0, 1, 2], slot_colours(5)[3])
    tinted[0, 1, 2] = frames[0, 1, 2]
    assert np.array_equal(tinted, frames)


def test_a_contact_sheet_has_a_row_for_each_video_and_a_column_for_each_frame():
    sheet = contact_sheet({"one": stripes(4), "two": stripes(2)}, scale=3, gap=5)
    step_y, step_x = 3 * 6 + 5 + LABEL_HEIGHT, 3 * 10 + 5
    assert sheet.shape == (2 * step_y, 4 * step_x, 3) and sheet.dtype == np.uint8
    background = sheet[-1, -1]
    for row, count in enumerate((4, 2)):
        for column in range(4):
            y, x = row * step_y + LABEL_HEIGHT, column * step_x
            block = sheet[y : y + 18, x : x + 30]
            assert (block == (10 + 20 * column if column < count else background)).all()
            assert (sheet[y : y + 18, x + 30 : x + 35] == background).all()
    label = sheet[:LABEL_HEIGHT, :step_x]
    assert (label != background).any(), "the label is not written"


def test_videos_side_by_side_are_as_long_as_the_shortest_and_have_even_sides():
    video = side_by_side({"one": stripes(4, 5, 7), "two": stripes(3, 5, 7) + 100}, scale=3)
    length, height, width, channels = video.shape
    assert (length, channels) == (3, 3)
    assert height % 2 == width % 2 == 0
    for time in range(3):
        assert (video[time, LABEL_HEIGHT + 1, 1] == 10 + 20 * time).all()
        assert (video[time, LABEL_HEIGHT + 1, width // 2 + 3] == 110 + 20 * time).all()


def test_a_png_is_read_back_as_it_was(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    write_png(tmp_path / "new" / "image.png", image)
    assert np.array_equal(imageio.imread(tmp_path / "new" / "image.png"), image)


@pytest.mark.parametrize("rate", [15, 29.97, 0.5])
def test_an_mp4_has_every_frame_at_its_speed(tmp_path, rate):
    path = tmp_path / "new" / "video.mp4"
    write_mp4(path, stripes(11, height=48, width=64), frames_per_second=rate)
    frames = imageio.imread(path, plugin="pyav")
    assert frames.shape == (11, 48, 64, 3)
    assert np.abs(frames.mean((1, 2, 3)) - (10 + 20 * np.arange(11))).max() < 4
    described = imageio.immeta(path, plugin="pyav")
    assert described["codec"] == "h264" and described["fps"] == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_png(path, np.zeros(7, np.uint8)),
        lambda path: write_mp4(path, np.zeros((3, 8, 6), np.uint8), 15),
        lambda path: write_mp4(path, np.zeros((3, 16, 16, 3), np.uint8), "fast"),
    ],
)
def test_a_picture_that_cannot_be_made_leaves_nothing(tmp_path, write):
    with pytest.raises(Exception):  # noqa: B017  (whatever the codec says)
        write(tmp_path / "picture")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_png, lambda path, image: write_mp4(path, image[None], 15)])
def test_a_disk_that_is_full_leaves_the_old_picture(tmp_path, monkeypatch, write):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "picture"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write(path, stripes(1, height=16, width=32)[0])
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("picture", b"old")]
