"""`python -m baselines.campaign`: makes the trainings of a plan, killed and started again as you like."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from baselines.campaign.plans import PLANS, Training
from baselines.campaign.progress import progress_lines
from baselines.campaign.reports import check_report, is_done
from baselines.campaign.study import REPORTS, Campaign
from baselines.campaign.trainings import make_training
from flam_train.engine.processes import require_made, side_by_side
from flam_train.evaluate.perceptual.scores import load_judges
from flam_train.studies.recipe.pieces import end_of_piece
from flam_train.studies.runs import check_workers

HORIZON = 16
"""Frames that are predicted of a held-out clip."""


def campaign(
    *,
    plan: Literal["cpu", "gpu", "tuning", "tiny"] = "cpu",
    only: tuple[str, ...] = (),
    data: Path = Path("data"),
    runs: Path = Path("runs/campaign"),
    reports: Path = REPORTS,
    jobs: int = 1,
    minutes_at_once: float = 0.0,
    clips: int = 128,
    perceptual: tuple[Literal["lpips", "fvd"], ...] = ("lpips",),
    dry_run: bool = False,
) -> str:
    """Makes the trainings of a plan that have no report yet, each from its data to one report file.

    Killed at any point, or at the end of a piece, it goes on where it was when it is called again. A training that
    fails leaves the others alone.

    Args:
        plan: cpu, what a CPU makes in an afternoon; gpu, with more seeds, agents, games and the sizes of the paper;
            tuning, three learning rates of every method for a short time; tiny, the plan of the CPU as a rehearsal.
        only: labels of trainings or their first parts, as `multigrid` or `multigrid/flam`; by default all.
        data: folder of packs (NAME.pack) and stores (NAME). What is missing is collected, which needs its simulator;
            `--dry-run` says the names.
        runs: folder of worlds, tokenizers, slots and logs; plans have folders of their own in it.
        reports: folder of the report files, in a folder for each plan; `python -m baselines.campaign tables` prints
            them.
        jobs: trainings side by side, each with a process and a core of its own; 0 for one per core.
        minutes_at_once: ends this call in time, with what is done so far saved; 0 goes on until all is done.
        clips: held-out clips on which worlds are scored.
        perceptual: metrics whose weights `flam-train fetch-metrics` gets; name none to score without. FVD takes long on
            a CPU, and is of the worlds of Table 1. One that is named later is added to reports whose worlds are still
            there.
        dry_run: say what would be done, and nothing more.

    Returns:
        What is done, what is left, and how long that may take.

    Raises:
        FileNotFoundError: no weights for lpips or fvd; or a report lacks a metric, and its world is gone.
        ValueError: no training is called so, a number is out of range, or a report is of a training with other
            settings.
        ChildProcessError: trainings failed; the others are done.
    """
    if minutes_at_once < 0 or clips < 2:
        raise ValueError(f"expected minutes_at_once >= 0 and clips >= 2, got {minutes_at_once} and {clips}")
    check_workers(jobs)
    chosen = choose(PLANS[plan], only)
    study = Campaign(
        data=Path(data),
        tokenizers=Path(runs) / "tokenizers",
        runs=Path(runs) / plan,
        reports=Path(reports) / plan,
        clips=clips,
        perceptual=perceptual,
    )
    for training in chosen:
        check_report(training, study)
    lines = "\n".join(progress_lines(chosen, study, budgets=dry_run))
    unfinished = [training for training in chosen if not is_done(training, study)]
    if dry_run or not unfinished:
        return lines
    _require_judges(unfinished, study)
    print(lines, flush=True)
    deadline = end_of_piece(minutes_at_once)
    work = {training.name: partial(make_training, training, study, deadline) for training in unfinished}
    failed = side_by_side(work, jobs, plan, stop_at_failure=False, deadline=deadline)
    require_made(failed, "trainings", study.runs)
    return "\n".join(progress_lines(chosen, study))


def choose(trainings: Iterable[Training], only: tuple[str, ...]) -> list[Training]:
    """The trainings that words name, by the first parts of their labels; all if there are no words.

    Raises:
        ValueError: a word names none.
    """
    known = list(trainings)
    for word in only:
        if not any(training.matches(word) for training in known):
            labels = sorted({"/".join(training.label.split("/")[:2]) for training in known})
            raise ValueError(f"expected the first parts of labels of this plan, as {', '.join(labels)}, got {word!r}")
    return [training for training in known if not only or any(map(training.matches, only))]


def _require_judges(trainings: Sequence[Training], study: Campaign) -> None:
    """Loads the networks that trainings are scored with: what is missing shows before hours are spent."""
    sizes = [training.data_set.preset_at(training.preset).tokenizer.image_size for training in trainings]
    if any(training.scored for training in trainings):
        load_judges(study.perceptual, size=min(sizes), horizon=HORIZON, clips=study.clips)
