"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path

import pytest

from flam_train.cli import COMMANDS, main, python_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("flam_env", "flam_train", "baselines")
FILES = sorted(file for top in (*PACKAGES, "tests", "benchmarks", "examples") for file in (ROOT / top).rglob("*.py"))
BASE_DEPENDENCIES = {"torch", "gymnasium", "numpy", "einops", "safetensors"}
FORBIDDEN_ROOMS = {"utils", "util", "common", "core", "misc", "helpers", "helper", "base"}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of the packages that the code imports, relative imports left out."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and value of every string in the code, comments aside; parts of f-strings follow what they continue."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        else:
            yield from strings(node)


def modules(package: str) -> list[Path]:
    return [file for file in FILES if file.relative_to(ROOT).parts[0] == package]


def test_there_is_a_house_to_check():
    assert len(modules("flam_env")) > 10 and len(modules("flam_train")) > 10


@pytest.mark.parametrize("package, later", [("flam_env", {"flam_train", "baselines"}), ("flam_train", {"baselines"})])
def test_imports_point_one_way(package, later):
    backwards = {str(file): found for file in modules(package) if (found := imported(parsed(file)) & later)}
    assert not backwards


def test_packages_import_neither_tests_nor_benchmarks_nor_examples():
    for package in PACKAGES:
        for file in modules(package):
            assert not imported(parsed(file)) & {"tests", "benchmarks", "examples"}, file


def test_a_world_needs_the_base_dependencies_only():
    allowed = BASE_DEPENDENCIES | {"flam_env"} | sys.stdlib_module_names
    extra = {file.name: found for file in modules("flam_env") if (found := imported(parsed(file)) - allowed)}
    assert extra == {"sb3_vec_env.py": {"stable_baselines3"}, "decoding.py": {"av"}, "images.py": {"PIL"}}


def test_the_base_dependencies_are_those_that_are_declared():
    declared = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)[1]
    assert set(re.findall(r'"([a-z]+)', declared)) == BASE_DEPENDENCIES


def test_no_room_is_named_after_nothing():
    rooms = [path.relative_to(ROOT) for file in FILES for path in (file, *file.parents) if path.is_relative_to(ROOT)]
    assert not {str(room) for room in rooms if room.stem in FORBIDDEN_ROOMS}


def test_errors_are_caught_by_name():
    bare = {
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    }
    assert not bare


def test_nothing_knows_the_machine_that_it_was_written_on():
    """No path from the root of a disk, but for the kernel's."""
    absolute = re.compile(r"(?<![\w.:/~$)}\]])/(?!proc/|dev/|sys/|nowhere/)[a-zA-Z][\w.-]*/[\w.-]+")
    texts = {f"{file}:{line}": text for file in FILES for line, text in strings(parsed(file))}
    texts |= {str(path): path.read_text() for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".txt")}
    texts["Makefile"] = (ROOT / "Makefile").read_text()
    found = {place: match[0] for place, text in texts.items() if (match := absolute.search(text))}
    assert not found


def test_pickles_are_never_read():
    """Weights are safetensors and JSON: a file from a stranger can be wrong but not run code.

    The one exception is an example that opens a zip of Stable-Baselines3 which its user names.
    """
    for package in PACKAGES:
        for file in modules(package):
            tree = parsed(file)
            assert not imported(tree) & {"pickle", "cloudpickle", "joblib", "dill"}, file
            calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
            assert not calls & {"torch.load", "torch.save"}, file
            assert not calls & {"PPO.load", "A2C.load", "BaseAlgorithm.load", "VecNormalize.load"}, file
            assert "allow_pickle=True" not in file.read_text(), file


def test_no_advice_destroys():
    """Only what is certainly damaged, and can be made again, is to be deleted; anything else may be a person's."""
    may = {"hdf5.py"}
    advice = re.compile(r"[;,:] (or )?(delete|remove|overwrite) (?!.*--)")
    found = {
        f"{file}:{line}": text
        for package in PACKAGES
        for file in modules(package)
        for line, text in strings(parsed(file))
        if file.name not in may and advice.search(text)
    }
    assert not found


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_python_in_the_documentation_compiles(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    assert blocks or page != "README.md"
    for block in blocks:
        ast.parse(block)


def test_every_command_has_a_room():
    rooms = {file.stem for file in (ROOT / "flam_train" / "commands").glob("*.py")}
    assert rooms - {"__init__", "arguments"} == {python_name(name) for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_function_of_its_name_and_explains_itself(name, capsys):
    module = import_module(f"flam_train.commands.{python_name(name)}")
    parameters = signature(getattr(module, python_name(name))).parameters.values()
    files = [parameter for parameter in parameters if parameter.annotation in (Path, Path | None, tuple[Path, ...])]
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: flam-train {name}")
    assert files and all(f"--{file.name}" in out for file in files if file.kind is Parameter.KEYWORD_ONLY)


def test_the_command_line_starts_without_what_its_commands_need():
    """Each imports its own; `flam-train --help` waits for none of them."""
    heavy = {"torch", "numpy", "tyro", "h5py", "flam_env"}
    code = "import sys; from flam_train.cli import command_list; command_list(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


def test_functions_know_nothing_of_the_command_line():
    """They are called from Python as well: what is printed of their results, and what tyro is told, is in commands."""
    for file in modules("flam_train"):
        if not {"commands", "cli.py", "planner_report.py"} & set(file.relative_to(ROOT).parts):
            assert "tyro" not in imported(parsed(file)), file
