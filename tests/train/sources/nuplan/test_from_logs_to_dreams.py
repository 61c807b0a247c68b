"""Logs of nuPlan become a store, a tokenizer, a world and a dream by the commands of docs/nuplan.md."""

import json
import re
import shlex
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from nuplan_logs import write_log

import flam_env  # noqa: F401
from flam_train.cli import main
from flam_train.store.store import EpisodeStore

pytest.importorskip("PIL")
pytest.importorskip("av")
pytestmark = pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")

PAGE = Path(__file__).parents[4] / "docs" / "nuplan.md"
SHORT = "--fit-config.steps 2 --fit-config.batch-size 2 --fit-config.precision fp32"
SMALL = {
    "import": "--size 64 --workers 1",
    "tokenizer": f"--model.image-size 64 --model.width 16 --model.blocks 1 {SHORT}",
    "world-model": f"--model.dim 16 --model.slots 3 --model.latent-dim 4 --model.heads 2 --model.iterations 1 {SHORT}",
    "evaluate": "--clips 3 --horizon 4",
    "demo": "--horizon 3",
}
"""What makes each command quick; all else is as the page has it."""


def commands() -> list[list[str]]:
    """The commands of the page that make a world, as words after `flam-train`."""
    (block,) = re.findall(r"^## A world of it\n.*?```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line for line in block.splitlines() if line.startswith("flam-train ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_a_world_without_weights_names_the_commands_of_the_page():
    with pytest.raises(FileNotFoundError) as refused:
        gym.make("FLAM-nuPlan-v0")
    steps = [step.split()[1:] for step in re.findall(r"flam-train [^;]*", str(refused.value))]
    assert [words[0] for words in steps] == ["import", "tokenizer", "world-model"]
    assert steps[1:] == commands()[1:3]


def test_a_log_becomes_a_store_a_tokenizer_a_world_and_a_dream(tmp_path, monkeypatch, capsys):
    for seed in (1, 2, 3):
        write_log(tmp_path / "nuplan-v1.1" / "splits" / "mini", seed, 36)
    shutil.move(tmp_path / "nuplan-v1.1" / "splits" / "mini" / "sensor_blobs", tmp_path / "nuplan-v1.1")
    monkeypatch.chdir(tmp_path)
    found = commands()
    assert [words[0] for words in found] == list(SMALL)
    for words in found:
        main([*words, *SMALL[words[0]].split()])
    store = EpisodeStore.open("data/nuplan")
    assert store.source == "nuplan" and sum(map(store.frames, store.splits)) == 3 * 36
    scores = json.loads(Path("runs/nuplan/report.json").read_text())
    assert list(scores["continuous_actions"]["values"])[:3] == ["forward", "left", "turn"]
    said = capsys.readouterr().out
    assert "are worth --preset nuplan-small\n" in said and "R2 of linear probes" in said
    assert (tmp_path / "demo-nuplan" / "dream.mp4").stat().st_size > 0
    env = gym.make("FLAM-nuPlan-v0", checkpoint="runs/nuplan")
    first, _ = env.reset(seed=0)
    frame, *_ = env.step(env.action_space.sample())
    assert first.shape == frame.shape == (64, 64, 3) and frame.dtype == np.uint8
    assert env.unwrapped.world.settings.source == "nuplan" and env.unwrapped.world.settings.frames_per_second == 10
    assert env.unwrapped.world.tokenizer.quantizer.size == 16_384
