"""What the package asks of a machine: Pythons, extras, room on the disk."""

import re
import shutil
import subprocess
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from safetensors import deserialize

from flam_env.registration import BUNDLED
from flam_env.worlds.finding import PRETRAINED

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OLD_PYTHONS, NEW_PYTHONS = ("3.11", "3.12"), ("3.13", "3.14")
NEED_NUMPY_1 = {"procgen", "multigrid"}
TRACKED_BYTES = 60_000_000


def asked_for(extra: str, python: str, machine: str = "x86_64") -> dict[str, Requirement]:
    """What an extra, or "" for the package alone, installs on Linux, other extras of this package followed."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": machine,
    }
    found = {}
    for requirement in map(Requirement, EXTRAS[extra] if extra else PROJECT["dependencies"]):
        if requirement.name == PROJECT["name"]:
            for other in requirement.extras:
                found |= asked_for(other, python, machine)
        elif requirement.marker is None or requirement.marker.evaluate(environment):
            found[requirement.name] = requirement
    return found


@pytest.mark.parametrize("python", OLD_PYTHONS + NEW_PYTHONS)
def test_python_is_allowed_and_named(python):
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.0")
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]


@pytest.mark.parametrize("extra", ["", *EXTRAS])
@pytest.mark.parametrize("python", NEW_PYTHONS)
def test_nothing_asks_for_numpy_1_where_numpy_1_has_no_wheels(extra, python):
    asked = asked_for(extra, python)
    assert "numpy" not in asked or asked["numpy"].specifier.contains("2.4.6")
    assert not asked.keys() & {"procgen-mirror", "gym-multigrid"}


@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_only_procgen_and_multigrid_ask_for_numpy_1(python):
    def takes_numpy_2(extra: str) -> bool:
        asked = asked_for(extra, python)
        return "numpy" not in asked or asked["numpy"].specifier.contains("2.4.6")

    assert {extra for extra in EXTRAS if not takes_numpy_2(extra)} == NEED_NUMPY_1 | {"all"}
    assert {"procgen-mirror", "gym-multigrid"} <= asked_for("all", python).keys()
    assert takes_numpy_2("")


def test_procgen_asks_for_numpy_1_only_where_it_comes_itself():
    assert asked_for("procgen", "3.11", machine="aarch64").keys() == {"pillow"}


def test_all_brings_every_extra_but_two():
    whole = asked_for("all", "3.11").keys()
    assert {extra for extra in EXTRAS if not asked_for(extra, "3.11").keys() <= whole} == {"dev", "lpips"}


def test_extras_that_are_advised_exist():
    """In errors, examples and pages: pip install 'flam-env[extra,...]'."""
    sources = [*ROOT.glob("*.md"), *(ROOT / "examples").glob("*.py")]
    sources += [file for package in ("flam_env", "flam_train", "baselines") for file in (ROOT / package).rglob("*.py")]
    advised = {
        extra
        for file in sources
        for extras in re.findall(r"pip install '?flam-env\[([^]]*)\]", file.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert {"video", "train", "procgen"} <= advised <= EXTRAS.keys()


def test_the_pins_are_of_what_is_asked_for_and_within_it():
    declared = asked_for("", "3.11") | asked_for("all", "3.11") | asked_for("dev", "3.11")
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    for pin in pins:
        (version,) = pin.specifier
        assert declared[pin.name].specifier.contains(version.version), pin
    assert {pin.name for pin in pins} == declared.keys() - {"pillow"}


def test_tracked_files_fit_into_60_megabytes():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a checkout, for git to say which files are tracked")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert len(files) > 100
    assert sum(file.stat().st_size for file in files if file.is_file()) < TRACKED_BYTES


def weights_of(world: Path) -> str:
    """Tells the weights of tokenizer and world model by their values: whatever their names and their config are."""
    files = [world / "tokenizer.safetensors", world / "world_model.safetensors"]
    tensors = [sha256(tensor["data"]).hexdigest() for file in files for _, tensor in deserialize(file.read_bytes())]
    return sha256(" ".join(sorted(tensors)).encode()).hexdigest()[:8]


def test_every_bundled_world_has_an_id():
    assert sorted(BUNDLED.values()) == sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


@pytest.mark.parametrize("environment_id", BUNDLED)
def test_the_changelog_records_which_weights_an_id_has(environment_id):
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(FLAM-\w+-v\d+)` \| \d{4}-\d\d-\d\d \| `(\w+)` \|", changes, re.M)
    recorded = dict(rows)[environment_id]
    assert recorded == weights_of(PRETRAINED / BUNDLED[environment_id]), "record new weights in CHANGELOG.md"
