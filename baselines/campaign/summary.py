"""The comparison in one table: a row for each data set, a column for each method."""

from collections.abc import Iterator

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.findings import Finding, Findings, usual
from baselines.campaign.methods import METHODS, Method
from baselines.campaign.paper import TABLE_1
from flam_train.studies.tables import table_of_text


def summary_lines(findings: Findings) -> Iterator[str]:
    """PSNR under the means and under samples of the posteriors, and the nats a frame; of codes one PSNR."""
    rows = []
    for data in TABLE_1:
        found = {method: usual(findings, data, method) for method in METHODS}
        if run := [finding for finding in found.values() if finding]:
            cells = [_cell(METHODS[method], finding) for method, finding in found.items()]
            rows.append([DATA_SETS[data].title, *cells, f"{run[0].mean('psnr_recon'):.1f}"])
    yield from table_of_text(["", *(method.title for method in METHODS.values()), "Recon"], rows)


def _cell(method: Method, finding: Finding | None) -> str:
    """What a method shows, and what it was told for it."""
    if finding is None:
        return ""
    psnr, samples, nats = (finding.mean(name) for name in ("psnr", "psnr_posterior", "nats"))
    if method.rate == "nats":
        return f"{psnr:.1f} / {samples:.1f}, {nats:.0f} nats"
    return f"{psnr:.1f}, {nats:.0f} in codes" if method.rate == "codes" else f"{psnr:.1f}"
