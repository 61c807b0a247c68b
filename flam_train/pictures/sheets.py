"""Pictures that a person looks at: mask overlays, contact sheets, videos."""

import colorsys
from pathlib import Path

import numpy as np
import torch

from flam_env.dream.dream import slot_owners
from flam_env.worlds.writing import write_atomically

try:
    import av  # noqa: F401  (imageio writes videos with it)
    import imageio.v3 as imageio
    from PIL import Image, ImageDraw
except ImportError as error:
    raise ImportError("pictures and videos need imageio and PyAV: pip install 'flam-env[video]'") from error

LABEL_HEIGHT = 14


def slot_colours(slots: int) -> np.ndarray:
    """One saturated colour for each slot, as far apart in hue as the golden ratio puts them: uint8 (K, 3)."""
    hues = [(i * 0.618) % 1 for i in range(slots)]
    return (255 * np.array([colorsys.hsv_to_rgb(hue, 0.85, 1.0) for hue in hues])).astype(np.uint8)


def overlay_masks(frames: np.ndarray, masks: np.ndarray, strength: float = 0.45) -> np.ndarray:
    """Frames tinted with the colour of the slot that owns each pixel; those of a background sink stay as they are.

    Args:
        frames: uint8 (T, H, W, 3).
        masks: float (T, K, H, W), the shares of slots at each pixel, and a background sink's what is missing to 1.
        strength: 0 leaves the frame, 1 leaves only the colours.
    """
    owners = slot_owners(torch.from_numpy(masks)).numpy()
    tinted = frames * (1 - strength) + slot_colours(masks.shape[1])[owners] * strength
    return np.where(owners[..., None] < 0, frames, tinted).astype(np.uint8)


def contact_sheet(rows: dict[str, np.ndarray], scale: int = 2, gap: int = 2) -> np.ndarray:
    """Labelled rows of frames, uint8 (T, H, W, 3) each, shorter rows padded with black -> uint8 (H', W', 3)."""
    longest = max(len(frames) for frames in rows.values())
    _, height, width, _ = next(iter(rows.values())).shape
    step_x, step_y = scale * width + gap, scale * height + gap + LABEL_HEIGHT
    sheet = Image.new("RGB", (longest * step_x, len(rows) * step_y), (40, 40, 40))
    pen = ImageDraw.Draw(sheet)
    for y, (label, frames) in enumerate(rows.items()):
        pen.text((3, y * step_y + 1), label, fill=(230, 230, 230))
        for x, frame in enumerate(frames):
            big = Image.fromarray(frame).resize((scale * width, scale * height), Image.Resampling.NEAREST)
            sheet.paste(big, (x * step_x, y * step_y + LABEL_HEIGHT))
    return np.asarray(sheet)


def side_by_side(rows: dict[str, np.ndarray], scale: int = 4) -> np.ndarray:
    """The rows as one video, next to each other and labelled: uint8 (T, H', W', 3), sides even for video codecs."""
    length = min(len(frames) for frames in rows.values())
    return np.stack([_columns({k: v[i] for k, v in rows.items()}, scale) for i in range(length)])


def _columns(frames: dict[str, np.ndarray], scale: int) -> np.ndarray:
    sheets = [contact_sheet({label: frame[None]}, scale) for label, frame in frames.items()]
    image = np.concatenate(sheets, axis=1)
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes an image, uint8 (H, W, 3)."""
    write_atomically(path, imageio.imwrite("<bytes>", image, extension=".png"))


def write_mp4(path: Path, frames: np.ndarray, frames_per_second: float) -> None:
    """Writes a video that browsers play (H.264), uint8 (T, H, W, 3) with even sides."""
    content = imageio.imwrite(
        "<bytes>", frames, extension=".mp4", plugin="pyav", codec="libx264", fps=frames_per_second
    )
    write_atomically(path, content)


def write_gif(path: Path, frames: np.ndarray, frames_per_second: float) -> None:
    """Writes a GIF that plays for ever, uint8 (T, H, W, 3)."""
    content = imageio.imwrite("<bytes>", frames, extension=".gif", duration=1000 / frames_per_second, loop=0)
    write_atomically(path, content)
