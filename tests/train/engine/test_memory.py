"""How much memory there is, on machines and in containers of several kinds."""

import math

import pytest

from flam_train.engine import memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Writes what a kernel would tell; a machine with 90 MB to be had, in no container."""
    for name in ("MACHINE", "GROUP", "GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / name.lower())

    def write(**files):
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    write(machine="MemTotal: 200000 kB\nMemFree: 10 kB\nMemAvailable: 90000 kB\nHugePages_Total: 0\n")
    return write


def test_a_machine_tells_what_is_available(machine):
    assert memory.available_memory() == 90_000 * 1024


def test_where_nobody_tells_there_is_no_end(machine, monkeypatch):
    monkeypatch.setattr(memory, "MACHINE", memory.MACHINE / "nothing")
    assert memory.available_memory() == math.inf


def test_a_container_leaves_its_limit_less_what_is_taken_and_cannot_go(machine):
    machine(group="0::/\n", groups__memory_dot_max="50000000\n", groups__memory_dot_current="30000000\n")
    machine(groups__memory_dot_stat="anon 10000000\ninactive_file 20000000\n")
    assert memory.available_memory() == 50_000_000 - 10_000_000


def test_of_groups_in_groups_the_tightest_counts(machine):
    machine(group="1:name=systemd:/x\n0::/outer/inner\n", groups__outer__inner__memory_dot_max="max\n")
    machine(groups__outer__memory_dot_max="7000\n", groups__outer__memory_dot_current="3000\n")
    machine(groups__outer__memory_dot_stat="anon 3000\n")
    assert memory.available_memory() == 4000


def test_groups_of_the_first_version_are_read(machine):
    machine(group="9:cpu,memory:/box\n", groups__memory__box__memory_dot_limit_in_bytes="60000000\n")
    machine(groups__memory__box__memory_dot_usage_in_bytes="45000000\n")
    machine(groups__memory__box__memory_dot_stat="cache 9\ntotal_inactive_file 5000000\n")
    assert memory.available_memory() == 20_000_000
