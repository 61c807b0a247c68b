"""Writing to disk: a file or folder appears whole or not at all, and what a writer that died has left goes away.

What is not whole yet lies in the same folder as `.flam-HOST-PROCESS-TOKEN.tmp`. Process numbers mean something on one
machine only, and there in one container, so HOST stands for both.
"""

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

ABANDONED_HOURS = 12
"""What another machine's process has not touched for so long is nobody's."""

_TEMPORARY = re.compile(r"\.flam-([0-9a-f]+)-([0-9]+)-[0-9a-f]+\.tmp")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file, which appears whole or not at all; its folder is made.

    Raises:
        OSError: it cannot be written, or the disk is full; what was there before still is.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields where to write a file or folder that takes the place of `path` once the block ends, and not if it fails.

    Raises:
        OSError: it cannot be written, or the disk is full; what was there before still is.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.absolute())
    temporary = _new_name(path.parent)
    try:
        with _explaining(path):
            yield temporary
            _reach_the_disk(temporary)
            if temporary.is_dir() and path.exists():
                os.replace(path, replaced := _new_name(path.parent))  # a folder that is not empty cannot be overwritten
                os.replace(temporary, path)
                _remove(replaced)
            else:
                os.replace(temporary, path)
    finally:
        _remove(temporary)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yields a new folder below another one, which goes away with the block: what is to stay is moved out of it.

    Raises:
        OSError: it cannot be written, or the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _sweep_once(folder.absolute())
    temporary = _new_name(folder)
    try:
        with _explaining(folder):
            temporary.mkdir()
            yield temporary
    finally:
        _remove(temporary)


def sweep(folder: Path) -> None:
    """Deletes what writers have left in a folder that are no longer alive, or are elsewhere and long silent."""
    for path in Path(folder).glob(".flam-*.tmp"):
        if _is_abandoned(path):
            _remove(path)


def is_vacant(folder: Path) -> bool:
    """Whether a folder is absent or empty, but for hidden files: locks, and what is not whole yet."""
    try:  # one look, for another process may make the folder between two
        return all(path.name.startswith(".") for path in Path(folder).iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


@functools.cache
def _sweep_once(folder: Path) -> None:
    sweep(folder)


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Says what to do about a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        reason = f"{os.strerror(error.errno)}; make room and run it again, nothing half-written was left"
        raise OSError(error.errno, reason, str(path)) from error


def _new_name(folder: Path) -> Path:
    return folder / f".flam-{_host()}-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def _is_abandoned(path: Path) -> bool:
    found = _TEMPORARY.fullmatch(path.name)
    if not found:
        return False
    if found[1] == _host():
        return not _is_alive(int(found[2]))
    with contextlib.suppress(FileNotFoundError):  # finished in the meantime
        touched = max(each.stat().st_mtime for each in (path, *path.glob("*")))
        return time.time() - touched > 3600 * ABANDONED_HOURS
    return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's, hence alive
        pass
    return True


@functools.cache
def _host() -> str:
    """A name for the running machine and, in it, the container: what knows processes by the same numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not Linux
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _reach_the_disk(path: Path) -> None:
    """Else a machine that fails after the renaming could leave an empty file under the final name."""
    for file in [path] if path.is_file() else path.iterdir():
        with file.open("rb") as content:
            os.fsync(content.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
