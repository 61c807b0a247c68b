"""What the paper says of the methods in its section 5, held against what was found."""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.findings import NOT_RUN, Finding, Findings, usual
from baselines.campaign.frontiers import at_rate, frontier
from baselines.campaign.methods import METHODS
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import PRICED, PRICES, Training
from flam_train.studies.tables import table_of_text

LEVEL = 1.0
"""dB, within which two methods are level."""
MARGIN = 0.5
"""dB by which a lead may be another with other seeds, where these are not known to differ more: nearer to where a
verdict changes, nothing is decided."""


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
    titles = ["data", "FLAM beside", "paper", "*paper, dB*", "means, dB", "samples, dB", "nats a frame", "verdict"]
    yield from table_of_text(titles, rows)
    yield (
        f"\nVerdicts are on the lead under the means, as the paper has it; level is within {LEVEL:g} dB, and a lead "
        f"that {MARGIN:g} dB more or less would judge otherwise, or the larger deviation of the two over their seeds, "
        "is undecided. At equal information, under samples, the second on straight lines between its points:\n"
    )
    for data in PRICES:
        yield f"- {DATA_SETS[data].title}: {_at_equal_rate(data, trainings, findings)}"


def _row(hypothesis: Hypothesis, findings: Findings) -> list[str]:
    data, other, statement, holds = hypothesis
    printed = TABLE_1[data]
    paper = f"*{float(printed['flam']['psnr']) - float(printed[other]['psnr']):+.1f}*"
    flam, beside = (usual(findings, data, method) for method in ("flam", other))
    title = [DATA_SETS[data].title, METHODS[other].title, statement, paper]
    lead = _lead(flam, beside, "psnr")
    if flam is None or beside is None or lead is None:
        return [*title, NOT_RUN, *[""] * 3]
    samples = _lead(flam, beside, "psnr_posterior")
    nats, judged = f"{flam.nats_cell()} and {beside.nats_cell()}", verdict(holds, lead, _margin(flam, beside))
    return [*title, f"{lead:+.2f}", "" if samples is None else f"{samples:+.2f}", nats, judged]


def _lead(flam: Finding | None, other: Finding | None, measure: str) -> float | None:
    """How far FLAM is ahead in a measure, over all seeds of both."""
    means = [finding.mean(measure) for finding in (flam, other) if finding]
    if len(means) < 2 or means[0] is None or means[1] is None:
        return None
    return means[0] - means[1]


def _margin(*both: Finding) -> float:
    """`MARGIN`, or the larger deviation of two methods over their seeds."""
    return max(MARGIN, *(finding.deviation("psnr") or 0.0 for finding in both))


def verdict(holds: Callable[[float], bool], lead: float, margin: float = MARGIN) -> str:
    """Found, refuted, or undecided where so many dB more or less would change it."""
    if len({holds(lead + more) for more in (-margin, 0.0, margin)}) > 1:
        return "undecided"
    return "found" if holds(lead) else "refuted"


def _at_equal_rate(data: str, trainings: Sequence[Training], findings: Findings) -> str:
    """What FLAM and AdaWorld show at the rates of each other's points, read between their own on straight lines."""
    points = {method: frontier(data, method, trainings, findings) for method in PRICED}
    said = []
    for method, other in permutations(PRICED):
        for price, finding in points[method]:
            nats, psnr = finding.mean("nats"), finding.mean("psnr_posterior")
            beside = None if nats is None else at_rate(nats, [found for _, found in points[other]])
            if beside is not None:
                title = f"{METHODS[method].title} {psnr:.2f} dB with {nats:.1f} nats (price {price:g})"
                said.append(f"{title}, {METHODS[other].title} {beside:.2f} dB")
    return "; ".join(said) or "no point of either lies between two of the other's"
