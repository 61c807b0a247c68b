"""What the learning rates of the methods come from: how each did at the rates that were tried."""

from collections.abc import Iterator, Mapping

from baselines.campaign.findings import NOT_RUN, Finding, Findings
from baselines.campaign.methods import LEARNING_RATES, TRIED_RATES
from baselines.campaign.plans import ROOM, TUNED
from flam_train.studies.tables import table_of_text


def rate_lines(findings: Findings) -> Iterator[str]:
    """A row for each method, a column for each rate."""
    yield "## Learning rates\n"
    yield (
        f"PSNR of rollouts on the val split, in dB, and what is minimised, after {TUNED.steps} updates of "
        f"{TUNED.batch_size} clips of MultiGrid, of slots learned by reconstruction and what stands on them after "
        f"{ROOM.steps}; bold: taken, the best rollouts, or where these are no different the lowest objective. Where it "
        "is the largest of the three, a larger one may do better still.\n"
    )
    ends: dict[str, dict[float | None, Finding]] = {}
    for training, finding in findings.items():
        ends.setdefault(training.method, {})[training.rate] = finding
    rows = [[method, *_cells(ends.get(method, {}), taken)] for method, taken in LEARNING_RATES.items()]
    yield from table_of_text(["method", *(f"{rate:g}" for rate in TRIED_RATES)], rows)


def _cells(ends: Mapping[float | None, Finding], taken: float) -> Iterator[str]:
    for rate in TRIED_RATES:
        if rate not in ends:
            yield NOT_RUN
            continue
        numbers = ends[rate].cell("rollouts", ".2f"), ends[rate].cell("objective", ".4f")
        cell = ", ".join(filter(None, numbers))
        yield f"**{cell}**" if rate == taken else cell
