"""What the report file of a run says, as numbers by name."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from flam_train.engine.identity import require_same
from flam_train.evaluate.rooms.dci import pair_name
from flam_train.studies.reports import ADVICE, read_reports
from flam_train.studies.rooms.runs import EXPERIMENTS, Run

DCI = ("disentanglement", "completeness", "informativeness")
PATHS = {
    "psnr": "scores.all.prediction_psnr",
    "recon": "scores.all.recon_psnr",
    "gap": "measures.gap_to_recon_db",
    "nats_per_frame": "measures.nats_per_frame",
    "frames_right": "factorization.exactness.frames_right",
    "dreams_whole": "factorization.exactness.dreams_whole",
    "dreams_whole_without_laws": "factorization.exactness.dreams_whole_without_laws",
    "moves_one_agent": "factorization.independence.moves_one_agent",
    "action_accuracy": "factorization.actions.accuracy",
    "action_heading_known": "factorization.actions.accuracy_heading_known",
    "action_floor": "factorization.actions.floor",
    "own_slot": "factorization.dci.agents_with_own_slot",
    "all_own_slot": "factorization.dci.all_with_own_slot",
    "owner_consistency": "factorization.dci.owner_consistency",
    "match_consistency": "factorization.dci.match_consistency",
    "matched_disentanglement": "factorization.dci.matched_disentanglement",
    "random_matched_disentanglement": "factorization.dci.random_matched_disentanglement",
    **{name: f"factorization.dci.{name}" for name in DCI},
    **{f"random_{name}": f"factorization.dci.random_{name}" for name in DCI},
}
"""Where a report has each score; one that was not asked for is absent there, and then here."""


class Finding(NamedTuple):
    """numbers: by name; curve: looks during training, in order, numbers by name and None for what was not finite."""

    numbers: dict[str, float]
    curve: list[dict[str, float | None]]


def read_findings(reports: Path) -> dict[str, Finding]:
    """What each report file of a folder says, by the name of its run.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file is damaged, belongs to no run, or is of a run with other settings.
    """
    runs = {run.name: run for runs in EXPERIMENTS.values() for run in runs}
    found = read_reports(reports, runs.values(), "flam-train experiment")
    return {name: finding_of(report, runs[name], Path(reports) / f"{name}.json") for name, report in found.items()}


def finding_of(report: Mapping[str, Any], run: Run, path: Path) -> Finding:
    """What the report of a run says.

    Args:
        report: its content.
        run: that it should be of.
        path: where it was, for the message.

    Raises:
        ValueError: it lacks what an experiment reports, or is of a run with other settings.
    """
    try:
        there = _settings_there(report)
        finding = Finding(_numbers(report), report["run"]["curve"])
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path}: expected what `flam-train experiment` reports of a run, got a file without it ({error!r}); "
            f"{ADVICE}"
        ) from error
    here = {"name": run.name} | {part: asdict(getattr(run, part)) for part in ("model", "loss", "fit", "room")}
    require_same(there, here, where=path, kind=f"a report of {run.name}", advice=ADVICE, shared_only=True)
    return finding


def _settings_there(report: Mapping[str, Any]) -> dict[str, Any]:
    parts = {part: dict(report["run"][part]) for part in ("model", "loss", "fit")}
    return {"name": report["run"]["name"], "room": dict(report["data"]["settings"]["room"])} | parts


def _numbers(report: Mapping[str, Any]) -> dict[str, float]:
    run, room, last = report["run"], report["data"]["settings"]["room"], report["run"]["curve"][-1]
    numbers = {
        "horizon": report["horizon"],
        "agents": room["agents"],
        "slots": run["model"]["slots"],
        "price": run["loss"]["information_price"],
        "steps": last["step"],
        "minutes": last["time"] / 60,
    }
    numbers |= {name: score for name, path in PATHS.items() if (score := _find(report, path)) is not None}
    if "nats_per_frame" in numbers:
        numbers["nats_per_agent"] = numbers["nats_per_frame"] / numbers["agents"]
    return {name: float(number) for name, number in numbers.items()} | _pairs(report)


def _find(report: Mapping[str, Any], path: str) -> Any:
    value: Any = report
    for name in path.split("."):
        value = value.get(name, {})
    return None if value == {} else value


def _pairs(report: Mapping[str, Any]) -> dict[str, float]:
    """How often agents that are tied share a slot, how often other pairs do, and chance: one pair of all at random."""
    room, shares = report["data"]["settings"]["room"], report.get("factorization", {}).get("dci", {})
    tied = [pair_name(*pair) for pair in combinations(sorted(room["tied"]), 2)]
    others = [pair_name(*pair) for pair in combinations(range(room["agents"]), 2) if pair_name(*pair) not in tied]
    groups = {"tied_pair": tied, "other_pairs": others}
    means = {
        name: fmean(shares[pair] for pair in pairs)
        for name, pairs in groups.items()
        if pairs and set(pairs) <= set(shares)
    }
    return means | {"pair_chance": 1 / comb(room["agents"], 2)}
