"""Locks on folders: who writes into one is alone there, among all processes and machines that see it.

A lock is the operating system's, which frees it however its holder ends. Where a file system has none, as some network
drives, it is a file that the holder touches every few seconds; who has not done so for `LEASE` seconds has lost it.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

try:
    from filelock import BaseFileLock, FileLock, LeaseCompromise, SoftFileLease, Timeout
except ImportError as error:
    raise ImportError("writing needs filelock 3.30 or later: pip install 'flam-env[train]'") from error

LOCK = ".lock"
LEASE = 120.0
PATIENCE, SILENCE = 0.5, 5.0
"""Seconds in which a lock that a crash has left is taken over; and in which nobody is told that there is waiting."""
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class FolderInUseError(ValueError):
    """Another process, or another thread, writes into the folder."""


@contextlib.contextmanager
def folder_lock(folder: Path | str, *, wait: bool = False, name: str = LOCK) -> Iterator[None]:
    """Holds the lock of a folder, which is made, while the context is open; nothing of it stays in the folder.

    Not to be taken twice by one process. Of several processes that work together, as torchrun's, one takes it.

    Args:
        folder: what is locked.
        wait: wait until it is free, and say for whom, rather than refuse.
        name: of the file that is locked in the folder: with other names, the lock of a part of the folder.

    Raises:
        FolderInUseError: somebody else holds the lock; the message says who.
        OSError: the folder cannot be made or written.
    """
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquire(path, wait)
    try:
        _holder(path).write_text(_this_process())
        yield
    finally:
        _holder(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # while it is held, so that nobody else's is deleted
        lock.release()


def _acquire(path: Path, wait: bool) -> BaseFileLock:
    lock: BaseFileLock = FileLock(path, fallback_to_soft=False, thread_local=False)
    try:
        _take(lock, path, wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        lease = path.with_name(f"{path.name}-lease")
        lock = SoftFileLease(lease, lease_duration=LEASE, on_compromise=_warn_of_loss, thread_local=False)
        _take(lock, path, wait)
    return lock


def _take(lock: BaseFileLock, path: Path, wait: bool) -> None:
    try:
        lock.acquire(timeout=SILENCE if wait else PATIENCE, poll_interval=0.02)
    except Timeout:
        if not wait:
            raise FolderInUseError(
                f"expected a folder that nobody else writes into, got {path.parent}, which is in use by {_who(path)}; "
                "wait until that is done, or name another folder"
            ) from None
        print(f"waiting for {path.parent}, which is in use by {_who(path)}", file=sys.stderr)
        lock.acquire(timeout=-1, poll_interval=PATIENCE)


def _holder(path: Path) -> Path:
    """The file that says who holds a lock."""
    return path.with_name(f"{path.name}-holder.json")


def _this_process() -> str:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})


def _who(path: Path) -> str:
    try:
        found = json.loads(_holder(path).read_text())
        return f"process {found['process']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # not there yet or no more, or half-written
        return "another process"


def _warn_of_loss(loss: LeaseCompromise) -> None:
    warnings.warn(
        f"the lock {loss.lock_file} was lost ({loss.reason}), perhaps to another process that writes into the same "
        f"folder; this happens where a process sleeps for {LEASE:.0f} seconds or its drive is gone; end one of them",
        RuntimeWarning,
        stacklevel=2,
    )
