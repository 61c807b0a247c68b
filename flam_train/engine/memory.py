"""How much memory there is to be had."""

import math
from collections.abc import Iterator
from pathlib import Path

MACHINE, GROUP, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""What says how much a control group may take and has taken, and how much of that are cached files that can go; by the
controller of the second version, which has no name, and of the first."""


def available_memory() -> float:
    """Bytes that processes may still take, of the machine and of the container; infinite where nobody tells."""
    return min(_of_machine(), *_of_groups(), math.inf)


def _of_machine() -> float:
    if not MACHINE.is_file():
        return math.inf
    lines = dict(line.split(":") for line in MACHINE.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def _of_groups() -> Iterator[float]:
    """What each control group that this process is in leaves."""
    lines = GROUP.read_text().splitlines() if GROUP.is_file() else []
    for controllers, name in (line.split(":", 2)[1:] for line in lines):
        for controller in set(controllers.split(",")) & set(FILES):
            top = GROUPS / controller
            for group in (top / name.lstrip("/"), *(top / name.lstrip("/")).parents):
                yield _left(group, *FILES[controller])
                if group == top:
                    break


def _left(group: Path, limit: str, taken: str, cached: str) -> float:
    if not (group / limit).is_file() or (most := (group / limit).read_text().strip()) == "max":
        return math.inf
    parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(most) - int((group / taken).read_text()) + int(parts.get(cached, 0))
