"""Folders of images: upright, in order, and nothing but one video."""

import numpy as np
import pytest

from flam_env import read_video

Image = pytest.importorskip("PIL.Image")

ORIENTATION = 0x0112  # the tag of EXIF


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)


def save(path, frame: np.ndarray, orientation: int | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(frame)
    if orientation is not None:
        image.getexif()[ORIENTATION] = orientation
        image.save(path, exif=image.getexif())
    else:
        image.save(path)


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, lambda frame: frame),
        (2, np.fliplr),
        (3, lambda frame: np.rot90(frame, 2)),
        (4, np.flipud),
        (5, lambda frame: np.flipud(np.rot90(frame))),
        (6, lambda frame: np.rot90(frame, -1)),
        (7, lambda frame: np.fliplr(np.rot90(frame))),
        (8, np.rot90),
    ],
)
@pytest.mark.parametrize(("ending", "grey"), [("png", False), ("png", True), ("tif", False)])
def test_pictures_of_a_phone_come_upright(tmp_path, frame, orientation, shown, ending, grey):
    save(tmp_path / f"0.{ending}", frame[:, :, 0] if grey else frame, orientation)
    seen = np.repeat(frame[:, :, :1], 3, -1) if grey else frame
    assert np.array_equal(next(read_video(tmp_path)), shown(seen))


def test_thumbnails_beside_videos_are_no_video(tmp_path, frame):
    for name in ("a", "b", "c", "d"):
        save(tmp_path / f"{name}.png", frame)
        (tmp_path / f"{name}.MP4").write_bytes(b"")
    with pytest.raises(
        ValueError,
        match=r"got .* with 4 images and beside them 4 videos .*\(a\.MP4, b\.MP4, c\.MP4, \.\.\.\); name these",
    ):
        read_video(tmp_path)


def test_previews_beside_folders_of_images_are_no_video(tmp_path, frame):
    for name in ("one", "two"):
        save(tmp_path / f"{name}.png", frame)
        save(tmp_path / name / "0.png", frame)
    with pytest.raises(ValueError, match=r"with 2 images and beside them 2 videos or folders \(one, two\); name these"):
        read_video(tmp_path)
    assert len(list(read_video(tmp_path / "one"))) == 1


def test_a_folder_of_videos_only_says_that_it_holds_some(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"with 0 images and beside them 1 videos .*\(a\.mkv\); name these"):
        read_video(tmp_path)


@pytest.mark.parametrize(
    "ending", [".MTS", ".m2ts", ".VOB", ".3g2", ".3GP", ".asf", ".mxf", ".f4v", ".ogg", ".ogv", ".Y4M"]
)
def test_thumbnails_beside_videos_of_any_ending_are_no_video(tmp_path, frame, ending):
    save(tmp_path / "a.png", frame)
    (tmp_path / f"a{ending}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"with 1 images and beside them 1 videos .*\(a\{ending}\); name these"):
        read_video(tmp_path)


def test_videos_in_folders_further_below_are_seen_and_hidden_ones_are_not(tmp_path, frame):
    save(tmp_path / "0.png", frame)
    for name in ("notes", ".thumbs", "notes/.cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / (".a.mp4" if name == "notes" else "a.mp4")).write_bytes(b"")
    assert len(list(read_video(tmp_path))) == 1
    (tmp_path / "day" / "camera").mkdir(parents=True)
    (tmp_path / "day" / "camera" / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"with 1 images and beside them 1 videos or folders \(day\); name these"):
        read_video(tmp_path)


def test_one_picture_in_two_formats_is_not_shown_twice(tmp_path, frame):
    for name in ("0.png", "1.png", "1.jpg", "2.png"):
        save(tmp_path / name, frame)
    with pytest.raises(ValueError, match=r"one image of each name, got 1\.jpg and 1\.png in .*; move those of one"):
        read_video(tmp_path)
