"""Videos in files and folders."""

import builtins

import numpy as np
import pytest

from flam_env import Labeller, read_video

imageio = pytest.importorskip("imageio.v3")
pytest.importorskip("av")


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    """Frames of 48 x 48 in which noise comes and goes."""
    return np.random.default_rng(0).integers(0, 256, (11, 48, 48, 3)).astype(np.uint8)


def write_video(path, frames) -> np.ndarray:
    """Writes frames as H.264, and returns what that made of them."""
    imageio.imwrite(path, frames, plugin="pyav", codec="libx264", fps=10)
    return imageio.imread(path, plugin="pyav")


def write_images(folder, frames, name="{}.png") -> None:
    folder.mkdir()
    for i, frame in enumerate(frames):
        imageio.imwrite(folder / name.format(i), frame)


def test_a_video_file_gives_its_frames(tmp_path, video):
    written = write_video(tmp_path / "clip.mp4", video)
    assert np.array_equal(np.stack(list(read_video(tmp_path / "clip.mp4"))), written)


def test_images_come_in_the_order_of_their_numbers(tmp_path, video):
    write_images(tmp_path / "frames", video)  # as plain text, 10 would come before 2
    (tmp_path / "frames" / "notes.txt").write_text("nothing to see")
    (tmp_path / "frames" / ".hidden.png").write_bytes(b"nothing to see")
    (tmp_path / "frames" / ".hidden.mp4").write_bytes(b"nothing to see")
    (tmp_path / "frames" / "logs").mkdir()
    assert np.array_equal(np.stack(list(read_video(tmp_path / "frames"))), video)


def test_images_with_other_colours_become_rgb(tmp_path, video):
    (tmp_path / "frames").mkdir()
    imageio.imwrite(tmp_path / "frames" / "a.png", video[0, :, :, 0])
    imageio.imwrite(tmp_path / "frames" / "b.png", np.concatenate([video[1], video[0, :, :, :1]], -1))
    grey, transparent = read_video(tmp_path / "frames")
    assert np.array_equal(grey, np.repeat(video[0, :, :, :1], 3, -1)) and np.array_equal(transparent, video[1])


def test_files_and_folders_get_the_labels_of_their_frames(tmp_path, video, tiny_world):
    written = write_video(tmp_path / "clip.mp4", video)
    write_images(tmp_path / "frames", video)
    labeller = Labeller(tiny_world)
    labeller.PIECE = 4
    for path, frames in ((tmp_path / "clip.mp4", written), (str(tmp_path / "frames"), video)):
        assert np.array_equal(labeller.label(path).latent_actions, labeller.label(frames).latent_actions)


def test_images_are_read_one_by_one(tmp_path, video):
    write_images(tmp_path / "frames", video)
    frames = read_video(tmp_path / "frames")
    assert np.array_equal(next(frames), video[0])
    for path in (tmp_path / "frames").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"1\.png, which cannot be read"):
        next(frames)


def test_what_is_no_video_says_so(tmp_path, video):
    write_video(tmp_path / "whole.mp4", video)
    content = (tmp_path / "whole.mp4").read_bytes()
    third = len(content) // 3
    files = {
        "text.mp4": b"no video " * 99,
        "empty.mp4": b"",
        "truncated.mp4": content[:third],
        "damaged.mp4": content[:third] + bytes(third) + content[2 * third :],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"expected a video that PyAV can read, got .*{name}, which fails"):
            list(read_video(tmp_path / name))
    with pytest.raises(ValueError, match=r"expected a video file or a folder of images, got .*which does not exist"):
        read_video(tmp_path / "nowhere.mp4")


def test_images_of_more_than_eight_bits_are_refused(tmp_path, video):
    write_images(tmp_path / "frames", [np.linspace(0, 65_535, 48 * 48).reshape(48, 48).astype(np.uint16)] * 2)
    with pytest.raises(ValueError, match=r"expected images of 8 bits per channel, got .*0\.png of Pillow's mode I;16"):
        list(read_video(tmp_path / "frames"))


def test_an_episode_store_is_no_folder_of_images(tmp_path):
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(ValueError, match=r"got the episode store .*; label it with `flam-train label"):
        read_video(tmp_path)


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(ValueError, match=r"expected images \(\.bmp, .* got none; name another one"):
        read_video(tmp_path)


def test_a_folder_of_images_that_are_no_video_says_so(tmp_path, video):
    write_images(tmp_path / "frames", video[:3])
    imageio.imwrite(tmp_path / "frames" / "3.png", video[3, :40])
    with pytest.raises(ValueError, match=r"expected images of 48 x 48 as .*0\.png, got .*3\.png of 40 x 48; bring all"):
        list(read_video(tmp_path / "frames"))
    (tmp_path / "frames" / "2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"expected an image, got .*2\.png, which cannot be read"):
        list(read_video(tmp_path / "frames"))


def test_a_video_of_one_image_is_none(tmp_path, video, tiny_world):
    write_images(tmp_path / "frames", video[:1])
    with pytest.raises(ValueError, match="expected a video of 2 or more frames, got 1"):
        Labeller(tiny_world).label(tmp_path / "frames")


@pytest.mark.parametrize(("missing", "name"), [("av", "clip.mp4"), ("PIL", "")])
def test_a_missing_package_is_named_with_its_pip_line(tmp_path, monkeypatch, missing, name):
    (tmp_path / "clip.mp4").write_bytes(b"")
    real = builtins.__import__

    def refuse(name, *arguments, **named):
        if name == missing:
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[video\]'"):
        read_video(tmp_path / name)
