"""Long jobs side by side: each has a process of its own, one core, and a folder that its log is in."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("training needs tqdm: pip install 'flam-env[train]'") from error

LOG = "log.txt"


@contextlib.contextmanager
def logged(out: Path) -> Iterator[None]:
    """Sends what is printed to the log of a folder, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOG).open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield


def side_by_side(jobs: Mapping[str, Callable[[], Any]], workers: int, title: str) -> None:
    """Does jobs, which can be pickled, in the order of the mapping.

    Args:
        jobs: by name.
        workers: how many at once; 0 for one per core.
        title: of the progress bar.

    Raises:
        ChildProcessError: a job failed or was killed; the others are ended.
    """
    workers = workers or len(os.sched_getaffinity(0))
    spawn, waiting, running = multiprocessing.get_context("spawn"), list(jobs.items()), dict[Any, Any]()
    with tqdm(total=len(waiting), desc=title, unit="run") as progress:
        while waiting or running:
            while waiting and len(running) < workers:
                name, job = waiting.pop(0)
                process = spawn.Process(target=_work, args=(job,), name=name, daemon=True)
                process.start()
                running[process.sentinel] = process
            for sentinel in wait(list(running)):
                process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    raise ChildProcessError(
                        f"{process.name} ended with status {process.exitcode}; see above, and {LOG} in its folder"
                    )
                progress.update()


def _work(job: Callable[[], Any]) -> None:
    """Does a job on one core; when the parent is gone, ends with a checkpoint."""
    torch.set_num_threads(1)

    def follow() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    job()
