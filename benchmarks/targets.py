"""Which objective, and which start, learns fastest: all variants get the same minutes; their rollouts are scored.

    python benchmarks/targets.py data/bigfish --tokenizer runs/bigfish --out runs/targets

A variant that was finished is not run again, one that was interrupted goes on. The table is printed, and written as
JSON beside the runs after each of them.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import tyro
from tyro.conf import Positional

from flam_env.models.world_model import WorldModelConfig
from flam_train.engine import FitConfig
from flam_train.presets import SMALL
from flam_train.world_model import world_model

LEVEL = {"target": "level"}
VARIANTS: dict[str, tuple[dict, dict, dict]] = {
    # name: what differs in the model, in the loss, in the fit
    "L2 on codes": ({"target": "code"}, {"information_price": 0.004}, {}),
    "L2 on codes, changed weighted": ({"target": "code"}, {"information_price": 0.004, "weighting": "changed"}, {}),
    "cross-entropy, joint": ({"target": "token"}, {}, {}),
    "cross-entropy, joint, changed weighted": ({"target": "token"}, {"weighting": "changed"}, {}),
    "cross-entropy, per level": (LEVEL, {}, {}),
    "cross-entropy, per level, changed weighted": (LEVEL, {"weighting": "changed"}, {}),
    "per level, beta from the start": (LEVEL, {"free_share": 0.0, "ramp_share": 0.0}, {}),
    "per level, no cell context": (LEVEL | {"cell_context": False}, {}, {}),
    "per level, AdamW alone": (LEVEL, {}, {"muon": 0.0}),
    "per level, twice the slots": (LEVEL | {"slots": 16}, {}, {}),
}
MODEL = replace(SMALL.world_model, slots=8, dim=64, layers=1, iterations=1)
FIT = replace(SMALL.world_model_fit, minutes=4, batch_size=8, ema=0.99)
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
    """Trains every variant for every seed and prints the table.

    Args:
        data: a store of episodes.
        tokenizer: a directory that holds a tokenizer, which all variants share.
        out: the directory of the runs.
        model: what the variants start from; by default smaller than the preset, to see an end within the minutes.
        fit_config: budget and optimiser of every run, its seed apart.
        seeds: of training.
        only: names of variants.
    """
    table = Path(out) / "targets.json"
    for name in only:
        for seed in seeds:
            directory = out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(tokenizer / "tokenizer.safetensors", directory)
            sizes, objective, optimiser = VARIANTS[name]
            world_model(
                data,
                out=directory,
                model=replace(model, **sizes),
                fit_config=replace(fit_config, seed=seed, **optimiser),
                loss=replace(SMALL.loss, **objective),
            )
            rows = json.loads(table.read_text()) if table.exists() else {}
            rows[f"{name}, seed {seed}"] = last_scores(directory)
            table.write_text(json.dumps(rows, indent=1))
    print("| objective | " + " | ".join(SHOWN) + " | steps |\n|" + " --- |" * (len(SHOWN) + 2))
    for name, row in json.loads(table.read_text()).items():
        print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in SHOWN) + f" | {row['step']} |")


def last_scores(directory: Path) -> dict[str, float]:
    """The last held-out scores that a run logged."""
    lines = (directory / "training" / "world_model" / "metrics.jsonl").read_text().splitlines()
    last = [line for line in map(json.loads, lines) if "eval/rollout_psnr" in line][-1]
    return {key.removeprefix("eval/"): value for key, value in last.items()}


if __name__ == "__main__":
    tyro.cli(compare)
