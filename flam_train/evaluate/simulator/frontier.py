"""`flam-train frontier`: what worlds show beside what they are told, from their report files.

One world is one point: a higher rate buys a higher PSNR, so worlds compare by both, or not at all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flam_train.engine.identity import require_same
from flam_train.evaluate.report import EVALUATION, read_report
from flam_train.evaluate.simulator.tables import cell

SAME = tuple(part for part in EVALUATION if part != "world")
"""What reports must have in common to stand in one table."""

COLUMNS = (
    "world",
    "nats a frame",
    "to no knowledge",
    "deciding slots",
    "PSNR, posterior mean",
    "posterior sampled",
    "sampled",
    "Recon",
    "gap to Recon",
    "mean minus sampled",
)

BESIDES = {
    "slots": {"own": "own slot", "identity": "identity", "changed_inside": "changed inside"},
    "velocity": {"r2": "velocity R2", "error_px": "error, px a step"},
}
"""Measures of a report that have a column where a report has them."""

COUNTED = ("entities", "entries", "exits")


def frontier(reports: tuple[Path, ...]) -> str:
    """A Markdown table of PSNR in dB against rate in nats, a line for each world, the cheapest first.

    Beside them stands what reports have of slots, velocity, and of the stretches of long dreams, "-" in those that have
    none.

    Args:
        reports: files that `flam-train evaluate` leaves, or the folders that hold them, all of one evaluation: same
            data, clips, context, horizon and seed.

    Raises:
        FileNotFoundError: there is no such report.
        ValueError: none is given, or one is damaged, of another evaluation, or without scores of pixels or rate.
    """
    if not reports:
        raise ValueError("expected at least one report, got none; name the files that `flam-train evaluate` leaves")
    paths = [Path(path) / "report.json" if Path(path).is_dir() else Path(path) for path in reports]
    found = {path: read_report(path) for path in paths}
    first = found[paths[0]]
    for path, report in found.items():
        _check(path, report, first)
    rows = sorted(found.items(), key=lambda named: named[1]["rate"]["nats"])
    besides = [_besides(report) for _, report in rows]
    titles = tuple(dict.fromkeys(title for cells in besides for title in cells))
    lines = [(*COLUMNS, *titles), ("---",) * (len(COLUMNS) + len(titles))]
    for (path, report), cells in zip(rows, besides, strict=True):
        lines.append((*_cells(path, report), *(cells.get(title, "-") for title in titles)))
    facts = (
        f"{first['clips']} clips of {first['data']['source']}, context {first['context']}, {first['horizon']} steps."
    )
    return "\n".join([facts, "", *(f"| {' | '.join(cells)} |" for cells in lines)])


def _check(path: Path, report: dict[str, Any], first: dict[str, Any]) -> None:
    """Raises ValueError unless a report has both scores, and is of the evaluation that the first is of."""
    missing = [metric for metric, part in (("pixels", "scores"), ("rate", "rate")) if part not in report]
    if missing:
        raise ValueError(
            f"{path}: expected scores of pixels and rate, got a report without {' and '.join(missing)}; add them with "
            f"`flam-train evaluate --metrics {' '.join(missing)}`"
        )
    there, here = ({part: found.get(part) for part in SAME} for found in (report, first))
    require_same(there, here, where=path, kind="a report", advice="score all worlds in one way")


def _cells(path: Path, report: dict[str, Any]) -> tuple[str, ...]:
    rate, pixels = report["rate"], report["scores"]["all"]
    mean, drawn, recon = (pixels[f"{method}_psnr"] for method in ("prediction", "sampled", "recon"))
    psnr = mean, rate["posterior_sampled_psnr"], drawn, recon, recon - mean, mean - drawn
    return (
        path.parent.resolve().name if path.name == "report.json" else path.stem,
        f"{rate['nats']:.1f}",
        f"{rate['nats_from_no_knowledge']:.1f}",
        str(rate["deciding_slots"]),
        *(f"{value:.2f}" for value in psnr),
    )


def _besides(report: dict[str, Any]) -> dict[str, str]:
    """Cells, by their titles, of what the other measures of a simulator say, as far as they are known."""
    found = dict[str, str]()
    for part, measures in BESIDES.items():
        known = report.get(part, {})
        found |= {title: cell(known[name]) for name, title in measures.items() if name in known}
    if "realism" in report:
        stretches = report["realism"]["stretches"]
        found[f"real or dream, AUC ({_steps(stretches)})"] = ", ".join(cell(each["auc"]) for each in stretches)
    if "life" in report:
        stretches = report["life"]["stretches"]
        for name in COUNTED:
            ratios = ", ".join(cell(each["ratio"][name]) for each in stretches)
            found[f"{name}, dreamt / real ({_steps(stretches)})"] = ratios
    if "dream_horizon" in report:
        found["dreams hold until step"] = cell(report["dream_horizon"]["last_step"])
    return found


def _steps(stretches: Sequence[dict[str, Any]]) -> str:
    return ", ".join("{}-{}".format(*each["steps"]) for each in stretches)
