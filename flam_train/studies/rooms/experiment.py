"""`flam-train experiment`: trains and scores all runs of a controlled experiment; killed and started again as you like.

A run leaves one report file; what has one is not run again. Each run has one process and one core.
"""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flam_train.evaluate.evaluate import Metric, evaluate
from flam_train.evaluate.report import format_report
from flam_train.phases.tokenizer import FILE as TOKENIZER_FILE
from flam_train.phases.tokenizer import tokenizer
from flam_train.phases.world_model import world_model
from flam_train.presets import ROOMS
from flam_train.sources.collect import collect
from flam_train.studies.reports import training_looks
from flam_train.studies.rooms.runs import EXPERIMENTS, FRAMES, SIZE, Run
from flam_train.studies.runs import Study, make_reports

CURVE = ("step", "time", "rollout_psnr", "frames_exact", "nats_per_frame", "agents_with_own_slot")

METRICS: tuple[Metric, ...] = ("pixels", "dci", "actions", "exactness", "independence")
"""All but the look at dreams for which no truth is needed, which takes longer than all others."""


MEMORY = 6e9
"""Bytes that a run needs: 5 GB were measured, while worlds of the largest room are scored."""


@dataclass(frozen=True, kw_only=True)
class RoomStudy(Study):
    """Where rooms and the worlds of them are.

    Attributes:
        data: folder of the stores, one for each kind of room.
    """

    data: Path

    def store(self, run: Run) -> Path:
        """The rooms of a run."""
        return self.data / run.store

    def tokenizer(self, run: Run) -> Path:
        """Where the tokenizer of these rooms is trained."""
        return self.runs / run.store


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
        workers: runs side by side; 0 for one per core, as far as there are 6 GB of memory for each.

    Raises:
        ValueError: there is no such experiment, or the number of workers is negative.
        ChildProcessError: a run failed or was killed; run it again to resume.
    """
    if name not in (*EXPERIMENTS, "all") or workers < 0:
        raise ValueError(
            f"expected one of {', '.join(EXPERIMENTS)} or all, and workers >= 0, got {name!r} and {workers}"
        )
    study = RoomStudy(data=Path(data), runs=Path(runs), reports=Path(reports))
    missing = study.missing(run for key in EXPERIMENTS if name in (key, "all") for run in EXPERIMENTS[key])
    for room in {run.store: run for run in missing}.values():
        prepare_room(room, study)
    make_reports(study, missing, make_world, workers=workers, memory=MEMORY, title=name)


def prepare_room(run: Run, study: RoomStudy) -> None:
    """Collects the run's room and trains its tokenizer, unless they are there."""
    collect("multigrid", study.store(run), frames=FRAMES, size=SIZE, room=run.room)
    tokenizer(study.store(run), out=study.tokenizer(run), model=run.tokenizer, fit_config=ROOMS.tokenizer_fit)


def make_world(run: Run, study: RoomStudy) -> dict[str, Any]:
    """Trains a run in this process, or what is left of it, and scores it; its room must be prepared.

    Returns:
        Its report.
    """
    data, out = study.store(run), study.folder(run)
    shutil.copy(study.tokenizer(run) / TOKENIZER_FILE, out)
    world_model(data, out=out, model=run.model, fit_config=run.fit, loss=run.loss, evaluate_every=100)
    started = time.perf_counter()
    (out / "report.json").unlink(missing_ok=True)  # of an earlier try
    report = evaluate(str(out), data, metrics=METRICS)
    print(format_report(report))
    report["run"] = _summary(run, out) | {"evaluation_seconds": time.perf_counter() - started}
    return report


def _summary(run: Run, out: Path) -> dict[str, Any]:
    """What was trained and how training went."""
    looks = training_looks(out / "training" / "world_model", "eval/rollout_psnr")
    curve = [{name: look.get(f"eval/{name}", look.get(name)) for name in CURVE} for look in looks]
    configs = {"model": asdict(run.model), "loss": asdict(run.loss), "fit": asdict(run.fit)}
    return {"name": run.name, "curve": curve} | configs
