"""Table 2 of the paper: whether each agent of MultiGrid has a slot of its own."""

from collections.abc import Iterator

from baselines.campaign.findings import NOT_RUN, Findings, usual
from baselines.campaign.methods import METHODS
from baselines.campaign.paper import DCI, TABLE_2
from flam_train.studies.tables import table_of_text


def factorization_lines(findings: Findings) -> Iterator[str]:
    """A row for each method that has slots, below it the paper's; and what slots that know nothing would have."""
    yield "## Table 2: factorization on MultiGrid\n"
    rows, random, empty = [], dict[str, str](), [NOT_RUN, *[""] * len(DCI)]
    for method, kind in METHODS.items():
        if kind.slotted:
            finding = usual(findings, "multigrid", method)
            cells = [finding.cell(name, ".2f") if finding else "" for name in (*DCI, "consistency")]
            rows += [[kind.title, *(cells if any(cells) else empty)], _paper_row(method, kind.title)]
            if finding and any(cells):
                random = random or {name: finding.cell(f"random_{name}", ".2f") for name in DCI}
    rows += [["Random", *(random.get(name, "") for name in DCI), ""], _paper_row("random", "Random")]
    yield from table_of_text(["method", *DCI, "same slot in the next frame"], rows)
    yield "\nThe last column is the share of frames after which all agents have the slots that they had."


def _paper_row(method: str, title: str) -> list[str]:
    return [f"*paper: {title}*", *(f"*{TABLE_2[method][name]}*" for name in DCI), ""]
