"""Which objective, and which start, learns fastest: all variants get the same minutes; their rollouts are scored.

    python benchmarks/targets.py data/bigfish --tokenizer runs/bigfish --out runs/targets

A variant that was finished is not run again, one that was interrupted goes on. Two seeds at a time, each with its own
core, is what two processes with `--seeds 0` and `--seeds 1` do under OMP_NUM_THREADS=1; the one that ends last prints
the table of both.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import tyro
from tyro.conf import Positional

from flam_env.models.factored import WorldModelConfig
from flam_train.engine import FitConfig
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.phases.world_model import world_model
from flam_train.presets import SMALL

LEVEL = {"target": "level"}
VARIANTS: dict[str, tuple[dict, dict, dict]] = {
    # name: what differs in the model, in the loss, in the fit
    "L2 on codes": ({"target": "code"}, {"information_price": 0.004}, {}),
    "L2 on codes, changed weighted": ({"target": "code"}, {"information_price": 0.004, "weighting": "changed"}, {}),
    "L2 on codes, information at .008": ({"target": "code"}, {"information_price": 0.008}, {}),
    "cross-entropy, joint": ({"target": "token"}, {}, {}),
    "cross-entropy, joint, changed weighted": ({"target": "token"}, {"weighting": "changed"}, {}),
    "cross-entropy, per level": (LEVEL, {}, {}),
    "per level, changed weighted": (LEVEL, {"weighting": "changed"}, {}),
    "per level, beta from the start": (LEVEL, {"free_share": 0.0, "ramp_share": 0.0}, {}),
    "per level, no cell context": (LEVEL | {"cell_context": False}, {}, {}),
    "per level, AdamW alone": (LEVEL, {}, {"muon": 0.0}),
    "per level, twice the slots": (LEVEL | {"slots": 16}, {}, {}),
}
MODEL = WorldModelConfig(slots=8, dim=64, layers=1, iterations=1)
FIT = replace(SMALL.world_model_fit, steps=0, minutes=4, batch_size=8, ema=0.99)
SHOWN = ("rollout_psnr", "recon_psnr", "accuracy_changed", "accuracy_still", "nats_per_frame", "active_slots")


def compare(
    data: Positional[Path],
    *,
    tokenizer: Path,
    out: Path,
    model: WorldModelConfig = MODEL,
    fit_config: FitConfig = FIT,
    seeds: tuple[int, ...] = (0, 1),
    only: tuple[str, ...] = tuple(VARIANTS),
) -> None:
    """Trains every variant for every seed and prints the table of all that `out` holds.

    Args:
        data: a store of episodes.
        tokenizer: a directory that holds a tokenizer, which all variants share.
        out: the directory of the runs.
        model: what the variants start from; by default smaller than a preset's, to see an end within the minutes.
        fit_config: budget and optimiser of every run, its seed apart.
        seeds: of training.
        only: names of variants.
    """
    for name in only:
        for seed in seeds:
            directory = run_directory(out, name, seed)
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(tokenizer / "tokenizer.safetensors", directory)
            sizes, objective, optimiser = VARIANTS[name]
            world_model(
                data,
                out=directory,
                model=replace(model, **sizes),
                fit_config=replace(fit_config, seed=seed, **optimiser),
                loss=WorldModelLossConfig(**objective),
            )
    runs = finished_runs(out, VARIANTS, max(seeds))
    print_table({key: last_scores(run) for key, run in runs.items()}, "objective", SHOWN)


def run_directory(out: Path, name: str, seed: int) -> Path:
    """Where a variant's run of one seed lies."""
    return Path(out) / f"{name.replace(' ', '-').replace(',', '')}-{seed}"


def finished_runs(out: Path, names: Iterable[str], last_seed: int) -> dict[tuple[str, int], Path]:
    """The directories of the runs that have become whole worlds, by variant and seed."""
    runs = {(name, seed): run_directory(out, name, seed) for name in names for seed in range(last_seed + 1)}
    return {key: run for key, run in runs.items() if (run / "config.json").exists()}


def last_scores(directory: Path) -> dict[str, float]:
    """The last held-out scores that a run logged."""
    lines = (directory / "training" / "world_model" / "metrics.jsonl").read_text().splitlines()
    last = [line for line in map(json.loads, lines) if "eval/rollout_psnr" in line][-1]
    return {key.removeprefix("eval/"): value for key, value in last.items()}


def print_table(rows: dict[tuple[str, int], dict[str, float]], title: str, shown: tuple[str, ...]) -> None:
    """A Markdown table with a row for each (variant, seed)."""
    print(f"| {title} | seed | " + " | ".join(shown) + " | steps |\n|" + " --- |" * (len(shown) + 3))
    for (name, seed), row in rows.items():
        print(f"| {name} | {seed} | " + " | ".join(f"{row[key]:.3f}" for key in shown) + f" | {row['step']} |")


if __name__ == "__main__":
    tyro.cli(compare)
