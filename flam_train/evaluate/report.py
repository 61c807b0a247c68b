"""The report of a world: one JSON file, and the tables that are printed from it."""

import json
from pathlib import Path
from typing import Any

from flam_train.engine.identity import require_same
from flam_train.evaluate.simulator.tables import (
    continuous_lines,
    horizon_lines,
    life_lines,
    obedience_lines,
    off_road_lines,
    realism_lines,
    shot_lines,
    slot_lines,
    tracking_lines,
    velocity_lines,
)

EVALUATION = ("world", "data", "clips", "context", "horizon", "size", "seed")
"""Parts of a report that say what was evaluated; the others, beside the machine, are scores."""

METHODS = {
    "prediction": "prediction, inferred actions",
    "sampled": "prediction, sampled actions",
    "recon": "Recon (tokenizer round trip)",
    "copy_last": "copy last frame",
}


def format_report(report: dict[str, Any]) -> str:
    """The report as Markdown tables."""
    parts = {
        "scores": _pixel_lines,
        "lpips": _lpips_lines,
        "fvd": _fvd_lines,
        "rate": _rate_lines,
        "dreams": _dream_lines,
        "measures": _measure_lines,
        "action_information": _information_lines,
        "continuous_actions": continuous_lines,
        "slots": slot_lines,
        "velocity": velocity_lines,
        "realism": realism_lines,
        "off_road": off_road_lines,
        "life": life_lines,
        "dream_horizon": horizon_lines,
        "obedience": obedience_lines,
        "tracking": tracking_lines,
        "shots": shot_lines,
    }
    tables = [lines(report) for part, lines in parts.items() if part in report]
    if "factorization" in report:
        tables.append(_factorization_lines(report["factorization"]))
    return "\n\n".join("\n".join(lines) for lines in tables)


def _factorization_lines(groups: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| factorization | value |", "| --- | --- |"]
    for group, scores in groups.items():
        plain = {name: value for name, value in scores.items() if name != "per_step"}
        lines += [f"| {group}: {name.replace('_', ' ')} | {value:.4g} |" for name, value in plain.items()]
    for scores in groups.values():
        if curves := scores.get("per_step"):
            titles = " | ".join(name.replace("_", " ") for name in curves)
            lines += ["", f"| step | {titles} |", "| --- |" + " --- |" * len(curves)]
            rows = enumerate(zip(*curves.values(), strict=True), 1)
            lines += [f"| {step} | " + " | ".join(f"{value:.4g}" for value in row) + " |" for step, row in rows]
    return lines


def _pixel_lines(report: dict[str, Any]) -> list[str]:
    kinds, told = list(report["scores"]), _told(report)
    columns = kinds + ["nats a frame"] * bool(told)
    lines = [f"| PSNR, dB ({report['clips']} clips) | " + " | ".join(columns) + " |"]
    lines.append("| --- |" + " --- |" * len(columns))
    for measure, name, digits in (("psnr", "", 2), ("ssim", "SSIM: ", 4)):
        for method, title in METHODS.items():
            cells = [f"{report['scores'][kind][f'{method}_{measure}']:.{digits}f}" for kind in kinds]
            lines.append(f"| {name}{title} | " + " | ".join(cells + [told.get(method, "-")] * bool(told)) + " |")
    titles = [f"{title}, {told[method]} nats" if method in told else title for method, title in METHODS.items()]
    lines += ["", "| step | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(METHODS)]
    curves = [report["per_step"][f"{method}_psnr"] for method in METHODS]
    lines += [
        f"| {i} | " + " | ".join(f"{v:.2f}" for v in row) + " |" for i, row in enumerate(zip(*curves, strict=True), 1)
    ]
    return lines


def _lpips_lines(report: dict[str, Any]) -> list[str]:
    lpips = report["lpips"]
    lines = [f"| {lpips['convention']} ({report['clips']} clips) | all steps |", "| --- | --- |"]
    lines += [f"| {title} | {lpips['scores'][method]:.4f} |" for method, title in METHODS.items()]
    lines.append(f"| inferred minus sampled | {lpips['inferred_minus_sampled']:.4f} |")
    lines += ["", "| step, LPIPS | " + " | ".join(METHODS.values()) + " |", "| --- |" + " --- |" * len(METHODS)]
    steps = zip(*(lpips["per_step"][method] for method in METHODS), strict=True)
    return lines + [f"| {i} | " + " | ".join(f"{value:.4f}" for value in row) + " |" for i, row in enumerate(steps, 1)]


def _fvd_lines(report: dict[str, Any]) -> list[str]:
    fvd = report["fvd"]
    lines = [f"| FVD ({fvd['clips']} clips of {fvd['frames']} frames): {fvd['convention']} | value |", "| --- | --- |"]
    lines += [f"| {title} | {fvd['scores'][method]:.2f} |" for method, title in METHODS.items()]
    lines.append(f"| inferred minus sampled | {fvd['inferred_minus_sampled']:.2f} |")
    return lines


def _told(report: dict[str, Any]) -> dict[str, str]:
    """What methods are told of a predicted frame, in nats, where the rate is known; Recon sees the frame itself."""
    if "rate" not in report:
        return {}
    return {"prediction": f"{report['rate']['nats']:.2f}", "sampled": "0", "copy_last": "0"}


def _rate_lines(report: dict[str, Any]) -> list[str]:
    rate = report["rate"]
    lines = ["| rate, nats a frame | to the world's prior | to that of no knowledge |", "| --- | --- | --- |"]
    lines.append(f"| all slots | {rate['nats']:.2f} | {rate['nats_from_no_knowledge']:.2f} |")
    columns = zip(rate["by_slot"], rate["by_slot_from_no_knowledge"], strict=True)
    lines += [f"| slot {slot} | {own:.2f} | {plain:.2f} |" for slot, (own, plain) in enumerate(columns)]
    lines += ["", f"| PSNR, dB | actions drawn from the posteriors, {rate['nats']:.2f} nats |", "| --- | --- |"]
    lines.append(f"| all steps | {rate['posterior_sampled_psnr']:.2f} |")
    return lines + [f"| {i} | {v:.2f} |" for i, v in enumerate(rate["posterior_sampled_psnr_per_step"], 1)]


def _information_lines(report: dict[str, Any]) -> list[str]:
    lines = ["| known and latent action | value |", "| --- | --- |"]
    values = report["action_information"].items()
    return lines + [f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in values]


def _dream_lines(report: dict[str, Any]) -> list[str]:
    dreams = report["dreams"]
    lines = ["| dreamt step | windows: PSNR to the nearest real, dB | windows that show something |"]
    lines += ["| --- | --- | --- |"]
    curves = [dreams[name] for name in ("step", "nearest_psnr", "filled")]
    rows = [("real", dreams["real_nearest_psnr"], dreams["real_filled"]), *zip(*curves, strict=True)]
    return lines + [f"| {i} | {'-' if near is None else f'{near:.2f}'} | {filled:.1%} |" for i, near, filled in rows]


def _measure_lines(report: dict[str, Any]) -> list[str]:
    lines = ["| measure | value |", "| --- | --- |"]
    return lines + [f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in report["measures"].items()]


def check_addition(path: Path, report: dict[str, Any]) -> None:
    """Refuses a report file of another evaluation, whose scores would be lost or mixed with others.

    Args:
        path: of the file; there need not be one.
        report: what is to be added.

    Raises:
        ValueError: the file is damaged, or of another evaluation.
    """
    if path.exists():
        there, here = ({part: found.get(part) for part in EVALUATION} for found in (read_report(path), report))
        advice = "name another file with --out, or score everything anew without --metrics"
        require_same(there, here, where=path, kind="a report", advice=advice)


def added_to(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """What a report file holds, if there is one, and what a report of the same evaluation says besides or anew.

    Raises:
        ValueError: the file is damaged, or of another evaluation.
    """
    check_addition(path, report)
    there = read_report(path) if path.exists() else {}
    groups = there.get("factorization", {}) | report.get("factorization", {})
    return there | report | ({"factorization": groups} if groups else {})


def read_report(path: Path) -> dict[str, Any]:
    """A report file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a report at {path}, found none; `flam-train evaluate` writes it")
    try:
        report = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a report, got a damaged file ({error}); score again, or restore a copy"
        ) from error
    if not isinstance(report, dict):
        raise ValueError(f"{path}: expected a report, got JSON of another kind; name or make another file")
    return report
