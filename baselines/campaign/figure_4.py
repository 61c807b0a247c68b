"""Figure 4 of the paper, as a table: what becomes of predictions as agents become more."""

from collections.abc import Iterator

from baselines.campaign.data_sets import SWEPT
from baselines.campaign.findings import NOT_RUN, Finding, Findings, usual
from baselines.campaign.methods import METHODS
from baselines.campaign.paper import FIGURE_4
from baselines.campaign.plans import SWEPT_METHODS
from flam_train.studies.tables import table_of_text

COLUMNS = {
    "PSNR, mean": ("psnr", ".2f"),
    "samples": ("psnr_posterior", ".2f"),
    "Recon": ("psnr_recon", ".2f"),
    "copy last frame": ("psnr_copy_last", ".2f"),
    "LPIPS": ("lpips", ".4f"),
    "frames right": ("frames_right", ".3f"),
}
"""By title, names and forms of what the table says."""


def agent_lines(findings: Findings) -> Iterator[str]:
    """A row for each number of agents and method."""
    yield "## Figure 4: more agents, in a room of 16 x 16 cells\n"
    rows = []
    for agents in SWEPT:
        for method in SWEPT_METHODS:
            finding = usual(findings, f"agents{agents}", method)
            rows.append([str(agents), METHODS[method].title, *_cells(finding)])
    yield from table_of_text(["agents", "method", "updates", *COLUMNS, "nats a frame", "seeds"], rows)
    yield f"\n*Paper: {FIGURE_4}*"


def _cells(finding: Finding | None) -> list[str]:
    if finding is None:
        return [NOT_RUN, *[""] * (len(COLUMNS) + 2)]
    cells = [finding.cell(name, form) for name, form in COLUMNS.values()]
    steps = str(finding.training.budget.steps)
    return [steps, *cells, finding.nats_cell(), str(len(finding.numbers))]
