"""Where films are cut: found by PySceneDetect, given by a person, or nowhere. PySceneDetect is imported here only."""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from flam_env.video.decoding import TimedFrame
from flam_train.sources.films.film import Film

DETECT, NONE, GIVEN = "detect", "none", "given"
SHORTEST = 0.6
"""Seconds between two cuts that are found, as PySceneDetect has it: what changes faster is a flash."""
UNKNOWN_RATE = 25.0
"""Frames a second of films of which nobody knows it, to tell flashes."""
WIDTH = 160
"""Columns of the pictures in which cuts are looked for, at most."""


class Cuts(NamedTuple):
    """How films are cut.

    how: "detect", "none" or "given"; given: by the film's origin the frames with which another scene begins, ascending.
    """

    how: str
    given: Mapping[str, tuple[int, ...]] = {}

    def scenes(self, film: Film) -> Iterator[Iterator[TimedFrame]]:
        """The frames of a film, scene by scene; each is to be read before the next.

        Raises:
            ValueError: while reading: as for `Film.read`.
            ImportError: PySceneDetect is missing.
        """
        breaks = {*self.given.get(film.origin, ()), *film.breaks()}
        frames = _read(film)
        marked = _found(frames, film.rate()) if self.how == DETECT else ((False, frame) for frame in frames)
        count = 0

        def numbered() -> Iterator[tuple[int, TimedFrame]]:
            nonlocal count
            for cut, frame in marked:
                count += cut or frame.number in breaks
                yield count, frame

        for _, scene in groupby(numbered(), key=itemgetter(0)):
            yield map(itemgetter(1), scene)


def _read(film: Film) -> Iterator[TimedFrame]:
    """The frames of a film; what the system says of it becomes a word about the film."""
    try:
        yield from film.read()
    except OSError as error:
        raise ValueError(f"expected a film that can be read, got {film.origin} ({error}); copy it again") from error


def read_cuts(said: str, films: Sequence[Film]) -> Cuts:
    """What a person says of cuts.

    Args:
        said: "detect", "none", the frames of one film with which another scene begins, as "120,345", or the path of a
            table of CSV: in each row the name of a film and such frames.
        films: which there are.

    Raises:
        ValueError: it is none of these, or names what is no film.
        ImportError: cuts are to be found, and PySceneDetect is missing.
    """
    if said == DETECT:
        import_scenedetect()
    if said in (DETECT, NONE):
        return Cuts(said)
    if all(part.strip().isdigit() for part in said.split(",")):
        if len(films) != 1:
            raise ValueError(f"expected one film to be cut at {said}, got {len(films)}; give a table with their names")
        return Cuts(GIVEN, {films[0].origin: _ascending(said.split(","), films[0].origin)})
    path = Path(said)
    if not path.is_file():
        raise ValueError(f"expected --cuts {DETECT}, {NONE}, frames as 120,345, or a table of CSV, got {said!r}")
    given = dict[str, tuple[int, ...]]()
    for film, (_, *frames) in rows_of_films(path, films):
        given[film.origin] = _ascending(frames, f"{film.origin} in {path}")
    return Cuts(GIVEN, given)


def rows_of_films(path: Path, films: Sequence[Film]) -> Iterator[tuple[Film, list[str]]]:
    """The rows of a table of CSV whose first cell names a film: by its path, or by its name where that is clear.

    Raises:
        ValueError: it cannot be read, or a row names no film, or several.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"expected a table of CSV in {path}, got something else ({error}); save it as UTF-8"
        ) from error
    for row in rows:
        named = [film for film in films if row[0] in _names(film)]
        exact = [film for film in named if row[0] == film.origin]
        if len(named) != 1 and len(exact) != 1:
            raise ValueError(f"expected the name of one film in each row of {path}, got {row[0]!r} of {len(named)}")
        yield (exact or named)[0], row


def _names(film: Film) -> set[str]:
    path = Path(film.origin)
    return {film.origin, path.name, path.stem, str(path.absolute())}


def _ascending(cells: Iterable[str], of: str) -> tuple[int, ...]:
    cells = [cell.strip() for cell in cells if cell.strip()]
    if not all(cell.isdigit() for cell in cells) or (cuts := [int(cell) for cell in cells]) != sorted({*cuts}):
        raise ValueError(f"expected the frames, ascending, with which scenes of {of} begin, got {','.join(cells)}")
    return tuple(cut for cut in cuts if cut)


def _found(frames: Iterable[TimedFrame], rate: float | None) -> Iterator[tuple[bool, TimedFrame]]:
    """Frames, and whether another scene begins with each; a few are held until that is known."""
    see, late = _detector(rate or UNKNOWN_RATE)
    waiting, cuts = deque[TimedFrame](), set[int]()
    for frame in frames:
        cuts.update(see(frame))
        waiting.append(frame)
        if len(waiting) > late:
            yield waiting[0].number in cuts, waiting.popleft()
    while waiting:
        yield waiting[0].number in cuts, waiting.popleft()


def _detector(rate: float) -> tuple[Callable[[TimedFrame], list[int]], int]:
    """What looks at one frame after the other and tells the cuts that it has found, and how many frames late it is."""
    scenedetect, cv2 = import_scenedetect()
    detector = scenedetect.AdaptiveDetector(min_scene_len=max(2, round(SHORTEST * rate)))

    def see(frame: TimedFrame) -> list[int]:
        height, width = frame.frame.shape[:2]
        share = min(1.0, WIDTH / width)
        size = max(8, round(share * width)), max(8, round(share * height))
        small = cv2.resize(frame.frame[..., ::-1], size, interpolation=cv2.INTER_AREA)
        found = detector.process_frame(scenedetect.FrameTimecode(frame.number, rate), small)
        return [cut.frame_num for cut in found]

    return see, detector.event_buffer_length


def import_scenedetect() -> tuple[Any, Any]:
    """PySceneDetect and its OpenCV, or what to install."""
    try:
        import cv2
        import scenedetect
    except ImportError as error:
        raise ImportError(
            f"cuts are found by PySceneDetect ({error}): pip install 'flam-env[cuts]', or say --cuts none"
        ) from error
    return scenedetect, cv2
