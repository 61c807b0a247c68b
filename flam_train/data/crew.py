"""The processes of a collection: each records and writes one episode after another, as the schedule wants them."""

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from flam_train.data.schedule import Schedule, Stream
from flam_train.data.sources import AGENTS, Recorder
from flam_train.data.store import SPLITS, EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("collecting needs tqdm: pip install 'flam-env[train]'") from error


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker has to know."""

    recorder: Recorder
    store: EpisodeStore
    seed: int

    def record(self, stream: Stream, index: int) -> int:
        """Records and writes one episode; returns its frames."""
        split, agent = stream
        seed = [self.seed, SPLITS.index(split), AGENTS.index(agent), index]
        episode = self.recorder.record(split, agent, seed)
        return self.store.write(split, episode, name=f"{agent}-{index:06d}").frames


def work_off(job: Job, schedule: Schedule, workers: int) -> None:
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
def _crew(job: Job, workers: int) -> Iterator[list[Connection]]:
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


def _worker(pipe: Connection, job: Job) -> None:
    """Records what comes through the pipe until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            stream, index = pipe.recv()
            try:
                pipe.send((stream, index, job.record(stream, index)))
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
