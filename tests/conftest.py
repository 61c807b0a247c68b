"""Fixtures for all tests: a world with random weights, in which no two sizes are equal."""

import contextlib
import gc
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny import random_world

from flam_env.worlds.loading import load_world
from flam_env.worlds.saving import save_world
from flam_env.worlds.world import World

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def pytest_collection_finish() -> None:
    """Leaves what the modules hold out of garbage collections, of which imageio makes one after every video."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where networks run in a test: on the CPU, and again on a GPU, with convolutions in full precision."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.empty(0, device=request.param).device


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a world with random weights: 48 px, N = 144, K = 6, A = 5, the same in every run."""
    directory = tmp_path_factory.mktemp("worlds") / "tiny"
    save_world(directory, random_world())
    return directory


@pytest.fixture(scope="session")
def tiny_world(tiny_checkpoint: Path) -> World:
    """The world of `tiny_checkpoint`, loaded; not to be changed."""
    return load_world(tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_prior_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A tiny world, loaded, whose model learned a prior of three components; not to be changed."""
    directory = tmp_path_factory.mktemp("worlds") / "tiny-prior"
    save_world(directory, random_world(prior_components=3))
    return load_world(directory)


@pytest.fixture(scope="session")
def run_example():
    """Runs one of the examples with one thread; returns what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        command = [sys.executable, Path(__file__).parents[1] / "examples" / name, *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def full_disk():
    """A context in which files may have so many bytes, as if the disk were full."""

    @contextlib.contextmanager
    def limit(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch):
    """Makes a module's jobs run in this process, one after the other; returns the names of those that were begun."""

    def run(command: ModuleType) -> list[str]:
        begun: list[str] = []

        def side_by_side(jobs, workers, title, *, stop_at_failure, deadline):
            assert not stop_at_failure
            failed = {}
            for name, job in jobs.items():
                begun.append(name)
                try:
                    job()
                except ValueError as error:
                    failed[name] = error
            return failed

        monkeypatch.setattr(command, "side_by_side", side_by_side)
        return begun

    return run
