"""What the paper says of the methods in its section 5, held against what was found."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.findings import Findings, usual
from baselines.campaign.frontiers import at_rate, frontier
from baselines.campaign.methods import METHODS
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import PRICES, Training
from flam_train.studies.tables import table_of_text

LEVEL = 1.0
"""dB, within which two methods are level."""


class Hypothesis(NamedTuple):
    """A statement about how far FLAM is ahead of another method, in dB of PSNR, and what lead bears it out."""

    data: str
    other: str
    statement: str
    holds: Callable[[float], bool]


HYPOTHESES = (
    Hypothesis("multigrid", "genie", "10 dB and more ahead", lambda lead: lead >= 10),
    Hypothesis("multigrid", "adaworld", "10 dB and more ahead", lambda lead: lead >= 10),
    Hypothesis("multigrid", "playslot", "level", lambda lead: abs(lead) <= LEVEL),
    Hypothesis("bigfish", "adaworld", "level: one entity decides", lambda lead: abs(lead) <= LEVEL),
    Hypothesis("starpilot", "adaworld", "ahead, by 1.5 dB", lambda lead: lead > LEVEL),
)


def hypothesis_lines(trainings: Sequence[Training], findings: Findings) -> Iterator[str]:
    """A row for each hypothesis, and what the frontiers say of equal information."""
    yield "## What the paper says, and what was found\n"
    rows = [_row(hypothesis, findings) for hypothesis in HYPOTHESES]
    yield from table_of_text(["data", "FLAM beside", "paper", "*paper, dB*", "here, dB", "verdict"], rows)
    yield f"\nLevel is within {LEVEL:g} dB. At equal information:\n"
    for data in PRICES:
        yield f"- {DATA_SETS[data].title}: {_at_equal_rate(data, trainings, findings)}"


def _row(hypothesis: Hypothesis, findings: Findings) -> list[str]:
    data, other, statement, holds = hypothesis
    printed = TABLE_1[data]
    paper = f"*{float(printed['flam']['psnr']) - float(printed[other]['psnr']):+.1f}*"
    both = [usual(findings, data, method) for method in ("flam", other)]
    title = [DATA_SETS[data].title, METHODS[other].title, statement, paper]
    means = [finding.mean("psnr") for finding in both if finding]
    if len(means) < 2 or None in means:
        return [*title, "not run", ""]
    lead = means[0] - means[1]  # type: ignore[operator]
    return [*title, f"{lead:+.2f}", "found" if holds(lead) else "refuted"]


def _at_equal_rate(data: str, trainings: Sequence[Training], findings: Findings) -> str:
    """What AdaWorld shows at the rates of FLAM."""
    others = [finding for _, finding in frontier(data, "adaworld", trainings, findings)]
    said = []
    for price, finding in frontier(data, "flam", trainings, findings):
        nats, psnr = finding.mean("nats"), finding.mean("psnr_posterior")
        if nats is None or psnr is None:
            continue
        other = at_rate(nats, others)
        beside = "is outside AdaWorld's frontier" if other is None else f"beside {other:.2f} of AdaWorld's frontier"
        said.append(f"FLAM at price {price:g} shows {psnr:.2f} dB with {nats:.1f} nats, {beside}")
    return "; ".join(said) or "not run"
