"""Table 1 of the paper: how well rollouts of each method show the true future, a table for each data set."""

from collections.abc import Iterator, Sequence

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.findings import NOT_RUN, Finding, Findings, usual
from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.paper import TABLE_1
from flam_train.studies.tables import table_of_text

SCORES = (("SSIM", "ssim", ".4f"), ("LPIPS", "lpips", ".4f"), ("FVD", "fvd", ".1f"))
"""Beside PSNR: titles, names and forms."""


def data_set_lines(data: str, preset: str, findings: Findings) -> Iterator[str]:
    """Table 1 for one data set at the sizes of a preset."""
    found = {method: usual(findings, data, method, preset) for method in METHODS}
    run = [finding for finding in found.values() if finding]
    yield f"## Table 1: {DATA_SETS[data].title}, preset `{preset}`\n"
    if run:
        yield f"{run[0].mean('clips'):.0f} clips, updates of {run[0].training.budget.batch_size} clips each.\n"
    rows = []
    for method, finding in found.items():
        rows += [_row(method, finding), _paper_row(data, method)]
    rows += _floors(run)
    rows.append(_paper_row(data, "recon"))
    titles = ("method", "updates", "parameters, M", "nats a frame", "PSNR, mean", "samples", "sampled actions")
    yield from table_of_text([*titles, *(title for title, *_ in SCORES), "frames right", "seeds"], rows)


def _row(method: str, finding: Finding | None) -> list[str]:
    title = METHODS[method].title
    if finding is None:
        return [title, NOT_RUN, *[""] * 10]
    budget, kind = finding.training.budget, METHODS[method]
    parameters = finding.mean("parameters")
    return [
        title,
        f"{budget.steps}" + (f" (+ {budget.steps_of(SLOTS)})" if kind.on_slots else ""),
        "" if parameters is None else f"{parameters / 1e6:.2f}",
        finding.nats_cell() if kind.infers else {"known": "true actions", "none": "no actions"}[kind.rate],
        *(finding.cell(name, ".2f") for name in ("psnr", "psnr_posterior", "psnr_sampled")),
        *(finding.cell(name, form) for _, name, form in SCORES),
        finding.cell("frames_right", ".3f"),
        str(len(finding.numbers)),
    ]


def _floors(run: Sequence[Finding]) -> Iterator[list[str]]:
    """Recon and the last frame, which are the same for all methods that share a tokenizer."""
    for row, title in (("copy_last", "copy last frame"), ("recon", "Recon")):
        if run:
            scores = [run[0].cell(f"{name}_{row}", form) for _, name, form in SCORES]
            yield [title, "", "", "", run[0].cell(f"psnr_{row}", ".2f"), "", "", *scores, "", ""]


def _paper_row(data: str, method: str) -> list[str]:
    title = METHODS[method].title if method in METHODS else "Recon"
    cells = {name: f"*{value}*" for name, value in TABLE_1[data][method].items()}
    return [f"*paper: {title}*", "", "", "", cells["psnr"], "", "", *(cells[name] for _, name, _ in SCORES), "", ""]
