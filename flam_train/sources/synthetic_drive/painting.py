"""Shapes on a picture, float32 (H, W, 3) in [0, 255], with soft edges, so that what moves less than a pixel is seen."""

import numpy as np

Colour = tuple[float, float, float]


def paint_box(picture: np.ndarray, left: float, right: float, top: float, bottom: float, colour: Colour) -> None:
    """Paints an upright box; pixels that it covers in part are mixed."""
    rows, down = _covered(top, bottom, picture.shape[0])
    columns, across = _covered(left, right, picture.shape[1])
    if len(down) and len(across):
        _mix(picture[rows, columns], down[:, None] * across, colour)


def paint_ellipse(picture: np.ndarray, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    """Paints an ellipse around (x, y), in pixels from the upper left."""
    rows, down = _covered(y - height / 2, y + height / 2, picture.shape[0])
    columns, across = _covered(x - width / 2, x + width / 2, picture.shape[1])
    if not (len(down) and len(across)):
        return
    v = (np.arange(rows.start, rows.stop) + 0.5 - y) / (height / 2)
    u = (np.arange(columns.start, columns.stop) + 0.5 - x) / (width / 2)
    inside = 1 - np.sqrt(v[:, None] ** 2 + u**2)
    cover = np.clip(inside * min(width, height) / 2 + 0.5, 0, 1) * down[:, None] * across
    _mix(picture[rows, columns], cover, colour)


def _covered(first: float, last: float, size: int) -> tuple[slice, np.ndarray]:
    """Which pixels of a row lie in [first, last], and the share of each that does."""
    begin, end = max(int(np.floor(first)), 0), min(int(np.ceil(last)), size)
    pixels = np.arange(begin, max(begin, end))
    return slice(begin, max(begin, end)), np.minimum(pixels + 1, last) - np.maximum(pixels, first)


def _mix(part: np.ndarray, cover: np.ndarray, colour: Colour) -> None:
    part += cover[..., None] * (np.array(colour, np.float32) - part)
