"""One film as episodes of a store, one for each scene, all of them or none; memory does not grow with its length."""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flam_env.video.decoding import TimedFrame
from flam_env.video.frames import Fit, fit_frames
from flam_env.worlds.checkpoint import parse_config, parse_json
from flam_env.worlds.writing import write_atomically
from flam_train.sources.films.cuts import Cuts
from flam_train.sources.films.film import at_rate
from flam_train.sources.films.planning import Probed
from flam_train.sources.films.stretches import Stretch, unknown_facts
from flam_train.store.episode import Episode
from flam_train.store.rates import SETTING
from flam_train.store.store import SPLITS, EpisodeStore
from flam_train.store.together import Together, adding_together

PIECE = 32
SHORTEST = 2
"""Frames of an episode: a transition needs two."""
RECORDS = "films"
"""The folder of a store that says of which films it holds all."""


@dataclass(frozen=True, kw_only=True)
class FilmRecord:
    """What came of a film.

    Attributes:
        origin: what it was called.
        content: what tells it from others.
        split: where it lies.
        frames: of the film as it is.
        rate: frames a second of the film, None where nobody knows.
        episodes: names, in the order of the film.
        stored: frames of the episodes together.
        left_out: frames in scenes that are too short for an episode.
        cuts: frames with which another scene begins.
        notes: what was warned of while it was read.
    """

    origin: str
    content: str
    split: str
    frames: int
    rate: float | None
    episodes: tuple[str, ...]
    stored: int
    left_out: int
    cuts: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FilmImport:
    """Makes one film episodes of a store; it travels to a worker process.

    Attributes:
        probed: which film, and what is known of it before it is read.
        split: where it goes.
        store: its rate in frames a second, if its settings say one, is what the film is brought to.
        fit: how its frames become square.
        cuts: where it is cut.
        offset: of the rows of its known actions.
        watch: told of frames that were read, how many more.
    """

    probed: Probed
    split: str
    store: EpisodeStore
    fit: Fit
    cuts: Cuts
    offset: int
    watch: Callable[[int], Any] | None = None

    def run(self) -> FilmRecord:
        """Reads the film once and writes its episodes.

        Raises:
            ValueError: the film is damaged, has fewer than two frames or not as many as actions, or cuts are none of
                its frames; nothing of it is in the store.
            OSError: the store cannot be written.
        """
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with adding_together(self.store, self.split) as together:
                scenes = [self._add(scene, together) for scene in self.cuts.scenes(self.probed.film)]
                self._check(scenes)
                stretches = [self._stretch(scene, len(scenes)) for scene in scenes if scene.stored]
                together.names = names = [stretch.name(self.probed.film.title) for stretch in stretches]
        record = FilmRecord(
            origin=self.probed.film.origin,
            content=self.probed.content,
            split=self.split,
            frames=scenes[-1].after,
            rate=self.probed.rate,
            episodes=tuple(names),
            stored=sum(scene.stored for scene in scenes),
            left_out=sum(scene.after - scene.first for scene in scenes if not scene.stored),
            cuts=tuple(scene.first for scene in scenes[1:]),
            notes=tuple(dict.fromkeys(str(each.message) for each in warned)),
        )
        write_record(self.store, record)
        return record

    def _add(self, scene: Iterator[TimedFrame], together: Together) -> "Scene":
        """Writes an episode, unless the scene is too short for one."""
        numbers, seen = list[int](), list[int]()

        def watched() -> Iterator[TimedFrame]:
            for frame in scene:
                seen[:] = [seen[0] if seen else frame.number, frame.number]
                if self.watch is not None and frame.number % PIECE == PIECE - 1:
                    self.watch(PIECE)
                yield frame

        fps = self.store.settings.get(SETTING) if self.probed.film.timed else None
        shown = at_rate(self.probed.film, watched(), fps)
        fitted = ((fit_frames(each.frame, self.store.size, self.fit), each.number) for each in shown)
        with together.adding() as writer:
            while piece := list(islice(fitted, PIECE)):
                frames, at = zip(*piece, strict=True)
                writer.append(np.stack(frames))
                numbers += at
            if len(numbers) >= SHORTEST:
                writer.finish(self._facts(np.array(numbers)))
        return Scene(seen[0], seen[-1] + 1, len(numbers) if len(numbers) >= SHORTEST else 0)

    def _facts(self, numbers: np.ndarray) -> Episode:
        """All of an episode but its frames, of which the numbers in the film are given."""
        nothing = unknown_facts(len(numbers))
        if self.probed.known is None:
            return nothing
        known = self.probed.known.of(numbers, self.offset)
        return replace(nothing, actions=known) if known.ndim == 1 else replace(nothing, continuous_actions=known)

    def _check(self, scenes: list["Scene"]) -> None:
        origin = self.probed.film.origin
        if not any(scene.stored for scene in scenes):
            count = scenes[-1].after if scenes else 0
            raise ValueError(f"expected a video of {SHORTEST} or more frames, got {origin} with {count}")
        given = self.cuts.given.get(origin, ())
        if given and (given[-1] >= scenes[-1].after or not all(scene.stored for scene in scenes)):
            raise ValueError(
                f"expected cuts of {origin} into scenes of {SHORTEST} or more of its {scenes[-1].after} frames, got "
                f"{','.join(map(str, given))}; change them"
            )
        if self.probed.known is not None:
            self.probed.known.check(scenes[-1].after, self.offset)

    def _stretch(self, scene: "Scene", scenes: int) -> Stretch:
        return (
            Stretch(self.probed.content, scene.first, scene.after - 1) if scenes > 1 else Stretch(self.probed.content)
        )


class Scene(NamedTuple):
    """Which frames of a film a scene has, and how many its episode; 0 where they are too few for one."""

    first: int
    after: int
    stored: int


def read_records(root: Path) -> dict[str, FilmRecord]:
    """The films of which a store holds all, by content.

    Raises:
        ValueError: a file there is none of these.
    """
    found = dict[str, FilmRecord]()
    for path in sorted((root / RECORDS).glob("*.json")):
        record = parse_config(FilmRecord, parse_json(path.read_text(encoding="utf-8"), path), path)
        found[record.content] = record
    return found


def settle(store: EpisodeStore, records: Iterable[FilmRecord]) -> None:
    """Moves the episodes of films to the splits that their records name, if they lie elsewhere."""
    for record in records:
        for name in record.episodes:
            for split in SPLITS:
                path = store.root / split / f"{name}.h5"
                if split != record.split and path.is_file():
                    (store.root / record.split).mkdir(exist_ok=True)
                    os.replace(path, store.root / record.split / path.name)


def write_record(store: EpisodeStore, record: FilmRecord) -> None:
    """Says that a store holds all of a film."""
    path = store.root / RECORDS / f"{record.content}.json"
    write_atomically(path, f"{json.dumps(asdict(record), indent=2)}\n".encode())
