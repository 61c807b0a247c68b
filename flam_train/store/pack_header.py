"""What a pack says of itself: source and settings of its store, and for each split the episodes and what is there."""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from flam_env.validation import check_fields
from flam_env.worlds.checkpoint import parse_config, parse_json
from flam_train.store.store import SPLITS, EpisodeRecord

FORMAT, VERSION = "flam-pack", "1"
KINDS = ("truth", "continuous")  # what is said of a split, not of each episode
ONE = -1  # `acting` where one agent acts: its actions have no axis for agents


class Place(NamedTuple):
    """Where an episode lies in the arrays of its split.

    frames: in those with a row for each frame; actions: in the flat ones; filmed: for each stretch of frames whose
    pixels are there its start and stop within the episode, and where it begins in the array of frames.
    """

    frames: slice
    actions: slice
    filmed: list[tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True)
class PackedSplit:
    """The episodes of a split, in the order of the store, and which of their frames are in the pack.

    Raises:
        ValueError: fields of another type or of different length, or what no store can have.
    """

    BEFORE: ClassVar[dict[str, Any]] = {"continuous": ()}
    """What fields mean that older packs lack."""

    names: tuple[str, ...]
    frames: tuple[int, ...]
    """Number of them."""
    agents: tuple[str, ...]
    level_seeds: tuple[int, ...]
    terminated: tuple[bool, ...]
    acting: tuple[int, ...]
    """How many agents have known actions, or ONE where there is one."""
    filmed: tuple[tuple[int, ...], ...]
    """Which frames are there: start and stop of each stretch, ascending, one stretch after the other."""
    truth: dict
    """Names of what is known of the scene -> dtype, and shape for each frame: `{"positions": ["int64", 4, 2]}`."""
    continuous: tuple[int, ...] = ()
    """How many real numbers an action is, in some or all of the episodes; nothing where it is none."""

    def __post_init__(self) -> None:
        check_fields(self)
        columns = {name: len(column) for name, column in vars(self).items() if name not in KINDS}
        if len(set(columns.values())) != 1 or not self.frames:
            raise ValueError(f"expected as many of each for one episode or more, got {columns}")
        if len(self.continuous) > 1 or min((1, *self.continuous)) < 1:
            raise ValueError(f"expected a number of real numbers of 1 or more, or none, got {self.continuous}")
        if min(self.frames) < 1 or min(self.acting) < ONE:
            raise ValueError("expected episodes of at least one frame and whole numbers of agents")
        if len(set(self.names)) < len(self.names) or any(Path(name).name != name for name in self.names):
            raise ValueError("expected a plain name for each episode, and all different")
        for stretches, length in zip(self.filmed, self.frames, strict=True):
            if len(stretches) % 2 or any(a >= b for a, b in pairwise((-1, *stretches, length + 1))):
                raise ValueError(f"expected ascending stretches within {length} frames, got {stretches}")
        for name, kind in self.truth.items():
            if not (name.isidentifier() and isinstance(kind, list) and kind and _is_shape(kind[1:])):
                raise ValueError(f"expected a dtype and a shape for {name!r}, got {kind!r}")
            if kind[0] not in {np.dtype(code).name for code in "?bBhHiIqQefd"}:
                raise ValueError(f"expected a dtype of numbers for {name!r}, got {kind[0]!r}")

    def records(self, folder: Path) -> list[EpisodeRecord]:
        """The episodes, as they are named in the store, in a folder that is named like the split."""
        paths = [folder / f"{name}.h5" for name in self.names]
        rows = zip(paths, self.frames, self.agents, self.level_seeds, strict=True)
        return [
            EpisodeRecord(path=path, split=folder.name, frames=frames, agent=agent, level_seed=level_seed)
            for path, frames, agent, level_seed in rows
        ]

    def arrays(self, size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Dtype and shape of each array of the split but its tokens, for frames of `size` pixels.

        The actions of all episodes lie flat after one another.
        """
        frames, places = sum(self.frames), self.places()
        filmed = sum(stop - start for place in places for start, stop, _ in place.filmed)
        found: dict[str, tuple[str, tuple[int, ...]]] = {
            "actions": ("int16", (places[-1].actions.stop,)),
            "rewards": ("float32", (frames,)),
            "frames": ("uint8", (filmed, size, size, 3)),
        }
        if self.continuous:
            found["continuous_actions"] = "float32", (frames, *self.continuous)
        return found | {f"truth.{name}": (kind[0], (frames, *kind[1:])) for name, kind in self.truth.items()}

    def places(self) -> list[Place]:
        """Where each episode lies in the arrays."""
        found, frame, action, film = list[Place](), 0, 0, 0
        for length, acting, stretches in zip(self.frames, self.acting, self.filmed, strict=True):
            actions, filmed = length * (1 if acting == ONE else acting), list[tuple[int, int, int]]()
            for start, stop in zip(stretches[::2], stretches[1::2], strict=True):
                filmed.append((start, stop, film))
                film += stop - start
            found.append(Place(slice(frame, frame + length), slice(action, action + actions), filmed))
            frame, action = frame + length, action + actions
        return found


@dataclass(frozen=True, kw_only=True)
class PackHeader:
    """All that a pack holds but arrays and tokenizer.

    Raises:
        ValueError: a field of another type, or no split, or one of another name.
    """

    source: str
    size: int
    settings: dict
    tokenizer: str
    """Fingerprint."""
    splits: dict

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise ValueError(f"expected splits out of {', '.join(SPLITS)}, got {sorted(self.splits)}")

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, origin: object) -> "PackHeader":
        """Reads a header.

        Raises:
            ValueError: it is none, or keys are unknown or missing; the message names where it came from.
        """
        values = parse_json(text, origin)
        if isinstance(values.get("splits"), dict):
            splits = {name: _parse_split(split, f"{origin}: {name}") for name, split in values["splits"].items()}
            values = values | {"splits": splits}
        return parse_config(cls, values, origin)


def _parse_split(values: Any, origin: str) -> PackedSplit:
    if isinstance(values, dict) and isinstance(values.get("filmed"), list):
        filmed = [tuple(stretches) if isinstance(stretches, list) else stretches for stretches in values["filmed"]]
        values = values | {"filmed": filmed}
    return parse_config(PackedSplit, values, origin)


def _is_shape(sizes: list) -> bool:
    return all(type(size) is int and size >= 0 for size in sizes)
