"""`flam-train import nuplan`: what a camera saw in logs of nuPlan becomes a store, each log in one split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from flam_env.video.frames import Fit
from flam_env.video.images import import_pillow
from flam_train.sources.films.cuts import Cuts
from flam_train.sources.films.importing import Imported, Manner, check_size, import_films
from flam_train.sources.films.splits import read_splits
from flam_train.sources.nuplan.log_film import LogFilm
from flam_train.sources.nuplan.scenarios import import_scenario_query, scenario_spans
from flam_train.sources.nuplan.sensor_root import SensorRoot
from flam_train.store.episode import import_h5py

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("importing needs tqdm: pip install 'flam-env[train]'") from error

SOURCE, GAPS = "nuplan", "gaps"
DATABASE = ".db"

Camera = Literal["CAM_F0", "CAM_B0", "CAM_L0", "CAM_L1", "CAM_L2", "CAM_R0", "CAM_R1", "CAM_R2"]


def import_nuplan(
    *,
    logs: tuple[Path, ...],
    sensor_root: Path,
    out: Path,
    size: int = 224,
    fit: Fit = "stretch",
    camera: Camera = "CAM_F0",
    scenario_types: tuple[str, ...] = (),
    splits: Path | None = None,
    strict: bool = False,
    workers: int = 0,
) -> Imported:
    """Makes a store of what a camera saw in logs of nuPlan, from their databases and the images below a folder.

    Each log lies whole in one split, 80/10/10 by length. Images that are missing are skipped and counted; where two lie
    more than 150 ms apart, another episode begins. How the car moved from each frame to the next, forward and to the
    left in metres and to the left in radians, becomes the episodes' continuous actions. Databases are opened read-only,
    and no image outside the folder is. Run it again to resume, or to add logs; a log comes whole or not at all.

    Args:
        logs: databases, as 2021.05.12.22.00.38_veh-35_01008_01518.db, or folders of them.
        sensor_root: the folder with LOG/CAM_F0/TOKEN.jpg, nuPlan's sensor_blobs.
        out: folder of the store.
        size: height and width of the frames in pixels: 64, 128 or 224.
        fit: how frames become square: crop keeps the middle, pad all between black bars, stretch all in another aspect.
        camera: which; CAM_F0 looks ahead.
        scenario_types: only what lies in scenarios of these types, such as changing_lane; needs nuplan-devkit.
        splits: a table of CSV: a log and its split, train, val or test, in each row; others are split by length.
        strict: end with the first log that is left out.
        workers: processes; 0 for one per core.

    Raises:
        ValueError: an argument is out of range or names no folder or log, the store was made with other settings,
            another process imports into it, or, if strict, a log cannot be read.
        ImportError: an optional package is missing.
        ChildProcessError: a worker process was killed; run it again to resume.
    """
    check_size(size, workers)
    import_h5py()
    import_pillow()
    root = SensorRoot(sensor_root)
    root.check()
    films, refused = _find_logs(logs, LogFilm(Path(), root, camera, size))
    if scenario_types:
        films, refused = _with_scenarios(films, refused, scenario_types)
    manner = Manner(
        source=SOURCE,
        size=size,
        fit=fit,
        cuts=Cuts(GAPS),
        splits={} if splits is None else read_splits(splits, films),
        settings={"camera": camera, "scenario_types": sorted(scenario_types)},
        strict=strict,
        workers=workers,
    )
    return import_films(films, refused, out, manner)


def _find_logs(paths: Iterable[Path], film: LogFilm) -> tuple[list[LogFilm], dict[str, str]]:
    """The logs at these paths, each once, like one film of such a log; and why others are none, by path."""
    found, refused = dict[Path, None](), dict[str, str]()
    for path in paths:
        below = sorted(path.rglob(f"*{DATABASE}")) if path.is_dir() else [path]
        found |= dict.fromkeys(below)
        if not below:
            refused[str(path)] = f"expected logs ({DATABASE}) in the folder {path}, got none; name another one"
    return [replace(film, log=log) for log in found], refused


def _with_scenarios(
    films: Sequence[LogFilm], refused: Mapping[str, str], types: Sequence[str]
) -> tuple[list[LogFilm], dict[str, str]]:
    """Films of what of these lies in scenarios of some types, and why others are left out, those of before too."""
    import_scenario_query()
    found, refused = list[LogFilm](), dict(refused)
    for film in tqdm(films, desc="scenarios", unit=" logs", disable=None, leave=False):
        try:
            found.append(replace(film, spans=scenario_spans(film.log, types)))
        except ValueError as error:
            refused[film.origin] = str(error)
    return found, refused
