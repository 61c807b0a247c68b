"""A checkpoint that cannot be written ends a run in one line and leaves the one before."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from flam_train.engine import FitConfig, fit
from flam_train.engine.state import read_header


def config(steps):
    return FitConfig(
        steps=steps, batch_size=2, learning_rate=1e-3, warmup_steps=0, precision="fp32", checkpoint_minutes=0
    )


def square(model, batch, progress):
    return model(batch["x"]).square().mean(), {}


def draw(generator, count):
    return {"x": torch.randn(count, 60, generator=generator)}


def test_a_full_disk_leaves_the_checkpoint_before_and_the_run_goes_on_from_it(tmp_path, full_disk):
    """The first checkpoint has no moments of the optimiser yet, and so fits."""
    with full_disk(40_000), pytest.raises(OSError, match=r"make room and run it again.*resume\.safetensors") as raised:
        fit(nn.Linear(60, 60), square, draw, config(steps=20), tmp_path)
    assert "\n" not in str(raised.value)
    assert read_header(tmp_path / "resume.safetensors").step == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"resume.safetensors", "metrics.jsonl", "tensorboard"}
    assert fit(nn.Linear(60, 60), square, draw, config(steps=20), tmp_path).step == 20
    assert any(name.startswith("moments.") for name in load_file(tmp_path / "resume.safetensors"))


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    fit(nn.Linear(60, 60), square, draw, config(steps=2), tmp_path)

    def refused(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError, match=r"resume\.safetensors"):
        fit(nn.Linear(60, 60), square, draw, config(steps=4), tmp_path)
