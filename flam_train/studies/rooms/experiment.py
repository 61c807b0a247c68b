"""`flam-train experiment`: trains and scores all runs of a controlled experiment; killed and started again as you like.

A run leaves one report file; what has one is not run again. Each run has one process and one core.
"""

import json
import shutil
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flam_env.worlds.writing import write_atomically
from flam_train.engine.processes import logged, side_by_side
from flam_train.evaluate.evaluate import Metric, evaluate
from flam_train.evaluate.report import format_report
from flam_train.phases.tokenizer import FILE as TOKENIZER_FILE
from flam_train.phases.tokenizer import tokenizer
from flam_train.phases.world_model import world_model
from flam_train.presets import ROOMS
from flam_train.sources.collect import collect
from flam_train.studies.rooms.runs import EXPERIMENTS, FRAMES, SIZE, Run

CURVE = ("step", "time", "rollout_psnr", "frames_exact", "nats_per_frame", "agents_with_own_slot")

METRICS: tuple[Metric, ...] = ("pixels", "dci", "actions", "exactness", "independence")
"""All but the look at dreams for which no truth is needed, which takes longer than all others."""


def experiment(
    name: str,
    *,
    data: Path = Path("data/rooms"),
    runs: Path = Path("runs/rooms"),
    reports: Path = Path("benchmarks/results/rooms"),
    workers: int = 0,
) -> None:
    """Collects the rooms, trains the tokenizers and worlds, and writes one report for each run.

    Args:
        name: main, slots, agents, tied, ablations, beta, binding, or all.
        data: folder of the stores.
        runs: folder of the worlds and of their logs.
        reports: folder of the report files; `flam-train tables` prints them.
        workers: runs side by side; 0 for one per core.

    Raises:
        ValueError: there is no such experiment, or the number of workers is negative.
        ChildProcessError: a run failed or was killed; run it again to resume.
    """
    if name not in (*EXPERIMENTS, "all") or workers < 0:
        raise ValueError(
            f"expected one of {', '.join(EXPERIMENTS)} or all, and workers >= 0, got {name!r} and {workers}"
        )
    chosen = {run.name: run for key in EXPERIMENTS if name in (key, "all") for run in EXPERIMENTS[key]}
    missing = [run for run in chosen.values() if not report_path(reports, run).exists()]
    for room in {run.store: run for run in missing}.values():
        prepare_room(room, data, runs)
    side_by_side({run.name: partial(finish_run, run, data, runs, reports) for run in missing}, workers, name)


def report_path(reports: Path, run: Run) -> Path:
    """The report file of a run."""
    return Path(reports) / f"{run.name}.json"


def prepare_room(run: Run, data: Path, runs: Path) -> None:
    """Collects the run's room and trains its tokenizer, unless they are there."""
    collect("multigrid", data / run.store, frames=FRAMES, size=SIZE, room=run.room)
    tokenizer(data / run.store, out=runs / run.store, model=run.tokenizer, fit_config=ROOMS.tokenizer_fit)


def finish_run(run: Run, data: Path, runs: Path, reports: Path) -> None:
    """Trains a run in this process, or what is left of it, scores it and writes its report.

    Its room must be prepared. What training and scoring print goes to a file beside the world.
    """
    out = runs / run.name
    with logged(out):
        shutil.copy(runs / run.store / TOKENIZER_FILE, out)
        world_model(data / run.store, out=out, model=run.model, fit_config=run.fit, loss=run.loss, evaluate_every=100)
        started = time.perf_counter()
        (out / "report.json").unlink(missing_ok=True)  # of an earlier try
        report = evaluate(str(out), data / run.store, metrics=METRICS)
        print(format_report(report))
        report["run"] = _summary(run, out) | {"evaluation_seconds": time.perf_counter() - started}
    reports.mkdir(parents=True, exist_ok=True)
    write_atomically(report_path(reports, run), json.dumps(report, indent=1).encode())


def _summary(run: Run, out: Path) -> dict[str, Any]:
    """What was trained and how training went."""
    lines = (out / "training" / "world_model" / "metrics.jsonl").read_text().splitlines()
    looks = [line for line in map(json.loads, lines) if "eval/rollout_psnr" in line]
    curve = [{name: look.get(f"eval/{name}", look.get(name)) for name in CURVE} for look in looks]
    configs = {"model": asdict(run.model), "loss": asdict(run.loss), "fit": asdict(run.fit)}
    return {"name": run.name, "curve": curve} | configs
