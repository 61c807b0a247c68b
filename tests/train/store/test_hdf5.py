"""HDF5 files: a full disk ends no process, and what cannot be read is told by what is wrong with it."""

import errno
import fcntl
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from flam_train.store.hdf5 import HDF5Writer, open_hdf5

NOISE = np.random.default_rng(0).integers(0, 256, (400, 100), np.uint8)
FILLS_THE_DISK = """
    import resource, sys
    import numpy as np
    from pathlib import Path
    from flam_env.worlds.writing import replacing
    from flam_train.store.hdf5 import HDF5Writer

    noise = np.random.default_rng(0).integers(0, 256, (200, 100, 1000), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    written = 0
    try:
        with replacing(Path(sys.argv[1]) / "noise.h5") as path, HDF5Writer(path) as writer:
            values = writer.file.create_dataset("noise", (0, 100, 1000), "u1", maxshape=(None, 100, 1000),
                                                chunks=(1, 100, 1000), compression="gzip")
            for piece in noise:
                values.resize(written + 1, 0)
                values[written] = piece
                written += 1
                writer.check()
    except OSError as error:
        print(written, error)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "values.h5"
    with HDF5Writer(path) as writer:
        writer.file.create_dataset("values", data=NOISE, chunks=(16, 100), compression="gzip")
    return path


def read(path):
    with open_hdf5(path) as file:
        return file["values"][:]


def test_what_was_written_is_an_ordinary_file(path):
    with h5py.File(path) as file:
        assert np.array_equal(file["values"][:], NOISE)
    assert np.array_equal(read(path), NOISE)


def test_a_full_disk_is_found_out_early_told_and_ends_no_process(tmp_path):
    """HDF5 crashes when the interpreter ends if it could not write something."""
    command = [sys.executable, "-c", textwrap.dedent(FILLS_THE_DISK), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    written, _, message = done.stdout.partition(" ")
    assert int(written) < 150, "its 200 pieces are 20 MB, of which HDF5 keeps some in memory"
    assert "make room and run it again" in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_locked_file_is_read(path):
    """It is whole: files are written under other names."""
    with path.open("rb+") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        assert np.array_equal(read(path), NOISE)


@pytest.mark.parametrize(
    "number, message",
    [
        (errno.EACCES, "permission"),
        (errno.EAGAIN, "another program has locked the file"),
        (errno.ENOLCK, "HDF5_USE_FILE_LOCKING=FALSE"),
        (errno.ENOENT, "moved it away"),
        (errno.EIO, "try again"),
        (errno.ESTALE, "try again"),
    ],
)
def test_what_the_system_does_not_let_be_read_is_not_called_damaged(path, monkeypatch, number, message):
    def refused(*_, **__):
        raise OSError(number, "Unable to synchronously open file (errno = ...\n , o_flags = 0)")

    monkeypatch.setattr(h5py, "File", refused)
    with pytest.raises(OSError, match=message) as raised:
        read(path)
    assert raised.value.errno == number and raised.value.filename == str(path)
    assert not any(word in str(raised.value) for word in ("damaged", "delete", "\n"))


@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_a_truncated_file_is_damaged_for_certain(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=r"values\.h5, which is damaged.*restore it.*if a command made it"):
        read(path)


def test_a_file_of_another_kind_is_not_to_be_deleted(path):
    path.write_text("thesis")
    with pytest.raises(ValueError, match=r"expected an HDF5 file, got .*values\.h5.*move it elsewhere") as raised:
        read(path)
    assert "delete" not in str(raised.value)


def test_damage_anywhere_is_told_as_damage(path):
    """HDF5 raises errors of many kinds for it."""
    content, random, damaged = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        at = random.integers(8, len(content) - 8)
        path.write_bytes(content[:at] + random.bytes(8) + content[at + 8 :])
        try:
            read(path)
        except ValueError as error:
            assert "damaged" in str(error)
            damaged += 1
    assert damaged > 100
