"""Arrays as xz streams, which are read back at the size that was asked for or not at all."""

import lzma
import math

import numpy as np
import torch
from torch import Tensor

MOST_BYTES = 2**32
"""Arrays are no larger, whatever a file says."""
LARGEST_WINDOW = 2**27  # bytes that a stream may refer back to; preset 9 needs 2**26
PRESET = 9


def compress(array: np.ndarray, *, columns: bool = False) -> Tensor:
    """An array as a stream, uint8 (B,).

    Args:
        array: of numbers.
        columns: values that differ in the first axis alone lie together: what hardly changes over time gets smaller.

    Raises:
        ValueError: the array is too large.
    """
    check_size(array.shape, array.dtype, "the array")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    content = np.ascontiguousarray(np.moveaxis(little, 0, -1) if columns else little).tobytes()
    return torch.frombuffer(bytearray(lzma.compress(content, preset=PRESET)), dtype=torch.uint8)


def decompress(
    stream: Tensor, shape: tuple[int, ...], dtype: np.dtype | type, origin: object, *, columns: bool = False
) -> np.ndarray:
    """The array of a stream that `compress` made of one of this shape and dtype.

    No more memory is taken than such an array needs, whatever the stream holds.

    Raises:
        ValueError: the stream is damaged or of another size, or the array would be too large; the message names where
            the stream came from.
    """
    dtype = np.dtype(dtype)
    size = check_size(shape, dtype, origin)
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LARGEST_WINDOW)
    try:
        content = decoder.decompress(stream.numpy().tobytes(), max_length=size + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"{origin}: expected a whole xz stream, got a damaged one ({error}); copy it again") from error
    if len(content) != size or not decoder.eof or decoder.unused_data:
        found = f"more than {size}" if len(content) > size else f"{len(content)}, or bytes after it,"
        raise ValueError(f"{origin}: expected an xz stream of {size} bytes, got {found}; copy it again")
    flat = np.frombuffer(content, dtype.newbyteorder("<"))
    if not columns:
        return flat.reshape(shape).astype(dtype)
    return np.moveaxis(flat.reshape(*shape[1:], shape[0]), -1, 0).astype(dtype, order="C")


def check_size(shape: tuple[int, ...], dtype: np.dtype | type, origin: object) -> int:
    """Bytes of an array.

    Raises:
        ValueError: it would be too large.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > MOST_BYTES:
        raise ValueError(
            f"{origin}: expected at most {MOST_BYTES} bytes, got {np.dtype(dtype)} {shape} of {size}; "
            "take fewer frames, or smaller ones"
        )
    return size
