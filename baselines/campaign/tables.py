"""`python -m baselines.campaign tables`: what came of a plan, from its report files, beside what the paper found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.figure_4 import agent_lines
from baselines.campaign.findings import read_findings, read_machines
from baselines.campaign.frontiers import draw_frontiers, frontier_lines
from baselines.campaign.hypotheses import hypothesis_lines
from baselines.campaign.learning_rates import rate_lines
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import PLANS, PRICES, Training
from baselines.campaign.study import PROGRAM, REPORTS
from baselines.campaign.summary import summary_lines
from baselines.campaign.table_1 import data_set_lines
from baselines.campaign.table_2 import factorization_lines
from flam_env.worlds.writing import write_atomically

LEGEND = """\
Nats a frame: of FLAM and AdaWorld the KL of the posterior from the prior; of Genie and PlaySlot, marked "codes", the
entropy of the codes that were used, given how often each was in training, which is another scale: a code is named once
for all, a posterior is paid for by how much it narrows the prior.
True actions and none cost nothing. Genie has a code for each joint action in rooms, at most 65,536, and 256 in games.
PSNR: rollouts of 16 frames from 2, on held-out clips, under the means of the posteriors; under samples of them, which
show no more than was paid for (a code has no other sample); and under sampled actions, which know nothing of the
future. Updates in parentheses: of the slots, before, whose parameters are counted too. ± is the standard deviation over
seeds. FVD may be of the first seed alone, is of as many clips, and larger with fewer. Rows in italics are the paper's,
of 128 or 224 px and other tokenizers: compare gaps to Recon, not numbers."""


def tables(
    *,
    plan: Literal["cpu", "gpu"] = "cpu",
    reports: Path = REPORTS,
    figure: Path | None = None,
    summary: bool = False,
) -> str:
    """Tables 1 and 2 and Figure 4 of the paper, frontiers and hypotheses, as Markdown; what was not run is called so.

    Args:
        plan: whose trainings.
        reports: folder of the folders of report files.
        figure: PNG file of the two frontiers; by default it is not drawn.
        summary: one small table of all in place of these.

    Raises:
        FileNotFoundError: there are no reports of the plan.
        ValueError: a report is damaged, belongs to no training, or is of one with other settings.
        ImportError: matplotlib is missing, and a figure is wanted.
    """
    trainings = PLANS[plan]
    findings = read_findings(Path(reports) / plan, trainings)
    if summary:
        return "\n".join(summary_lines(findings))
    tuned = Path(reports) / "tuning"
    parts = [
        f"# The comparison\n\n{_made_by(plan, read_machines(Path(reports) / plan, trainings))}\n\n{LEGEND}",
        *("\n".join(data_set_lines(data, preset, findings)) for data, preset in _compared(trainings)),
        "\n".join(factorization_lines(findings)),
        "\n".join(agent_lines(findings)),
        *("\n".join(frontier_lines(data, trainings, findings)) for data in PRICES),
        "\n".join(hypothesis_lines(trainings, findings)),
        *(["\n".join(rate_lines(read_findings(tuned, PLANS["tuning"])))] if tuned.is_dir() else []),
    ]
    if figure is not None:
        write_atomically(Path(figure), draw_frontiers(trainings, findings))
    return "\n\n".join(parts)


def _made_by(plan: str, machines: Sequence[str]) -> str:
    where = "; ".join(machines) or "no machine yet"
    return f"`{PROGRAM} --plan {plan}`, on {where}. `{PROGRAM} tables` prints this page."


def _compared(trainings: Sequence[Training]) -> list[tuple[str, str]]:
    """The data sets of Table 1 and the presets of their trainings: the usual one, planned or not, and others."""
    usually = [(data, DATA_SETS[data].preset) for data in TABLE_1]
    others = [(training.data, training.preset) for training in trainings if training.data in TABLE_1]
    return list(dict.fromkeys(usually + others))
