"""A token sampler learns what hangs together, and how it is learned, kept and gone on with."""

import json
from types import SimpleNamespace

import pytest
import torch
from sketches import Codes

from flam_env import Dream, load_world
from flam_env.heads.token_sampler import TokenSampler, TokenSamplerConfig
from flam_env.models.quantize import FSQ
from flam_env.worlds.checkpoint import read_tensors
from flam_train.engine import FitConfig
from flam_train.heads import token_sampler as learning
from flam_train.heads.token_sampler import REPORT, frame_nats, sampler_loss, token_sampler

GRID, LEVELS, QUIET = 4, (2, 2), 0
SIZE = TokenSamplerConfig(dim=8, layers=2, width=8, temperature=1.0)
FIT = FitConfig(
    steps=30, batch_size=2, learning_rate=3e-3, ema=0.9, precision="fp32", checkpoint_minutes=0, log_every=10
)


class Flash:
    """Says of a frame, whatever came before, that each channel of each patch is lit in one frame of four.

    In truth all patches are lit or none is.
    """

    def __init__(self):
        self.quantizer = FSQ(LEVELS)

    def observe(self, tokens):
        return SimpleNamespace(tokens=tokens, at=lambda frames: SimpleNamespace(tokens=tokens[:, frames]))

    def infer(self, observed):
        return Codes(torch.zeros(*observed.tokens[:, 1:].shape[:2], 1, 2))

    def step(self, observed, actions):
        return torch.tensor([0.75, 0.25]).log().expand(*observed.tokens.shape, len(LEVELS), 2)

    def level_logs(self, output):
        return output


def flashes(count: int, seed: int) -> torch.Tensor:
    """Clips (B, 5, N) of it."""
    lit = torch.rand(count, 5, 1, generator=torch.Generator().manual_seed(seed)) < 0.25
    return torch.where(lit, 3, QUIET).expand(-1, -1, GRID**2)


@pytest.fixture(scope="module")
def learned() -> TokenSampler:
    torch.manual_seed(0)
    config = TokenSamplerConfig(levels=LEVELS, grid=GRID, dim=16, layers=2, width=16, apart=4, temperature=1.0)
    sampler, model = TokenSampler(config), Flash()
    optimiser = torch.optim.AdamW(sampler.parameters(), 1e-2)
    for step in range(300):
        optimiser.zero_grad()
        sampler_loss(sampler, model, flashes(8, step))[0].backward()
        optimiser.step()
    return sampler.eval()


def drawn(sampler: TokenSampler, count: int) -> torch.Tensor:
    logs = torch.tensor([0.75, 0.25]).log().expand(count, GRID**2, len(LEVELS), 2)
    chance = torch.rand(count, sampler.chance, generator=torch.Generator().manual_seed(1))
    return sampler.draw(logs, torch.zeros(count, GRID**2, dtype=torch.long), chance)


def whole(frames: torch.Tensor) -> float:
    """The share of frames that are all lit or all quiet."""
    return ((frames == 3).all(1) | (frames == QUIET).all(1)).double().mean().item()


def test_what_happens_together_is_drawn_together(learned):
    together, apart = drawn(learned, 400), drawn(TokenSampler(learned.config), 400)
    assert whole(together) > 0.5 and whole(apart) < 0.01
    assert 0.1 < (together == 3).double().mean() < 0.35


def test_what_hangs_together_costs_fewer_nats_drawn_together(learned):
    found = frame_nats(learned, Flash(), flashes(64, seed=99))
    fresh = frame_nats(TokenSampler(learned.config), Flash(), flashes(64, seed=99))
    assert found["apart"] == pytest.approx(fresh["apart"])
    assert fresh["together"] == pytest.approx(fresh["apart"], rel=1e-3)
    assert found["together"] < 0.4 * found["apart"]


def test_the_command_gives_a_world_a_sampler_and_leaves_the_rest(trained, store, tmp_path):
    out = token_sampler(str(trained), store.root, out=tmp_path / "drawing", size=SIZE, fit_config=FIT)
    before, after = load_world(trained), load_world(out)
    assert before.fingerprint() == after.fingerprint()
    assert set(after.heads) == {*before.heads, "token_sampler"}
    assert Dream(after).chance == after.model.patches * len(after.tokenizer.config.levels)
    report = json.loads((out / REPORT).read_text())
    assert 0 < report["together"] < 1.5 * report["apart"]


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(trained, store, tmp_path, monkeypatch):
    whole, parts, steps = tmp_path / "whole", tmp_path / "parts", []

    def interrupted(*arguments):
        steps.append(None)
        if len(steps) == 17:
            raise KeyboardInterrupt
        return sampler_loss(*arguments)

    token_sampler(str(trained), store.root, out=whole, size=SIZE, fit_config=FIT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learning, "sampler_loss", interrupted)
        token_sampler(str(trained), store.root, out=parts, size=SIZE, fit_config=FIT)
    assert not (parts / "token_sampler.safetensors").exists()
    token_sampler(str(trained), store.root, out=parts, size=SIZE, fit_config=FIT)
    one, other = (read_tensors(out / "token_sampler.safetensors")[1] for out in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_bundled_world_stays_as_it_is(store):
    with pytest.raises(ValueError, match="give another"):
        token_sampler("bigfish", store.root)
