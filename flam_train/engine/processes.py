"""Worker processes, each on one core: whatever ends them or the process that started them, nothing hangs or stays."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("worker processes need tqdm: pip install 'flam-env[train]'") from error

LOG = "log.txt"


@contextlib.contextmanager
def worker_processes(workers: int, *, tasks_each: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Yields a pool of processes, which end with the context, and when this process is gone.

    If the context ends with an error, as Ctrl-C, they are asked to end as by SIGTERM. What is raised in one comes out
    of its future as it was, with the traceback of the worker as its cause.

    Args:
        workers: how many at once.
        tasks_each: how many tasks a process does before another takes its place.

    Raises:
        ChildProcessError: one of them was killed.
    """
    spawn = multiprocessing.get_context("spawn")
    leash, hold = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, spawn, _begin, (leash,), max_tasks_per_child=tasks_each)
    try:
        yield pool
        pool.shutdown()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process ended without an answer, as one does that is killed where memory is short; "
            "run the same command again to resume"
        ) from error
    finally:
        hold.close()
        pool.shutdown(cancel_futures=True)
        leash.close()


def side_by_side(
    jobs: Mapping[str, Callable[[], Any]],
    workers: int,
    title: str,
    *,
    stop_at_failure: bool = True,
    deadline: float = math.inf,
) -> dict[str, BaseException]:
    """Does long jobs, which can be pickled, in the order of the mapping, each in a process of its own.

    Args:
        jobs: by name.
        workers: how many at once; 0 for one per core.
        title: of the progress bar.
        stop_at_failure: whether a job that fails ends the others.
        deadline: in seconds as `time.time` counts them, after which no more jobs are begun; those that run are left to
            end.

    Returns:
        The errors of the jobs that failed, by name.

    Raises:
        ChildProcessError: a job failed, if that ends the others, or was killed, which always does.
    """
    failed: dict[str, BaseException] = {}
    with (
        worker_processes(workers or available_cores(), tasks_each=1) as pool,
        tqdm(total=len(jobs), desc=title, unit="run") as progress,
    ):
        names = {pool.submit(job): name for name, job in jobs.items()}
        for future in as_completed(names):
            if future.cancelled():
                continue
            error = future.exception()
            if error is not None and not isinstance(error, BrokenProcessPool):
                if stop_at_failure:
                    raise ChildProcessError(
                        f"{names[future]} failed, {type(error).__name__}: {error}; see also {LOG} in its folder"
                    ) from error
                failed[names[future]] = error
            else:
                future.result()
            progress.update()
            if time.time() >= deadline:
                for other in names:
                    other.cancel()
    return failed


def require_made(failed: Mapping[str, BaseException], what: str, folder: Path) -> None:
    """Raises ChildProcessError if some of what was to be made in a folder, "worlds" or the like, failed."""
    if failed:
        errors = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise ChildProcessError(f"expected all {what} to be made, got {errors}; see {LOG} in {folder}")


@contextlib.contextmanager
def logged(out: Path) -> Iterator[None]:
    """Sends what is printed to the log of a folder, which is made; also what error ends the context."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOG).open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            yield
        except BaseException:
            traceback.print_exc()
            raise


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(leash: Connection) -> None:
    """Prepares a worker process, unless all are about to end."""
    if leash.poll():
        _end_with(leash)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the one that started us ends us
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, if it is yet to come
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    """Ends this process once the other end of the leash is let go, or gone."""
    with contextlib.suppress(EOFError, OSError):
        leash.recv()
    while True:  # a training run takes the first as a request, and ends with a checkpoint
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
