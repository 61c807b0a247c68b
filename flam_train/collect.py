"""Collects episodes of a Procgen game into a store: one process per core, killed and started again as you like.

Episode `index` of an agent in a split is the same whatever the number of processes and interruptions, and so is
the set of episodes: a stream of episodes ends with the first one that fills its quota of frames, and an episode is
only begun once it is certain to be needed.
"""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from flam_train.cli import Positional, run_command
from flam_train.data.episode import import_h5py
from flam_train.data.planner import PRESETS, Planner
from flam_train.data.procgen import (
    Agent,
    RandomAgent,
    check_game,
    check_size,
    import_pillow,
    import_simulator,
    record_episode,
)
from flam_train.data.store import SPLITS, EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("collecting needs tqdm: pip install 'flam-env[train]'") from error

AGENTS = {"planner": Planner, "random": RandomAgent}
SPLIT_SHARE = {"train": 0.8, "val": 0.1, "test": 0.1}
Stream = tuple[str, str]  # (split, agent)


def quotas(frames: int, random_share: float) -> dict[Stream, int]:
    """Frames wanted of each (split, agent)."""
    split_frames = {split: round(SPLIT_SHARE[split] * frames) for split in ("val", "test")}
    split_frames["train"] = frames - sum(split_frames.values())
    wanted = {}
    for split in SPLITS:
        wanted[split, "random"] = round(random_share * split_frames[split])
        wanted[split, "planner"] = split_frames[split] - wanted[split, "random"]
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


def collect(
    game: Positional[Literal["bigfish", "leaper", "starpilot"]],
    out: Path,
    frames: int = 100_000,
    size: int = 64,
    random_share: float = 0.3,
    workers: int = 0,
    seed: int = 0,
    max_episode_frames: int = 1000,
) -> EpisodeStore:
    """Collects episodes of a Procgen game, split 80/10/10 over disjoint levels; run again to resume or to extend.

    Args:
        game: which game.
        out: folder of the store.
        frames: frames of all splits together; whole episodes are kept, so there will be a few more.
        size: height and width of the frames in pixels: 64, 128 or 224.
        random_share: share of the frames played by the sticky random agent instead of the planner.
        workers: processes; 0 for one per core.
        seed: decides every episode.
        max_episode_frames: longer episodes are cut.

    Raises:
        ValueError: an argument is out of range, or the folder holds something else.
        ImportError: an optional package is missing.
        ChildProcessError: a worker process was killed; run it again to resume.
    """
    check_game(game)
    check_size(size)
    _check_numbers(frames, random_share, workers, seed, max_episode_frames)
    for needed in (import_simulator, import_pillow, import_h5py):  # complain now, not in a worker
        needed()
    settings = {
        "seed": seed,
        "random_share": random_share,
        "max_episode_frames": max_episode_frames,
        "planner": asdict(PRESETS[game]),
    }
    store = EpisodeStore.create(out, source=f"procgen/{game}", size=size, settings=settings)
    wanted = quotas(frames, random_share)
    schedule = Schedule(wanted=wanted, longest=max_episode_frames, done=_recorded(store))
    job = _Job(game=game, store=store, seed=seed, max_episode_frames=max_episode_frames)
    _work_off(job, schedule, workers or len(os.sched_getaffinity(0)))
    return store


def _check_numbers(frames: int, random_share: float, workers: int, seed: int, max_episode_frames: int) -> None:
    if frames < 10 or max_episode_frames < 1 or workers < 0 or seed < 0 or not 0 <= random_share <= 1:
        raise ValueError(
            "expected frames >= 10, max_episode_frames >= 1, workers >= 0, seed >= 0 and 0 <= random_share <= 1, "
            f"got {frames}, {max_episode_frames}, {workers}, {seed} and {random_share}; change what is out of range"
        )


def _recorded(store: EpisodeStore) -> dict[Stream, dict[int, int]]:
    """Frames of the episodes that a store already has, by stream and index."""
    done: dict[Stream, dict[int, int]] = {(split, agent): {} for split in SPLITS for agent in AGENTS}
    for split in SPLITS:
        for record in store.episodes(split):
            name, _, index = record.path.stem.rpartition("-")
            if name != record.agent or name not in AGENTS or not index.isdigit():
                raise ValueError(
                    f"expected episodes of {list(AGENTS)} named agent-number, got {record.path}; move it away"
                )
            done[split, name][int(index)] = record.frames
    return done


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a worker has to know."""

    game: str
    store: EpisodeStore
    seed: int
    max_episode_frames: int

    def record(self, agent: Agent, stream: Stream, index: int) -> int:
        """Records and writes one episode; returns its frames."""
        split, name = stream
        seed = [self.seed, SPLITS.index(split), list(AGENTS).index(name), index]
        episode = record_episode(
            self.game, split, agent, seed=seed, size=self.store.size, max_frames=self.max_episode_frames
        )
        return self.store.write(split, episode, name=f"{name}-{index:06d}").frames


def _work_off(job: _Job, schedule: Schedule, workers: int) -> None:
    """Lets workers record until the schedule is empty, showing progress in frames/s."""
    total = sum(schedule.wanted.values())
    have = sum(sum(episodes.values()) for episodes in schedule.done.values())
    with _crew(job, workers) as crew, tqdm(total=total, initial=have, unit=" frames", smoothing=0.05) as progress:
        idle = list(crew)
        while True:
            while idle and (task := schedule.start()):
                idle.pop().send(task)
            if not schedule.running:
                return
            ready = wait([worker for worker in crew if worker not in idle])
            for worker in [worker for worker in crew if worker in ready]:
                stream, index, frames = _answer(worker)
                schedule.finish(stream, index, frames)
                progress.update(frames)
                idle.append(worker)


@contextlib.contextmanager
def _crew(job: _Job, workers: int) -> Iterator[list[Connection]]:
    """Starts worker processes, each at the other end of a pipe, and ends them without leaving half a file."""
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(workers):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_worker, args=(there, job), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            process.terminate()
            process.join()
            pipe.close()
        job.store.sweep()


def _worker(pipe: Connection, job: _Job) -> None:
    """Records what comes through the pipe until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    agents: dict[str, Agent] = {}
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            (split, name), index = pipe.recv()
            try:
                if name not in agents:
                    agents[name] = AGENTS[name](job.game)
                pipe.send(((split, name), index, job.record(agents[name], (split, name), index)))
            except Exception:
                pipe.send(traceback.format_exc())
                raise


def _answer(worker: Connection) -> tuple[Stream, int, int]:
    try:
        answer = worker.recv()
    except (EOFError, ConnectionResetError) as error:
        raise ChildProcessError("a worker process was killed; run the same command again to resume") from error
    if isinstance(answer, str):
        raise ChildProcessError(f"a worker process failed; its own account:\n{answer}")
    return answer


if __name__ == "__main__":
    run_command(collect)
