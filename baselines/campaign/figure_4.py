"""Figure 4 of the paper, as a table: what becomes of predictions as agents become more."""

from collections.abc import Iterator

from baselines.campaign.data_sets import SWEPT
from baselines.campaign.findings import NOT_RUN, Finding, Findings, usual
from baselines.campaign.methods import METHODS
from baselines.campaign.paper import FIGURE_4
from baselines.campaign.plans import SWEPT_METHODS
from flam_train.studies.tables import table_of_text


def agent_lines(findings: Findings) -> Iterator[str]:
    """A row for each number of agents and method."""
    yield "## Figure 4: more agents, in a room of 16 x 16 cells\n"
    rows = []
    for agents in SWEPT:
        for method in SWEPT_METHODS:
            finding = usual(findings, f"agents{agents}", method)
            rows.append([str(agents), METHODS[method].title, *_cells(finding)])
    titles = ["agents", "method", "updates", "PSNR, mean", "samples", "Recon", "copy last frame", "LPIPS"]
    titles += ["frames right", "nats a frame", "seeds"]
    yield from table_of_text(titles, rows)
    yield f"\n*Paper: {FIGURE_4}*"


def _cells(finding: Finding | None) -> list[str]:
    if finding is None:
        return [NOT_RUN, *[""] * 8]
    names = ("psnr", "psnr_posterior", "psnr_recon", "psnr_copy_last")
    cells = [*(finding.cell(name, ".2f") for name in names)]
    cells += [finding.cell("lpips", ".4f"), finding.cell("frames_right", ".3f")]
    steps = str(finding.training.budget.steps)
    return [steps, *cells, finding.nats_cell(), str(len(finding.numbers))]
