"""Which objective learns fastest: every variant gets the same minutes, and is scored by its rollouts.

    python benchmarks/targets.py data/bigfish --tokenizer runs/bigfish --out runs/targets --minutes 4

A variant that was finished is not run again. Prints a Markdown table and writes it as JSON beside the runs.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import tyro
from tyro.conf import Positional

from flam_train.presets import SMALL
from flam_train.world_model import world_model

VARIANTS = {
    "L2 on codes": ({"target": "code"}, {"information_price": 0.004}),
    "L2 on codes, changed weighted": ({"target": "code"}, {"information_price": 0.004, "weighting": "changed"}),
    "cross-entropy, joint": ({"target": "token"}, {}),
    "cross-entropy, joint, changed weighted": ({"target": "token"}, {"weighting": "changed"}),
    "cross-entropy, per level": ({"target": "level"}, {}),
    "cross-entropy, per level, changed weighted": ({"target": "level"}, {"weighting": "changed"}),
    "per level, beta from the start": ({"target": "level"}, {"free_share": 0.0, "ramp_share": 0.0}),
    "per level, no cell context": ({"target": "level", "cell_context": False}, {}),
    "per level, 8 slots": ({"target": "level", "slots": 8}, {}),
}
SHOWN = ("rollout_psnr", "recon_psnr", "accuracy_changed", "accuracy_still", "nats_per_frame", "active_slots")


def compare(
    data: Positional[Path],
    *,
    tokenizer: Path,
    out: Path,
    minutes: float = 4.0,
    seeds: tuple[int, ...] = (0, 1),
    only: tuple[str, ...] = tuple(VARIANTS),
) -> None:
    """Trains every variant for every seed and prints the table."""
    rows = {}
    for name in only:
        for seed in seeds:
            directory = out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(tokenizer / "tokenizer.safetensors", directory)
            sizes, objective = VARIANTS[name]
            world_model(
                data,
                out=directory,
                model=replace(SMALL.world_model, **sizes),
                fit_config=replace(SMALL.world_model_fit, minutes=minutes, seed=seed, ema=0.99),
                loss=replace(SMALL.loss, **objective),
            )
            rows[f"{name}, seed {seed}"] = last_scores(directory)
    (out / "targets.json").write_text(json.dumps({"minutes": minutes, "rows": rows}, indent=1))
    print("| objective | " + " | ".join(SHOWN) + " | steps |\n|" + " --- |" * (len(SHOWN) + 2))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in SHOWN) + f" | {row['step']} |")


def last_scores(directory: Path) -> dict[str, float]:
    """The last held-out scores that a run logged."""
    lines = (directory / "training" / "world_model" / "metrics.jsonl").read_text().splitlines()
    last = [line for line in map(json.loads, lines) if "eval/rollout_psnr" in line][-1]
    return {key.removeprefix("eval/"): value for key, value in last.items()}


if __name__ == "__main__":
    tyro.cli(compare)
