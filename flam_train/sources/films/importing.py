"""`flam-train import`: films of any kind become a store of episodes, each in one split; the broken ones are named."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flam_env.video.frames import Fit
from flam_env.video.rates import check_rate
from flam_env.worlds.writing import is_vacant, sweep
from flam_train.engine.locks import folder_lock
from flam_train.engine.processes import available_cores
from flam_train.sources.films.cuts import DETECT, Cuts, read_cuts
from flam_train.sources.films.episodes import FilmImport, FilmRecord, read_records, settle, write_record
from flam_train.sources.films.finding import find_films
from flam_train.sources.films.known_actions import Kind
from flam_train.sources.films.planning import Plan, Probed, kind_of, plan_import, probe_films
from flam_train.sources.films.preview import preview
from flam_train.sources.films.splits import read_splits
from flam_train.sources.films.work import work_off
from flam_train.store.episode import import_h5py
from flam_train.store.header import FIT, read_header
from flam_train.store.rates import SETTING
from flam_train.store.store import EpisodeStore

IMPORTING = ".importing"
"""The lock of a store into which films are imported."""

SIZES = (64, 128, 224)
SOURCE = "video"
KNOWN = "known_actions"
"""Among the settings of a store: what is known of actions in its films."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What came of an import.

    Attributes:
        store: None where there was nothing to put into one.
        records: of all films that it holds, those of before too.
        new: how many of them are new.
        copies: films that are copies of others, which they are.
        refused: why films were left out, by what they are called.
        report: the lines of the preview.
    """

    store: EpisodeStore | None = None
    records: tuple[FilmRecord, ...] = ()
    new: int = 0
    copies: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    report: tuple[str, ...] = ()


def import_(
    path: tuple[Path, ...],
    *,
    out: Path,
    size: int = 64,
    fps: float | None = None,
    fit: Fit = "crop",
    cuts: str = DETECT,
    splits: Path | None = None,
    actions: Kind = "auto",
    action_offset: int = 0,
    strict: bool = False,
    workers: int = 0,
) -> Imported:
    """Makes a store of films: video files, folders of images, frames of NumPy, Minari datasets, folders of all these.

    Films come as a player shows them: upright, in their colours, at their times. Each lies whole in one split, 80/10/10
    by length, and copies of one are one; its scenes are episodes. Run it again to resume or to extend: films that the
    store holds stay where they are. What cannot be read is left out and named at the end. `OUT/preview.png` and
    `OUT/preview.txt` show what is there before anybody trains on it.

    What was done at each frame, where that is known, lies beside a film: `clip.actions.csv` or `clip.actions.npy` for
    `clip.mp4`, one row for each of its frames, the number of a choice or real numbers; a cell is empty where nobody
    knows.

    Args:
        path: files and folders.
        out: folder of the store.
        size: height and width of the frames in pixels: 64, 128 or 224.
        fps: frames a second to which films are brought; by default what most of them have. Images and arrays, which
            have no times, count as having it.
        fit: how frames become square: crop keeps the middle, pad all between black bars, stretch all in another aspect.
        cuts: detect finds where scenes are cut, none leaves films whole; or the frames of one film with which another
            scene begins, as 120,345, or a table of CSV: a film and such frames in each row.
        splits: a table of CSV: a film and its split, train, val or test, in each row; others are split by length.
        actions: discrete or continuous, what the tables beside films hold; auto tells by the numbers, none reads none.
        action_offset: the frame of a film to which the first row of its table belongs.
        strict: end with the first film that cannot be read.
        workers: processes; 0 for one per core.

    Raises:
        ValueError: an argument is out of range or names no film, the folder holds something else or was made with other
            settings, another process imports into it, or, if strict, a film cannot be read.
        ImportError: an optional package is missing.
        ChildProcessError: a worker process was killed; run it again to resume.
    """
    if size not in SIZES or workers < 0:
        raise ValueError(f"expected a size of {', '.join(map(str, SIZES))} and workers >= 0, got {size} and {workers}")
    import_h5py()
    films, refused = find_films(path)
    said = read_cuts(cuts, films)
    wanted = {} if splits is None else read_splits(splits, films)
    _stop_if(strict, refused)
    probed, more = probe_films(films, actions)
    refused |= more
    _stop_if(strict, refused)
    if not probed:
        return Imported(refused=refused)
    fresh = is_vacant(out)
    settings = _settings(probed, {} if fresh else read_header(out)["settings"], fps, fit, said)
    with _cleared_if_empty(out, fresh), folder_lock(out, name=IMPORTING):
        store = EpisodeStore.create(out, source=SOURCE, size=size, settings=settings)
        before = read_records(out)
        settle(store, before.values())  # what a process that was killed did not move any more
        plan = plan_import(probed, before, wanted, said, settings.get(KNOWN))
        _stop_if(strict, plan.refused)
        given: dict[str, Any] = {"store": store, "fit": fit, "cuts": said, "offset": action_offset}
        jobs = [FilmImport(probed=each, split=split, **given) for each, split in plan.wanted]
        done, failed = work_off(jobs, workers or available_cores(), strict)
        if failed:
            _split_again(store, plan, done)
        return _outcome(store, len(done), plan.copies, refused | plan.refused | failed)


def _outcome(store: EpisodeStore, new: int, copies: dict[str, str], refused: dict[str, str]) -> Imported:
    """What came of it, with a preview of all that the store holds now."""
    records = tuple(read_records(store.root).values())
    if not records:
        return Imported(copies=copies, refused=refused)
    report = preview(store, records, copies, refused)
    return Imported(store=store, records=records, new=new, copies=copies, refused=refused, report=report)


@contextlib.contextmanager
def _cleared_if_empty(out: Path, fresh: bool) -> Iterator[None]:
    """Takes a new store away again if nothing came into it."""
    try:
        yield
    finally:
        if fresh and out.is_dir() and not any(out.rglob("*.h5")):
            sweep(out)
            (out / "store.json").unlink(missing_ok=True)
            for folder in (*sorted(filter(Path.is_dir, out.iterdir())), out):
                with contextlib.suppress(OSError):  # something else lies there
                    folder.rmdir()


def _stop_if(strict: bool, refused: Mapping[str, str]) -> None:
    """Raises the first of the reasons if nothing is to be left out."""
    if strict and refused:
        raise ValueError(next(iter(refused.values())))


def _settings(
    probed: Sequence[Probed], held: Mapping[str, Any], fps: float | None, fit: Fit, cuts: Cuts
) -> dict[str, Any]:
    """All that decides what the episodes of a store contain; what it has stays unless something else is asked for."""
    settings: dict[str, Any] = {FIT: fit, "cuts": cuts.how}
    rate = check_rate(fps) if fps is not None else held.get(SETTING) or _usual_rate(probed)
    if rate is not None:
        settings[SETTING] = round(rate, 3)
    kinds = [kind_of(each.known) for each in probed if each.known is not None]
    if kind := held.get(KNOWN) if held else next(iter(kinds), None):
        settings[KNOWN] = kind
    return settings


def _usual_rate(probed: Sequence[Probed]) -> float | None:
    """Frames a second that most of the films have, by length; None where nobody knows any."""
    lengths = dict[float, float]()
    for each in probed:
        if each.rate is not None:
            rate = round(each.rate, 3)
            lengths[rate] = lengths.get(rate, 0) + max(1.0, each.length)
    return max(lengths, key=lambda rate: (lengths[rate], -rate)) if lengths else None


def _split_again(store: EpisodeStore, plan: Plan, done: Sequence[FilmRecord]) -> None:
    """Puts new films where they would lie if those that are left out had not been there."""
    new = {record.content: record for record in done}
    splits = plan.split(each for each, _ in plan.wanted if each.content in new)
    for content, split in splits.items():
        if split != new[content].split:
            write_record(store, replace(new[content], split=split))
    settle(store, (replace(new[content], split=split) for content, split in splits.items()))
