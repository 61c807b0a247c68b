"""What an episode of a film is, whatever it is called: its content, first and last frame."""

import re
from typing import NamedTuple

import numpy as np

from flam_train.store.episode import Episode

AGENT = "video"
LONGEST_TITLE = 100  # letters of a file's name in that of an episode, for file systems take 255 in all
NAME = re.compile(r"(?:(.*)-)?([0-9a-f]{12})(?:-(\d+)(?:-(\d+))?)?")


class Stretch(NamedTuple):
    """What an episode of video is, whatever it is called: a hash of the video, and its first and last frame.

    Without frames it is all of the video. One with a first frame only is of an earlier release, which told a number.
    """

    content: str
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        if self.last is None:
            return "all" if self.first is None else f"stretch {self.first}"
        return f"frames {self.first} to {self.last}"

    def name(self, title: str) -> str:
        """Name of the episode, without ending."""
        return f"{plain_title(title)}-{self.content}" + ("" if self.first is None else f"-{self.first}-{self.last}")

    @classmethod
    def named(cls, name: str) -> "Stretch | None":
        """What the episode of a name is, None for an episode that is no such video."""
        if not (found := NAME.fullmatch(name)):
            return None
        _, content, *frames = found.groups()
        return cls(content, *(None if frame is None else int(frame) for frame in frames))


def plain_title(name: str) -> str:
    """What the episode of a file or folder of a name begins with."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:LONGEST_TITLE] or AGENT


def unknown_facts(length: int) -> Episode:
    """An episode of so many frames, which it does not have itself, of which nobody knows anything."""
    return Episode(
        frames=np.zeros((0, 0, 0, 3), np.uint8),
        actions=np.zeros((length, 0), np.int16),
        rewards=np.zeros(length, np.float32),
        level_seed=-1,
        agent=AGENT,
        terminated=False,
    )
