"""HDF5 files: a full disk ends no process, and what cannot be read is told by what is wrong with it."""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LOCKED = "another program has locked the file; wait until it is done with it"
_NO_LOCKS = "its drive has no locks; set the environment variable HDF5_USE_FILE_LOCKING=FALSE"
_ADVICE = {
    errno.EACCES: "ask for the permission to read the file",
    errno.EPERM: "ask for the permission to read the file",
    errno.ENOENT: "somebody has moved it away meanwhile; run it again",
    errno.EAGAIN: _LOCKED,
    errno.EDEADLK: _LOCKED,
    errno.ENOLCK: _NO_LOCKS,
    errno.ENOSYS: _NO_LOCKS,
    errno.EOPNOTSUPP: _NO_LOCKS,
}


class HDF5Writer(contextlib.AbstractContextManager):
    """Writes one new file.

    Attributes:
        file: the h5py.File.
    """

    def __init__(self, path: Path):
        self._disk = _Disk(path, "w+")
        self.file = import_h5py().File(self._disk, "w")

    def check(self) -> None:
        """Raises the OSError of the first thing that could not be written; called now and then, it saves work."""
        if self._disk.error is not None:
            raise self._disk.error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file.

        Raises:
            OSError: not all of it could be written.
        """
        try:
            self.file.close()
        finally:
            self._disk.close()
            self.check()


class _Disk(io.FileIO):
    """What HDF5 writes to. It never hears of an error, since it crashes if it cannot write all that it has."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Opens a file for reading while the context is open, as an h5py.File; says what is wrong if reading it fails.

    It is not locked: whole files lie under their names and are never changed there, and some drives have no locks.

    Raises:
        OSError: the system does not let it be read; PermissionError, FileNotFoundError and their like.
        ValueError: it is damaged, or no HDF5.
    """
    h5py = import_h5py()
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:  # what h5py raises where bytes are wrong
        raise _explained(error, Path(path)) from error


def import_h5py() -> Any:
    """Imports h5py, or says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("episodes are kept in HDF5; install h5py with: pip install 'flam-env[train]'") from error
    return h5py


def _explained(error: Exception, path: Path) -> Exception:
    """An error of h5py by its kind: of the system, which leaves the file as it is, or of what is in the file."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None:
        advice = _ADVICE.get(number, "the file is left as it is; try again")
        return OSError(number, f"{os.strerror(number)}; {advice}", str(path))
    with path.open("rb") as file:
        start = file.read(len(_SIGNATURE))
    if start and start != _SIGNATURE:
        return ValueError(f"expected an HDF5 file, got {path}, which is none; move it elsewhere")
    return ValueError(
        f"expected a whole HDF5 file, got {path}, which is damaged ({error}); restore it from a copy, or, if a command "
        "made it here, delete it and run the same command again"
    )
