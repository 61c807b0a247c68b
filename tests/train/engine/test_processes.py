"""Worker processes: errors come back with their traceback, and whatever ends one, nothing hangs and nothing stays."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from flam_train.engine.processes import LOG, logged, side_by_side, worker_processes

ENDS_BY_ITSELF = """
import signal, sys, time
from functools import partial
from pathlib import Path
from flam_train.engine.processes import side_by_side
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, str(Path(sys.argv[1]).parent))
from test_processes import waits

if __name__ == "__main__":
    try:
        side_by_side({str(n): partial(waits, Path(sys.argv[2]) / str(n)) for n in range(3)}, 2, "waiting")
    except KeyboardInterrupt:
        print("interrupted")
"""


class StrangeError(Exception):
    """Cannot be pickled, as errors of many libraries."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def succeeds(path: Path):
    path.write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}")


def fails(error: Exception):
    raise error


def fails_strangely():
    raise StrangeError(1, 2)


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def waits(path: Path):
    """Until it is ended, which it takes as a training run does: it tidies up first."""
    asked = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    path.write_text(str(os.getpid()))
    while not asked:
        time.sleep(0.02)
    path.with_suffix(".tidy").write_text("")
    signal.signal(signal.SIGTERM, before)
    raise SystemExit(128 + signal.SIGTERM)


def alive(process: int) -> bool:
    """Whether it runs; who has ended and is only still listed does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(true, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def numbers(paths) -> list[int]:
    return [int(path.read_text()) for path in paths]


def test_each_job_has_a_process_and_a_core_of_its_own(tmp_path):
    side_by_side({str(n): partial(succeeds, tmp_path / str(n)) for n in range(3)}, 2, "jobs")
    processes, threads = zip(*(path.read_text().split() for path in tmp_path.iterdir()), strict=True)
    assert len(set(processes)) == 3 and set(threads) == {"1"} and str(os.getpid()) not in processes


def test_no_jobs_are_done_at_once():
    side_by_side({}, 0, "nothing")


def test_a_failing_job_is_named_ends_the_others_and_keeps_its_traceback(tmp_path):
    jobs = {"good": partial(waits, tmp_path / "good"), "bad": partial(fails, KeyError("what"))}
    with pytest.raises(
        ChildProcessError, match=rf"^bad failed, KeyError: 'what'; see also {LOG} in its folder$"
    ) as told:
        side_by_side(jobs, 2, "jobs")
    assert isinstance(told.value.__cause__, KeyError)
    assert "in fails\n" in str(told.value.__cause__.__cause__), "the traceback of the worker"
    wait_until(lambda: not (tmp_path / "good").exists() or (tmp_path / "good.tidy").exists())


def test_jobs_that_fail_can_leave_the_others_alone(tmp_path):
    jobs = {"bad": partial(fails, KeyError("what")), "good": partial(succeeds, tmp_path / "good")}
    failed = side_by_side(jobs, 1, "jobs", stop_at_failure=False)
    assert [*failed] == ["bad"] and isinstance(failed["bad"], KeyError) and (tmp_path / "good").exists()


def test_no_job_is_begun_after_the_deadline(tmp_path):
    jobs = {str(n): partial(succeeds, tmp_path / str(n)) for n in range(9)}
    assert side_by_side(jobs, 1, "jobs", deadline=time.time()) == {}
    assert 1 <= len([*tmp_path.iterdir()]) <= 4, "one, and those that the pool had at hand"


def test_what_a_worker_raises_comes_out_as_it_was():
    with pytest.raises(FileNotFoundError, match="no video"), worker_processes(1) as pool:
        pool.submit(fails, FileNotFoundError("no video")).result()


@pytest.mark.parametrize("job", [dies, fails_strangely])
def test_a_job_that_is_killed_or_cannot_say_what_is_wrong_hangs_nothing(job):
    with pytest.raises(ChildProcessError, match=r"ended without an answer.*run the same command again to resume"):
        side_by_side({"dies": job}, 1, "jobs")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_and_tidy_up_when_the_command_is_ended(tmp_path, how):
    """Ctrl-C goes to all processes of a terminal; a kill to the first alone, which cannot tell the others."""
    script = tmp_path / "script.py"
    script.write_text(ENDS_BY_ITSELF)
    (out := tmp_path / "out").mkdir()
    command = [sys.executable, str(script), __file__, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_until(lambda: len([path for path in out.iterdir() if path.read_text()]) == 2)
        workers = numbers(out.iterdir())
        (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
        said, _ = process.communicate(timeout=30)
    assert said == ("interrupted\n" if how == signal.SIGINT else "")
    wait_until(lambda: not any(map(alive, workers)))
    assert {path.name for path in out.iterdir()} == {"0", "0.tidy", "1", "1.tidy"}


def test_the_log_of_a_job_has_what_it_printed_and_why_it_ended(tmp_path):
    with pytest.raises(ZeroDivisionError), logged(tmp_path / "run"):
        print("step 1")
        print("careful", file=sys.stderr)
        raise ZeroDivisionError("by nothing")
    log = (tmp_path / "run" / LOG).read_text()
    assert log.startswith("step 1\ncareful\nTraceback") and log.endswith("ZeroDivisionError: by nothing\n")
