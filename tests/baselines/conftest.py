"""A store of a dot whose steps are known, and a tokenizer for it."""

from pathlib import Path

import pytest
import torch
from dots import GRID, LEVELS, PATCH, filmed

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import round_as_stored, save_network
from flam_train.store.store import EpisodeStore


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny networks run fastest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """The store of the dot, not to be changed."""
    return filmed(tmp_path_factory.mktemp("stores") / "dots")


@pytest.fixture(scope="session")
def begin(tmp_path_factory: pytest.TempPathFactory):
    """Makes a directory of a run that has a tokenizer, always the same, and nothing else."""
    with torch.random.fork_rng():
        torch.manual_seed(2)  # with these weights, light and dark have tokens of their own
        config = TokenizerConfig(image_size=GRID * PATCH, patch_size=PATCH, width=12, blocks=1, levels=LEVELS)
        tokenizer = round_as_stored(Tokenizer(config))

    def make() -> Path:
        out = tmp_path_factory.mktemp("run")
        save_network(out / "tokenizer.safetensors", tokenizer, source="dots")
        return out

    return make
