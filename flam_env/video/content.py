"""Which film a video file is: a hash of its encoded pictures, the same whatever they are wrapped in."""

import hashlib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from flam_env.video.decoding import import_av, moving_pictures, unreadable

PICTURES = {"h264": (lambda head: head & 31, range(1, 6)), "hevc": (lambda head: head >> 1 & 63, range(32))}
"""How the first byte of a unit tells its kind, and which kinds are pictures: H.264, table 7-1; H.265, table 7-1."""

LENGTHS = {"h264": 4, "hevc": 21}
"""The byte of the header whose last two bits tell in how many bytes, less one, the length of a unit is given."""

_START = re.compile(rb"\x00\x00\x01")


def content_hash(path: Path) -> bytes:
    """SHA-256 of the encoded pictures of a video file: the same whatever container, titles and sound they come with.

    Containers cut the stream of H.264 and H.265 into units in two ways, and repeat its settings as they like; so of
    these only the units count that are pictures.

    Raises:
        ValueError: it is no video.
        ImportError: PyAV is missing or too old.
    """
    av, digest = import_av(), hashlib.sha256()
    try:
        with av.open(f"file:{path}") as container:
            stream = moving_pictures(container, path)
            for packet in container.demux(stream):
                for part in _parts(bytes(packet), stream.codec_context):
                    digest.update(part)
    except (OSError, av.FFmpegError) as error:
        raise unreadable(path, error, 0) from error
    return digest.digest()


def _parts(packet: bytes, codec: Any) -> Iterator[bytes]:
    """What of a packet is pictures."""
    if codec.name not in PICTURES:
        yield packet
        return
    kind, pictures = PICTURES[codec.name]
    header = codec.extradata or b""
    at = LENGTHS[codec.name]
    units = _measured(packet, (header[at] & 3) + 1) if header[:1] == b"\x01" and len(header) > at else _marked(packet)
    for unit in units:
        if unit and kind(unit[0]) in pictures:
            yield unit.rstrip(b"\x00")


def _measured(packet: bytes, width: int) -> Iterator[bytes]:
    """Units that follow their length, a number of so many bytes."""
    at = 0
    while at + width <= len(packet):
        start = at + width
        at = start + int.from_bytes(packet[at:start], "big")
        yield packet[start:at]


def _marked(packet: bytes) -> Iterator[bytes]:
    """Units that follow a mark."""
    starts = [found.end() for found in _START.finditer(packet)]
    for start, after in pairwise([*starts, len(packet) + 3]):
        yield packet[start : after - 3]
