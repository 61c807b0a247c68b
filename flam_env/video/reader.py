"""Videos as users have them: arrays, files, folders of images, or whatever yields frames.

Files and folders are read frame by frame, so memory does not grow with their length.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from flam_env.video.arrays import is_array, open_videos, read_array
from flam_env.video.decoding import TimedFrame, file_frames, file_rate, import_av, read_file
from flam_env.video.frames import channel_advice
from flam_env.video.images import import_pillow, list_images, read_images
from flam_env.video.rates import check_rate, resample

Video = np.ndarray | str | os.PathLike | Iterable[np.ndarray]
"""uint8 frames (T, H, W, 3) or a batch of videos (B, T, H, W, 3), a file or folder, or frames one by one."""


def read_video(path: str | os.PathLike, fps: float | None = None) -> Iterator[np.ndarray]:
    """The frames of a video file, a folder of images or a file of NumPy, one by one: uint8 (H, W, 3), upright.

    Images come sorted by name, numbers in names by their value; other files in the folder are left out.

    Args:
        path: of the file or folder. Of NumPy it is `.npy` or `.npz` with frames uint8 (T, H, W, 3).
        fps: brings a video file to so many frames a second: what a player shows at these times. By default every frame
            comes as it is.

    Raises:
        ValueError: there is no such file, or it is no video (while reading: it is damaged, or breaks off); a folder
            holds no images, videos beside them, images that cannot be read, or images of different sizes or of more
            than 8 bits per channel; frames of NumPy are none; or `fps` is no rate, or given for a folder or for NumPy,
            of which nobody knows their own.
        ImportError: PyAV or Pillow is not installed.
    """
    path = check_path(path)
    if path.is_dir() and fps is None:
        import_pillow()
        return read_images(list_images(path))
    if is_array(path) and fps is None:
        return read_array(path)
    timed = read_timed(path)
    return (each.frame for each in (timed if fps is None else resample(timed, check_rate(fps))))


def read_timed(path: str | os.PathLike) -> Iterator[TimedFrame]:
    """The frames of a video file one by one, with their times; what `read_video` and `resample` are made of.

    Raises:
        ValueError: as for `read_video`, or it is a folder or of NumPy, of which nobody knows the rate.
        ImportError: PyAV is not installed.
    """
    path = check_path(path)
    if path.is_dir() or is_array(path):
        kind = "folder" if path.is_dir() else "frames of NumPy in"
        raise ValueError(
            f"expected a video file to bring to another fps, got the {kind} {path}, whose own rate nobody knows; leave "
            "fps out, and images that are too many"
        )
    import_av()
    return read_file(path)


def video_rate(path: str | os.PathLike) -> float | None:
    """Frames a second of a video file on average, None where nobody knows, as of a folder of images or of NumPy.

    Raises:
        ValueError: there is no such file or folder, or it is no video.
        ImportError: PyAV is not installed.
    """
    path = check_path(path)
    return None if path.is_dir() or is_array(path) else file_rate(path)


def video_length(path: str | os.PathLike) -> float:
    """About how many frames a video has, 0 where nobody knows before it is read.

    Raises:
        ValueError: there is no such file or folder, or it is no video.
        ImportError: PyAV is not installed.
    """
    path = check_path(path)
    if path.is_dir():
        return len(list_images(path))
    return len(open_videos(path)) if is_array(path) else file_frames(path)


def check_path(path: str | os.PathLike) -> Path:
    """The path of what can be read again and again: a file, or a folder that is no store of episodes.

    Raises:
        ValueError: it is neither; the message says what it is.
    """
    path = Path(path)
    expected = "expected a video file or a folder of images, got"
    if (path / "store.json").is_file():
        raise ValueError(f"{expected} the episode store {path}; label it with `flam-train label {path}`")
    if path.is_dir() or path.is_file():
        return path
    if path.exists():
        raise ValueError(f"{expected} {path}, which is a pipe or a device; write what comes out of it to a file first")
    if path.is_symlink():
        raise ValueError(f"{expected} {path}, a link to {path.readlink()}, which does not exist")
    raise ValueError(f"{expected} {path}, which does not exist")


def open_video(video: Video, fps: float | None = None) -> np.ndarray | Iterator[np.ndarray]:
    """An array (T, H, W, 3) or (B, T, H, W, 3) as it is, anything else as an iterator of frames (H, W, 3).

    Raises:
        ValueError: it is none of these, `fps` is given for something other than a file, or as for `read_video`.
        ImportError: as for `read_video`.
    """
    if isinstance(video, str | os.PathLike):
        return read_video(video, fps)
    if fps is not None:
        raise ValueError(
            "expected the path of a video file to bring to another fps, got frames, whose own rate nobody knows; give "
            "every n-th of them, or the path"
        )
    if isinstance(video, Iterable) and not hasattr(video, "__array__") and not isinstance(video, list | tuple):
        return iter(video)
    try:
        frames = np.asarray(video)
    except ValueError as error:
        raise ValueError(f"expected frames of one size, or videos of one size and length, got {error}") from error
    if frames.ndim not in (4, 5) or 0 in frames.shape[:-4]:
        kinds = "frames (T, H, W, 3), a batch of videos (B, T, H, W, 3), a path, or an iterator of frames (H, W, 3)"
        found = f"shape {frames.shape}" if frames.ndim else repr(video)
        advice = channel_advice(frames.shape) if frames.ndim > 1 else ""
        raise ValueError(f"expected {kinds}, got {found}; {advice or 'give one of these'}")
    return frames


def frame_pieces(
    video: np.ndarray | Iterator[np.ndarray], length: int, fit: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    """What `open_video` returns in pieces (t, H, W, 3) or (B, t, H, W, 3) of about `length` frames, each fitted."""
    if isinstance(video, np.ndarray):
        videos = video.shape[0] if video.ndim == 5 else 1
        step = max(1, length // videos)
        for first in range(0, video.shape[-4], step):
            yield fit(video[..., first : first + step, :, :, :])
    else:
        while piece := [fit(_check_frame(frame)) for frame in islice(video, length)]:
            yield np.stack(piece)


def _check_frame(frame: np.ndarray) -> np.ndarray:
    if np.ndim(frame) != 3:
        advice = channel_advice(np.shape(frame)) or "give them one by one"
        raise ValueError(f"expected an iterator of frames (H, W, 3), got one of shape {np.shape(frame)}; {advice}")
    return frame
