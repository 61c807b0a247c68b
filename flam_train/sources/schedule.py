"""Which episodes a collection needs: the same ones whatever the number of processes and interruptions.

A stream of episodes ends with the first one that fills its quota of frames, and an episode is only begun once it is
certain to be needed.
"""

from dataclasses import dataclass, field

from flam_train.store.store import SPLITS

SPLIT_SHARE = {"train": 0.8, "val": 0.1, "test": 0.1}
Stream = tuple[str, str]  # (split, agent)


def quotas(frames: int, random_share: float, expert: str = "planner") -> dict[Stream, int]:
    """Frames wanted of each (split, agent): the random agent's share, the rest from the expert."""
    split_frames = {split: round(SPLIT_SHARE[split] * frames) for split in ("val", "test")}
    split_frames["train"] = frames - sum(split_frames.values())
    wanted = {}
    for split in SPLITS:
        wanted[split, "random"] = round(random_share * split_frames[split])
        wanted[split, expert] = split_frames[split] - wanted[split, "random"]
    return wanted


@dataclass(kw_only=True)
class Schedule:
    """Decides which episode comes next.

    Attributes:
        wanted: frames wanted of each stream.
        longest: an episode has at most so many frames.
        done: frames of each finished episode, by stream and index.
        running: episodes being recorded.
    """

    wanted: dict[Stream, int]
    longest: int
    done: dict[Stream, dict[int, int]]
    running: set[tuple[Stream, int]] = field(default_factory=set)

    def start(self) -> tuple[Stream, int] | None:
        """Marks as running, and returns, a needed episode of the stream most behind; None: nothing for now."""
        needed = [(self._progress(stream), *found) for stream in self.wanted if (found := self._needed(stream))]
        if not needed:
            return None
        _, stream, index = min(needed)
        self.running.add((stream, index))
        return stream, index

    def finish(self, stream: Stream, index: int, frames: int) -> None:
        """Books a finished episode."""
        self.running.remove((stream, index))
        self.done[stream][index] = frames

    def _progress(self, stream: Stream) -> float:
        running = sum(self.longest / 2 for s, _ in self.running if s == stream)
        return (sum(self.done[stream].values()) + running) / self.wanted[stream]

    def _needed(self, stream: Stream) -> tuple[Stream, int] | None:
        """First missing episode, if even the longest possible ones before it leave the quota unfilled."""
        frames, index = 0, 0
        while frames < self.wanted[stream]:
            if index in self.done[stream]:
                frames += self.done[stream][index]
            elif (stream, index) in self.running:
                frames += self.longest
            else:
                return stream, index
            index += 1
        return None
