"""Fixtures for all tests: a world with random weights, in which no two sizes are equal."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flam_env.checkpoint import round_as_stored
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.models.world_model import FactoredWorldModel, WorldModelConfig
from flam_env.units import ActionUnits, UnitConversion
from flam_env.world import Starts, World, WorldSettings, load_world, save_world

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))
STARTS, CLIP_FRAMES, BANK = 11, 8, 37
TOKENIZER = TokenizerConfig(image_size=48, patch_size=4, width=20, blocks=1, levels=(4, 3, 2, 3, 2))
MODEL = WorldModelConfig(
    grid=TOKENIZER.grid,
    group=2,
    levels=TOKENIZER.levels,
    slots=6,
    latent_dim=7,
    dim=16,
    heads=2,
    layers=2,
    window=9,
    target="token",
)
SETTINGS = WorldSettings(source="random weights", context=2, horizon=13, frames_per_second=10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


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


@torch.no_grad()
def random_world() -> World:
    """A world in which things move: random weights, with heads large enough to overcome the pull to stand still."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    tokenizer, model = Tokenizer(TOKENIZER).eval(), FactoredWorldModel(MODEL).eval()
    model.aggregator.head.weight.normal_(std=1.5)
    model.inverse_dynamics.mean.weight.normal_(std=1.5)
    round_as_stored(tokenizer), round_as_stored(model)
    clips = _random_clips(STARTS, CLIP_FRAMES)
    latent_actions, more = _infer(model, clips), _infer(model, _random_clips(BANK, 2))[:, 0]
    torch.set_rng_state(generator_state)
    units = _units(latent_actions)
    convert = UnitConversion(units).from_model
    return World(tokenizer, model, SETTINGS, units, Starts(clips, convert(latent_actions), convert(more)))


def _random_clips(count: int, frames: int) -> torch.Tensor:
    """Token clips (S, T, N) in which one patch in ten changes with every frame."""
    clips = torch.randint(Tokenizer(TOKENIZER).quantizer.size, (count, frames, MODEL.patches))
    for t in range(1, frames):
        still = torch.rand(count, MODEL.patches) > 0.1
        clips[:, t][still] = clips[:, t - 1][still]
    return clips


def _units(latent_actions: torch.Tensor) -> ActionUnits:
    kept = (0, 1, 3, 4, 6)
    scale = latent_actions.abs().amax((0, 1, 2))[list(kept)] / 2
    return ActionUnits(latent_dim=MODEL.latent_dim, kept=kept, scale=tuple(scale.tolist()))


def _infer(model: FactoredWorldModel, clips: torch.Tensor) -> torch.Tensor:
    return model.infer(model.observe(clips)).mean


@pytest.fixture(scope="session")
def run_example():
    """Runs one of the examples with one thread; returns what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        command = [sys.executable, Path(__file__).parents[1] / "examples" / name, *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
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
