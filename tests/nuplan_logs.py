"""Logs as nuPlan has them, small: a database with all its tables, and the images of two cameras that lie beside it."""

import math
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from films import film

START = 1_620_858_198_100_000
STEP = 100_000
"""Microseconds between two images of a camera; a lidar is twice as fast."""
SCENE = 10
"""Images of a scene."""

TABLES = {
    "log": "vehicle_name VARCHAR(64), date VARCHAR(64), timestamp INTEGER, logfile VARCHAR(64), location VARCHAR(64), "
    "map_version VARCHAR(64)",
    "camera": "log_token BLOB NOT NULL, channel VARCHAR(64), model VARCHAR(64), translation BLOB, rotation BLOB, "
    "intrinsic BLOB, distortion BLOB, width INTEGER, height INTEGER",
    "lidar": "log_token BLOB NOT NULL, channel VARCHAR(64), model VARCHAR(64), translation BLOB, rotation BLOB",
    "ego_pose": "timestamp INTEGER, x FLOAT, y FLOAT, z FLOAT, qw FLOAT, qx FLOAT, qy FLOAT, qz FLOAT, vx FLOAT, "
    "vy FLOAT, vz FLOAT, acceleration_x FLOAT, acceleration_y FLOAT, acceleration_z FLOAT, angular_rate_x FLOAT, "
    "angular_rate_y FLOAT, angular_rate_z FLOAT, epsg INTEGER, log_token BLOB NOT NULL",
    "image": "next_token BLOB, prev_token BLOB, ego_pose_token BLOB NOT NULL, camera_token BLOB NOT NULL, "
    "filename_jpg VARCHAR(128), timestamp INTEGER",
    "lidar_pc": "next_token BLOB, prev_token BLOB, ego_pose_token BLOB NOT NULL, lidar_token BLOB NOT NULL, "
    "scene_token BLOB, filename VARCHAR(128), timestamp INTEGER",
    "scene": "log_token BLOB NOT NULL, name TEXT, goal_ego_pose_token BLOB, roadblock_ids TEXT",
    "scenario_tag": "lidar_pc_token BLOB NOT NULL, type TEXT, agent_track_token BLOB",
    "category": "name VARCHAR(64), description TEXT",
    "track": "category_token BLOB NOT NULL, width FLOAT, length FLOAT, height FLOAT",
    "lidar_box": "lidar_pc_token BLOB NOT NULL, track_token BLOB NOT NULL, next_token BLOB, prev_token BLOB, x FLOAT, "
    "y FLOAT, z FLOAT, width FLOAT, length FLOAT, height FLOAT, vx FLOAT, vy FLOAT, vz FLOAT, yaw FLOAT, "
    "confidence FLOAT",
    "traffic_light_status": "lidar_pc_token BLOB NOT NULL, lane_connector_id INTEGER, status VARCHAR(8)",
}
"""Columns of each table but for its key, `token`, which is eight bytes."""


class Log(NamedTuple):
    """path: the database; root: the folder of images; frames: uint8 (T, H, W, 3), what CAM_F0 saw."""

    path: Path
    root: Path
    frames: np.ndarray

    def change(self, command: str, *values: object) -> None:
        """Does something else to the database."""
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute(command, values)

    def names(self) -> list[str]:
        """What the database calls the images of CAM_F0, by time."""
        query = "SELECT filename_jpg FROM image WHERE filename_jpg LIKE '%CAM_F0%' ORDER BY timestamp"
        with closing(sqlite3.connect(self.path)) as database:
            return [name for (name,) in database.execute(query)]


def write_log(
    folder: Path,
    seed: int,
    frames: int = 20,
    *,
    missing: Collection[int] = (),
    poses: Sequence[tuple[float, ...]] | None = None,
    tags: dict[int, str] | None = None,
) -> Log:
    """Writes a log into `folder`, and its images below `folder/sensor_blobs`.

    Args:
        folder: may hold others.
        seed: of what is seen; no other log has it.
        frames: of each camera.
        missing: images of CAM_F0 that the database lists and that are not there.
        poses: x, y, z, qw, qx, qy, qz of each image; by default the car goes on along an arc.
        tags: types of scenarios by the image at which they begin.
    """
    name = f"2021.05.12.22.00.{seed:02}_veh-35_{seed:05}_00100"
    tokens = (seed.to_bytes(2, "big") + number.to_bytes(6, "big") for number in range(1, 10**9))
    log, lidar, cameras = next(tokens), next(tokens), {channel: next(tokens) for channel in ("CAM_B0", "CAM_F0")}
    times = [START + t * STEP for t in range(frames)]
    scenes = [next(tokens) for _ in range(-(-frames // SCENE))]
    rows: dict[str, list[tuple]] = {table: [] for table in TABLES}
    rows["log"].append((log, "veh-35", "2021-05-12", START, name, "las_vegas", "us-nv-las-vegas-strip"))
    rows["lidar"].append((lidar, log, "MergedPointCloud", "v", b"no pickle", b"no pickle"))
    for channel, token in cameras.items():
        rows["camera"].append((token, log, channel, "v", *[b"no pickle"] * 4, 1920, 1080))
    shown = film(seed, frames, 72, 128)
    for t, time in enumerate(times):
        pose, goal = arc(t) if poses is None else poses[t], next(tokens)
        rows["ego_pose"].append((goal, time + 700, *pose, *[0.5] * 9, 32611, log))
        for channel, camera in cameras.items():
            token = next(tokens)
            file = f"{name}/{channel}/{token.hex()}.jpg"
            rows["image"].append((token, None, None, goal, camera, file, time))
            if channel != "CAM_F0" or t not in missing:
                _write_jpeg(folder / "sensor_blobs" / file, shown[t] if channel == "CAM_F0" else 255 - shown[t])
        for half in (0, STEP // 2):
            rows["lidar_pc"].append((next(tokens), None, None, goal, lidar, scenes[t // SCENE], "", time + half))
        if tags and t in tags:
            rows["scenario_tag"].append((next(tokens), rows["lidar_pc"][-2][0], tags[t], None))
    rows["scene"] += [(token, log, f"scene {i:03}", rows["ego_pose"][-1][0], "") for i, token in enumerate(scenes)]
    category, track, sweep = next(tokens), next(tokens), rows["lidar_pc"][0][0]
    rows["category"].append((category, "vehicle", "a car"))
    rows["track"].append((track, category, 2.0, 4.5, 1.6))
    rows["lidar_box"].append((next(tokens), sweep, track, None, None, *[1.0] * 11))
    rows["traffic_light_status"].append((next(tokens), sweep, 7, "red"))
    return Log(_write_database(folder / f"{name}.db", rows), folder / "sensor_blobs", shown)


def arc(t: int) -> tuple[float, ...]:
    """Where a car is after t steps of a metre on a circle to the left, 0.05 radians each, the first northwards."""
    heading, radius = math.pi / 2 + 0.05 * t, 1 / 0.05
    x, y = 1e5 + radius * (math.sin(heading) - 1), 4e6 - radius * math.cos(heading)
    return x, y, 600.0, math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)


def _write_jpeg(path: Path, frame: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path, quality=95, subsampling=0)


def _write_database(path: Path, rows: dict[str, list[tuple]]) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} (token BLOB NOT NULL, {columns}, PRIMARY KEY (token))")
            if rows[table]:
                marks = ", ".join("?" * len(rows[table][0]))
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows[table])
    return path
