"""Files and folders appear whole or not at all, and nothing of a failure stays."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flam_env.worlds import writing as files
from flam_env.worlds.writing import is_vacant, replacing, sweep, write_atomically

DEAD = 2**22 + 1
"""No process: above the highest number that Linux gives."""


@pytest.fixture(autouse=True)
def fresh():
    """Folders count as not yet written to."""
    files._sweep_once.cache_clear()


def leftover(folder, *, host=None, process=DEAD, hours=0.0, children=()):
    """What a writer left; `children` are hours since something in it was touched, and it is a folder then."""
    path = folder / f".flam-{host or files._host()}-{process}-0123456789abcdef.tmp"
    if children:
        path.mkdir()
        for number, age in enumerate(children):
            (path / str(number)).write_text("half")
            touch(path / str(number), age)
    else:
        path.write_text("half")
    touch(path, hours)
    return path


def touch(path, hours):
    os.utime(path, (time.time() - 3600 * hours,) * 2)


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "deep" / "file", b"before")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "deep" / "file") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "deep" / "file").read_bytes() == b"before"
    assert os.listdir(tmp_path / "deep") == ["file"]


def test_a_full_disk_is_named_in_one_line_and_leaves_what_was_there(tmp_path, full_disk):
    write_atomically(tmp_path / "file", b"before")
    with full_disk(1000), pytest.raises(OSError, match=r"make room and run it again.*file'$") as raised:
        write_atomically(tmp_path / "file", bytes(2000))
    assert raised.value.errno == errno.EFBIG and "\n" not in str(raised.value)
    assert (tmp_path / "file").read_bytes() == b"before" and os.listdir(tmp_path) == ["file"]


def test_an_error_that_has_nothing_to_do_with_the_disk_passes_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="a video"), replacing(tmp_path / "file"):
        raise FileNotFoundError("a video")


def test_a_folder_takes_the_place_of_a_folder(tmp_path):
    for content in ("old", "new"):
        with replacing(tmp_path / "cache") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert os.listdir(tmp_path / "cache") == ["new"] and os.listdir(tmp_path) == ["cache"]


def test_a_name_may_be_as_long_as_the_file_system_has_it(tmp_path):
    write_atomically(tmp_path / ("n" * 255), b"whole")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"whole"


def test_writers_of_one_file_do_not_meet(tmp_path):
    contents = [bytes([number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "file", content), contents))
    assert (tmp_path / "file").read_bytes() in contents and os.listdir(tmp_path) == ["file"]


def test_only_what_is_certainly_abandoned_is_swept(tmp_path):
    kept = [
        leftover(tmp_path, process=os.getpid(), hours=99),
        leftover(tmp_path, host="ab12", process=1),
        leftover(tmp_path, host="ab12", process=2, hours=99, children=(99, 0.5)),
        tmp_path / ".flam-notes.tmp",
        tmp_path / "random-000007.999.partial",
    ]
    for path in kept[3:]:
        path.write_text("a person's")
    gone = [
        leftover(tmp_path),
        leftover(tmp_path, process=DEAD + 1, children=(0,)),
        leftover(tmp_path, host="ab12", process=3, hours=99),
        leftover(tmp_path, host="ab12", process=4, hours=99, children=(99, 98)),
    ]
    sweep(tmp_path)
    assert [path.exists() for path in kept] == [True] * len(kept)
    assert [path.exists() for path in gone] == [False] * len(gone)


def test_a_container_of_the_same_name_has_process_numbers_of_its_own(tmp_path, monkeypatch):
    elsewhere = leftover(tmp_path)
    files._host.cache_clear()
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[123456]")
    try:
        sweep(tmp_path)
        assert elsewhere.exists()
    finally:
        files._host.cache_clear()


def test_the_first_write_to_a_folder_takes_away_what_a_killed_writer_left(tmp_path):
    code = "import sys; from flam_env.worlds.writing import is_vacant, replacing\n"
    code += "with replacing(sys.argv[1]) as path: path.write_text('half'); print('begun', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"begun\n"
        write_atomically(tmp_path / "other", b"while it lives")
        assert len(os.listdir(tmp_path)) == 2
        writer.send_signal(signal.SIGKILL)
    files._sweep_once.cache_clear()  # as another process
    write_atomically(tmp_path / "other", b"whole")
    assert os.listdir(tmp_path) == ["other"]


def test_a_folder_is_vacant_if_nobody_but_us_has_anything_in_it(tmp_path):
    assert is_vacant(tmp_path / "absent") and is_vacant(tmp_path)
    leftover(tmp_path)
    (tmp_path / ".lock").write_text("")
    assert is_vacant(tmp_path)
    (tmp_path / "thesis.tex").write_text("")
    assert not is_vacant(tmp_path) and not is_vacant(tmp_path / "thesis.tex")


def test_a_folder_that_another_process_makes_meanwhile_is_vacant(tmp_path, monkeypatch):
    """Between two looks it may have come into being: absent at first, then there and empty."""
    folder = tmp_path / "store"
    is_dir = Path.is_dir

    def then_made(path):
        seen = is_dir(path)
        folder.mkdir(exist_ok=True)
        return seen

    monkeypatch.setattr(Path, "is_dir", then_made)
    assert is_vacant(folder)
