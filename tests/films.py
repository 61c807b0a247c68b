"""Films as people have them, small: a square that wanders over a still ground, in files of any kind."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 48, 64


def film(seed: int, frames: int = 20, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) that no film of another seed shares."""
    random = np.random.default_rng(seed)
    ground = np.kron(random.integers(40, 216, (-(-height // 8), -(-width // 8), 3)), np.ones((8, 8, 1)))
    shown = np.repeat(ground[None, :height, :width].astype(np.uint8), frames, 0)
    top = int(random.integers(0, height - 12))
    for t, frame in enumerate(shown):
        left = 2 * t % (width - 12)
        frame[top : top + 12, left : left + 12] = (250, 20, 20)
    return shown


def write_film(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    *,
    rate: int | Fraction = 15,
    pixels: str = "yuv420p",
    milliseconds: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    turned: float | None = None,
) -> Path:
    """Writes a video file.

    Args:
        path: its ending says in which container.
        frames: uint8 (T, H, W, 3).
        codec: of FFmpeg.
        rate: frames a second.
        pixels: how the codec keeps colours.
        milliseconds: when each frame is shown, by default `rate` a second.
        aspect: how many times as wide as high a pixel is.
        turned: degrees by which a player turns it.
    """
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turned is not None:
            stream.set_display_rotation(turned)
        if milliseconds is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame)
            if milliseconds is not None:
                picture.pts, picture.time_base = milliseconds[i], Fraction(1, 1000)
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return path


def write_images(folder: Path, frames: np.ndarray, name: str = "{}.png") -> Path:
    """Writes a folder of images."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(i))
    return folder


def rewrap(path: Path, out: Path) -> Path:
    """The pictures of a video as they are, in another container."""
    import av

    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return out


def sprites(seed: int, frames: int = 48, size: int = 64, count: int = 3) -> np.ndarray:
    """Discs that move about freely over a dark ground, bouncing off its edges: frames uint8 (T, size, size, 3)."""
    random = np.random.default_rng(seed)
    place, speed = random.uniform(8, size - 8, (count, 2)), random.uniform(-2.5, 2.5, (count, 2))
    colours = np.array([(240, 90, 60), (70, 200, 90), (80, 120, 250), (230, 210, 60)])[:count]
    rows, columns = np.mgrid[:size, :size]
    shown = np.full((frames, size, size, 3), (20, 24, 32), np.uint8)
    for frame in shown:
        for (y, x), colour in zip(place, colours, strict=True):
            frame[(rows - y) ** 2 + (columns - x) ** 2 < 25] = colour
        turned = random.random((count, 1)) < 0.1
        speed = np.where(turned, random.uniform(-2.5, 2.5, (count, 2)), speed)
        speed = np.where((place + speed < 6) | (place + speed > size - 6), -speed, speed)
        place = place + speed
    return shown
