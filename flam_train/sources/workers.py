"""The processes of a collection: each records and writes one episode after another, as the schedule wants them."""

from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from flam_train.engine.processes import worker_processes
from flam_train.sources.recorders import AGENTS, Recorder
from flam_train.sources.schedule import Schedule, Stream
from flam_train.store.store import SPLITS, EpisodeStore

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
    """Lets workers record until the schedule is empty, showing progress in frames/s.

    Raises:
        ChildProcessError: a worker was killed. What one raises comes out as it is.
    """
    total = sum(schedule.wanted.values())
    have = sum(sum(episodes.values()) for episodes in schedule.done.values())
    running: dict[Future[int], tuple[Stream, int]] = {}
    try:
        with (
            worker_processes(workers) as pool,
            tqdm(total=total, initial=have, unit=" frames", smoothing=0.05) as progress,
        ):
            while True:
                while len(running) < workers and (task := schedule.start()):
                    running[pool.submit(job.record, *task)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task, frames = running.pop(future), future.result()
                    schedule.finish(*task, frames)
                    progress.update(frames)
    finally:
        job.store.sweep()
