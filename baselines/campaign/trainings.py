"""One training from its data to its report: each part is skipped where it is done, and goes on where it was."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baselines.campaign.data_sets import collect_data
from baselines.campaign.history import history
from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.plans import Training
from baselines.campaign.reports import missing_metrics
from baselines.campaign.settings import training_arguments
from baselines.campaign.shared import learn_slots, require_planned, share_slots, share_tokenizer
from baselines.campaign.study import Campaign
from flam_env.worlds.writing import write_atomically
from flam_train.engine.processes import logged
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.report import added_to, read_report
from flam_train.phases.tokenizer import FILE as TOKENIZER_FILE
from flam_train.studies.recipe.pieces import PieceOver, piece

LOOKS = 4
"""At held-out rollouts, in the course of a training that is scored; one where it is not."""


def make_training(training: Training, campaign: Campaign, deadline: float) -> None:
    """Does what is left to do for a training, until its report is there or the time is over.

    What is printed, and the error that ends it, go to a log in its folder.
    """
    with logged(campaign.folder(training)):
        try:
            with piece(deadline):
                _make(training, campaign)
        except PieceOver:
            print("the time of this piece is over")


def _make(training: Training, campaign: Campaign) -> None:
    path, data = campaign.report(training), _prepare(training, campaign)
    if path.exists():  # of the world that is there, which has yet to be scored on something
        report = added_to(path, _score(training, campaign, data))
    else:
        _train(training, campaign, data)
        report = _score(training, campaign, data) if training.scored else {}
        report["run"] = history(training, campaign)
    write_atomically(path, json.dumps(report, indent=1).encode())


def _train(training: Training, campaign: Campaign, data: Path) -> None:
    out, looks = campaign.folder(training), _looks_every(training)
    if training.method == SLOTS:
        learn_slots(training, data, out, looks)
        return
    arguments = training_arguments(training, training.method)
    require_planned(campaign.logs(training)[training.method], {"fit": asdict(arguments["fit_config"])})
    if training.on_slots:
        arguments["slots"] = share_slots(training, data, campaign.slots(training), out, looks)
    METHODS[training.method].train(data, out=out, evaluate_every=looks, **arguments)


def _looks_every(training: Training) -> int:
    """Steps between looks at held-out clips."""
    return -(-training.budget.steps // (LOOKS if training.scored else 1))


def _prepare(training: Training, campaign: Campaign) -> Path:
    """The data of a training, collected if need be; its tokenizer then lies in the folder, unless a pack brings it."""
    size, out = training.data_set.preset_at(training.preset).tokenizer.image_size, campaign.folder(training)
    data = collect_data(campaign.data, training.data, size)
    if data.is_dir() and not (out / TOKENIZER_FILE).exists():
        shown = collect_data(campaign.data, training.tokenizer, size)
        share_tokenizer(training, shown, campaign.tokenizer(training), out)
    return data


def _score(training: Training, campaign: Campaign, data: Path) -> dict[str, Any]:
    """The report of a world, to which metrics are added one by one; those that it has are not computed again."""
    out = campaign.folder(training)
    for metric in missing_metrics(out / "report.json", campaign.metrics(training)):
        evaluate(str(out), data, metrics=(metric,), clips=campaign.clips, seen=campaign.seen)
    return read_report(out / "report.json")
