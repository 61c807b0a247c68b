"""A world that is learned in seconds: two bright squares on black, and one run of both training phases on it."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flam_env.models.factored import WorldModelConfig
from flam_env.models.tokenizer import TokenizerConfig
from flam_train.engine import FitConfig
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.phases.tokenizer import tokenizer
from flam_train.phases.world_model import world_model
from flam_train.store.store import Episode, EpisodeStore

SIZE, SIDE = 32, 8  # of the frame and of the squares; squares move by whole sides, each in its half of the frame
COLOURS = ((250, 60, 40), (40, 120, 250))
EPISODES = {"train": (24, 45), "val": (4, 41), "test": (6, 38)}  # number and frames

TOKENIZER = {
    "model": TokenizerConfig(image_size=SIZE, patch_size=4, width=20, blocks=1, levels=(3, 3)),
    "fit_config": FitConfig(
        steps=120, batch_size=24, learning_rate=6e-3, warmup_steps=10, decay_share=0.4, ema=0.9, precision="fp32"
    ),
}
WORLD_MODEL = {
    "model": WorldModelConfig(slots=3, latent_dim=5, dim=32, heads=2, layers=1, iterations=1, window=7),
    "fit_config": FitConfig(
        steps=400,
        batch_size=8,
        learning_rate=4e-3,
        muon=5.0,
        warmup_steps=10,
        decay_share=0.4,
        ema=0.95,
        precision="fp32",
    ),
    "loss": WorldModelLossConfig(information_price=0.02, free_share=0.5),
    "evaluate_every": 0,
}


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny networks run fastest on one thread."""
    with single_thread():
        yield


def squares(length: int, seed: int) -> np.ndarray:
    """A video of two squares that each step by -1, 0 or 1 sides along either axis at random, uint8 (T, 32, 32, 3)."""
    random = np.random.default_rng(seed)
    last = np.array([1, 3])  # a half of the frame has 2 x 4 places
    places = random.integers(0, last + 1, (2, 2))
    frames = np.zeros((length, SIZE, SIZE, 3), np.uint8)
    for frame in frames:
        for half, ((y, x), colour) in enumerate(zip(places * SIDE, COLOURS, strict=True)):
            y += half * SIZE // 2
            frame[y : y + SIDE, x : x + SIDE] = colour
        places = np.clip(places + random.integers(-1, 2, (2, 2)), 0, last)
    return frames


def episode_of(frames: np.ndarray, agent: str = "random", level_seed: int = 0) -> Episode:
    return Episode(
        frames=frames,
        actions=np.zeros(len(frames), np.int16),
        rewards=np.zeros(len(frames), np.float32),
        level_seed=level_seed,
        agent=agent,
        terminated=True,
    )


def store_of_squares(root: Path, episodes: dict[str, tuple[int, int]], size: int = SIZE) -> EpisodeStore:
    """A store with so many episodes of so many frames per split; every third is by "random", others by "planner"."""
    store = EpisodeStore.create(root, source="squares", size=size, settings={"frames_per_second": 11})
    for number, (split, (count, length)) in enumerate(episodes.items()):
        for index in range(count):
            frames = squares(length, seed=100 * number + index)[:, :size, :size]
            store.write(split, episode_of(frames, "planner" if index % 3 else "random", level_seed=index))
    return store


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    return episode_of


@pytest.fixture(scope="session")
def make_store() -> Callable[..., EpisodeStore]:
    return store_of_squares


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """The store of squares, not to be changed."""
    return store_of_squares(tmp_path_factory.mktemp("stores") / "squares", EPISODES)


@pytest.fixture
def fast(tmp_path) -> EpisodeStore:
    """Three frames of 32 px in each split, at a pace that is not that of the squares."""
    store = EpisodeStore.create(tmp_path / "fast", source="squares", size=32, settings={"frames_per_second": 30})
    for split in store.splits:
        store.write(split, episode_of(np.zeros((3, 32, 32, 3), np.uint8)))
    return store


@pytest.fixture(scope="session")
def phases() -> SimpleNamespace:
    """Arguments of the two phases that learn the squares; `hurried` ones only go through the motions."""
    hurried = WORLD_MODEL | {"fit_config": FitConfig(steps=2, batch_size=3, learning_rate=1e-3, precision="fp32")}
    return SimpleNamespace(tokenizer=TOKENIZER, world_model=WORLD_MODEL, hurried=hurried)


@pytest.fixture(scope="session")
def trained_tokenizer(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that has its tokenizer only, trained on squares; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "tokenizer"
    with single_thread():
        tokenizer(store.root, out=out, **TOKENIZER)
    return out


@pytest.fixture(scope="session")
def trained(store: EpisodeStore, trained_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a world of squares, trained by both phases; not to be changed."""
    out = Path(shutil.copytree(trained_tokenizer, tmp_path_factory.mktemp("runs") / "squares"))
    with single_thread():
        world_model(store.root, out=out, **WORLD_MODEL)
    return out
