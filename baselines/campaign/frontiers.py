"""PSNR against rate of FLAM and AdaWorld: a cheap latent action predicts anything, so methods compare by both."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.findings import NOT_RUN, Finding, Findings
from baselines.campaign.methods import METHODS
from baselines.campaign.plans import PRICED, PRICES, Training
from flam_train.pictures.figures import new_figure, png_of
from flam_train.studies.tables import table_of_text

COLUMNS = {
    "nats a frame": ("nats", ".1f"),
    "PSNR, mean": ("psnr", ".2f"),
    "samples": ("psnr_posterior", ".2f"),
    "sampled actions": ("psnr_sampled", ".2f"),
    "Recon": ("psnr_recon", ".2f"),
    "LPIPS": ("lpips", ".4f"),
}
"""By title, names and forms of what tables of frontiers say."""


def frontier(data: str, method: str, trainings: Sequence[Training], findings: Findings) -> list[tuple[float, Finding]]:
    """The prices of a nat at which a method is planned on a data set, the dearest first, and what it gave at each.

    What was not run has no numbers.
    """
    asked = [
        training
        for training in trainings
        if (training.data, training.method, training.seed) == (data, method, 0)
        and training.preset == DATA_SETS[data].preset
    ]
    priced = [(training.preset_for(method).loss.information_price, training) for training in asked]
    return [
        (price, findings.get(training, Finding(training, ())))
        for price, training in sorted(priced, key=lambda pair: pair[0], reverse=True)
    ]


def frontier_lines(data: str, trainings: Sequence[Training], findings: Findings) -> Iterator[str]:
    """A row for each method and price."""
    yield f"## Frontier: {DATA_SETS[data].title}\n"
    rows, empty = [], [NOT_RUN, *[""] * (len(COLUMNS) - 1)]
    for method in PRICED:
        for price, finding in frontier(data, method, trainings, findings):
            cells = [finding.cell(name, form) for name, form in COLUMNS.values()]
            rows.append([METHODS[method].title, f"{price:g}", *(cells if finding.numbers else empty)])
    titles = ["method", "price of a nat", *COLUMNS]
    yield from table_of_text(titles, rows)


def at_rate(nats: float, points: Sequence[Finding]) -> float | None:
    """The PSNR of samples at a rate, between the points of a frontier on a line; None outside of them."""
    known = sorted(
        (rate, psnr)
        for point in points
        if (rate := point.mean("nats")) is not None and (psnr := point.mean("psnr_posterior")) is not None
    )
    if not known or not known[0][0] <= nats <= known[-1][0]:
        return None
    return float(np.interp(nats, *np.array(known).T))


def draw_frontiers(trainings: Sequence[Training], findings: Findings) -> bytes:
    """A PNG file: a panel for each data set, a line for each method.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = new_figure(10, 4)
    for axes, data in zip(figure.subplots(1, len(PRICES)), PRICES, strict=True):
        lines = {method: [finding for _, finding in frontier(data, method, trainings, findings)] for method in PRICED}
        for colour, (method, points) in enumerate(lines.items()):
            _draw_line(axes, f"{METHODS[method].title}, means", points, "psnr", f"C{colour}o-")
            _draw_line(axes, f"{METHODS[method].title}, samples", points, "psnr_posterior", f"C{colour}s--")
        if recon := [value for points in lines.values() for point in points for value in point.values("psnr_recon")]:
            axes.axhline(recon[0], color="grey", linestyle=":", label="Recon")
        axes.set(title=DATA_SETS[data].title, xlabel="nats a frame", ylabel="PSNR of 16 frames, dB", xscale="symlog")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return png_of(figure)


def _draw_line(axes: Any, title: str, points: Sequence[Finding], measure: str, style: str) -> None:
    """Adds a line through the points that have both the rate and the measure."""
    pairs = [(point.mean("nats"), point.mean(measure)) for point in points if point.values(measure)]
    axes.plot(*np.array(sorted(pairs), float).reshape(-1, 2).T, style, label=title)
