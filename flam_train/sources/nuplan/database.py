"""What the database of a log says of the images of a camera; read only, and never the columns that hold pickles."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
"""Columns of a pose: metres in the frame of the map, and the quaternion that turns the car's frame into that one."""

IMAGES = f"""
SELECT image.token, image.timestamp, image.filename_jpg, {", ".join(f"ego_pose.{column}" for column in POSE)}
FROM image JOIN camera ON camera.token = image.camera_token
LEFT JOIN ego_pose ON ego_pose.token = image.ego_pose_token
WHERE camera.channel = ? ORDER BY image.timestamp, image.token
"""
CHANNELS = "SELECT DISTINCT channel FROM camera ORDER BY channel"


class LoggedImage(NamedTuple):
    """One image of a camera.

    token: what tells it from all others; timestamp: in microseconds; name: path below the sensor root; pose: as `POSE`
    has it, None for what nobody knows.
    """

    token: bytes
    timestamp: int
    name: str
    pose: tuple[float | None, ...]


def logged_images(log: Path, camera: str) -> list[LoggedImage]:
    """The images that a log lists of a camera, whether they are there or not, by time.

    Raises:
        ValueError: it is no such database, is damaged, or lists none.
    """
    with _opened(log) as database:
        found = [_image(log, row) for row in database.execute(IMAGES, (camera,))]
        channels = [str(channel) for (channel,) in database.execute(CHANNELS)]
    if not found:
        there = f"cameras {', '.join(channels)}" if channels else "no camera"
        raise ValueError(f"expected images of {camera} in {log}, got none of them ({there}); name another log")
    return found


def _image(log: Path, row: tuple[object, ...]) -> LoggedImage:
    token, timestamp, name, *pose = row
    if not isinstance(token, bytes) or not isinstance(timestamp, int) or not isinstance(name, str):
        raise ValueError(
            f"expected a token, microseconds and a path of each image in {log}, got {token!r}, {timestamp!r} and "
            f"{name!r}; copy it again"
        )
    if not all(value is None or isinstance(value, int | float) for value in pose):
        raise ValueError(f"expected a pose of numbers for {name} in {log}, got {pose}; copy it again")
    return LoggedImage(token, timestamp, name, tuple(pose))  # type: ignore[arg-type]


@contextmanager
def _opened(log: Path) -> Iterator[sqlite3.Connection]:
    """A database, read only; what SQLite says of it becomes a word about the log."""
    if not log.is_file():
        raise ValueError(f"expected the database of a log, got {log}, which is no file; name a .db of nuPlan")
    try:
        with closing(sqlite3.connect(f"{log.resolve().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise ValueError(
            f"expected the database of a log of nuPlan, got {log} ({error}); copy it again, or name another one"
        ) from error
