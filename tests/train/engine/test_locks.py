"""Who writes into a folder is alone there."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flam_train.engine import locks
from flam_train.engine.locks import FolderInUseError, folder_lock

HOLD = """
    import errno, fcntl, importlib.util, sys

    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    file, folder, kind, lease = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("locks", file)  # without its package, which takes seconds
    spec.loader.exec_module(locks := importlib.util.module_from_spec(spec))
    if kind == "lease":
        fcntl.flock, locks.LEASE = without_locks, float(lease)
    with locks.folder_lock(folder):
        print("held", flush=True)
        sys.stdin.read(1)
"""


@pytest.fixture(params=["lock of the system", "lease"])
def kind(request, monkeypatch):
    """Both kinds of lock: this process sees the same file system as those that it starts."""
    if request.param == "lease":
        monkeypatch.setattr("fcntl.flock", without_locks)
    return request.param


def without_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture
def hold():
    """Starts processes that hold the lock of a folder until their standard input ends."""
    processes = []

    def start(folder: Path, kind: str, lease: float = 120.0) -> subprocess.Popen:
        command = [sys.executable, "-c", textwrap.dedent(HOLD), locks.__file__, str(folder), kind, str(lease)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_second_process_is_refused_and_told_who_works_there(kind, hold, tmp_path):
    first = hold(tmp_path / "run", kind)
    with (
        pytest.raises(FolderInUseError, match=rf"run, .*process {first.pid} on {socket.gethostname()} since \d+-"),
        folder_lock(tmp_path / "run"),
    ):
        pass
    with folder_lock(tmp_path / "run", name=".part"):  # the lock of something else there
        pass


def test_a_lock_is_free_when_its_holder_is_done_and_leaves_nothing(kind, hold, tmp_path):
    first = hold(tmp_path / "run", kind)
    first.communicate("\n")
    with folder_lock(tmp_path / "run"):
        assert list((tmp_path / "run").iterdir())
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path / "run"):
        raise ZeroDivisionError
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_is_free_at_once_when_its_holder_has_crashed(kind, hold, tmp_path, how):
    first = hold(tmp_path / "run", kind)
    first.send_signal(how)
    first.wait()
    with folder_lock(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_who_waits_goes_on_when_the_lock_is_free_and_says_for_whom(kind, hold, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(locks, "SILENCE", 0.3)
    first = hold(tmp_path / "run", kind)
    ending = "import sys, time; time.sleep(1); sys.stdout.write('x')"
    process = subprocess.Popen([sys.executable, "-c", ending], stdout=first.stdin)
    with folder_lock(tmp_path / "run", wait=True):
        assert first.wait(5) == 0
    process.wait()
    assert f"in use by process {first.pid}" in capfd.readouterr().err


def test_a_lease_is_kept_alive_as_long_as_its_holder_lives(hold, tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", without_locks)
    monkeypatch.setattr(locks, "LEASE", 0.9)
    first = hold(tmp_path, "lease", 0.9)
    time.sleep(2)
    with pytest.raises(FolderInUseError), folder_lock(tmp_path):
        pass
    os.kill(first.pid, signal.SIGSTOP)  # as on a machine that is gone
    time.sleep(1)
    with folder_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), folder_lock(tmp_path / "file"):
        pass
