"""`python -m baselines.campaign tables`: what came of a plan, from its report files, beside what the paper found."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from baselines.campaign import paper
from baselines.campaign.data_sets import DATA_SETS, SWEPT
from baselines.campaign.findings import Finding, Findings, read_findings, read_machines, usual
from baselines.campaign.frontiers import draw_frontiers, frontier_lines
from baselines.campaign.hypotheses import hypothesis_lines
from baselines.campaign.methods import LEARNING_RATES, METHODS, SLOTS, TRIED_RATES
from baselines.campaign.plans import PLANS, PRICES, ROOM, TUNED, Training
from baselines.campaign.study import REPORTS
from baselines.campaign.summary import summary_lines
from flam_env.worlds.writing import write_atomically
from flam_train.studies.tables import table_of_text

SCORES = (("SSIM", "ssim", ".4f"), ("LPIPS", "lpips", ".4f"), ("FVD", "fvd", ".1f"))
NOT_RUN = "not run"
COMMAND = "`python -m baselines.campaign tables`"
LEGEND = """\
Nats a frame: of FLAM and AdaWorld the KL of the posterior from the prior; of Genie and PlaySlot, marked "codes", the
entropy of the codes that were used, given how often each was in training, which is another scale: a code is named once
for all, a posterior is paid for by how much it narrows the prior.
True actions and none cost nothing. PSNR: rollouts of 16 frames from 2, on held-out
clips, under the means of the posteriors; under samples of them, which show no more than was paid for (a code has no
other sample); and under sampled actions, which know nothing of the future. Updates in parentheses: of the slots,
before, whose parameters are counted too. ± is the standard deviation over seeds. FVD is of as many clips, and larger
with fewer. Rows in italics are the paper's, of 128 or 224 px and other tokenizers: compare gaps to Recon, not
numbers."""


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
        *("\n".join(_of_data(data, preset, findings)) for data, preset in _compared(trainings)),
        "\n".join(_factorization(findings)),
        "\n".join(_agents(findings)),
        *("\n".join(frontier_lines(data, trainings, findings)) for data in PRICES),
        "\n".join(hypothesis_lines(trainings, findings)),
        *(["\n".join(_rates(read_findings(tuned, PLANS["tuning"])))] if tuned.is_dir() else []),
    ]
    if figure is not None:
        write_atomically(Path(figure), draw_frontiers(trainings, findings))
    return "\n\n".join(parts)


def _made_by(plan: str, machines: Sequence[str]) -> str:
    command = f"`python -m baselines.campaign --plan {plan}`"
    return f"{command}, on {'; '.join(machines) if machines else 'no machine yet'}. {COMMAND} prints this page."


def _compared(trainings: Sequence[Training]) -> list[tuple[str, str]]:
    """The data sets of Table 1 and the presets of their trainings: the usual one, planned or not, and others."""
    usually = [(data, DATA_SETS[data].preset) for data in paper.TABLE_1]
    others = [(training.data, training.preset) for training in trainings if training.data in paper.TABLE_1]
    return list(dict.fromkeys(usually + others))


def _of_data(data: str, preset: str, findings: Findings) -> Iterator[str]:
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
    nats = finding.cell("nats", ".1f") + (" (codes)" if kind.rate == "codes" else "")
    million = finding.mean("parameters")
    return [
        title,
        f"{budget.steps}" + (f" (+ {budget.steps_of(SLOTS)})" if kind.on_slots else ""),
        "" if million is None else f"{million / 1e6:.2f}",
        nats if kind.infers else {"known": "true actions", "none": "no actions"}[kind.rate],
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
    cells = {name: f"*{value}*" for name, value in paper.TABLE_1[data][method].items()}
    return [f"*paper: {title}*", "", "", "", cells["psnr"], "", "", *(cells[name] for _, name, _ in SCORES), "", ""]


def _factorization(findings: Findings) -> Iterator[str]:
    """Table 2."""
    yield "## Table 2: factorization on MultiGrid\n"
    rows, random = [], dict[str, str]()
    for method, kind in METHODS.items():
        if kind.slotted:
            finding = usual(findings, "multigrid", method)
            cells = [finding.cell(name, ".2f") if finding else "" for name in paper.DCI]
            rows += [[kind.title, *(cells if any(cells) else [NOT_RUN, "", ""])], _paper_dci(method, kind.title)]
            if finding and any(cells):
                random = random or {name: finding.cell(f"random_{name}", ".2f") for name in paper.DCI}
    rows += [["Random", *(random.get(name, "") for name in paper.DCI)], _paper_dci("random", "Random")]
    yield from table_of_text(["method", "disentanglement", "completeness", "informativeness"], rows)


def _paper_dci(method: str, title: str) -> list[str]:
    return [f"*paper: {title}*", *(f"*{paper.TABLE_2[method][name]}*" for name in paper.DCI)]


def _agents(findings: Findings) -> Iterator[str]:
    """Figure 4, as a table."""
    yield "## Figure 4: more agents, in a room of 16 x 16 cells\n"
    rows = []
    for agents in SWEPT:
        for method in ("flam", "adaworld", "genie"):
            finding = usual(findings, f"agents{agents}", method)
            rows.append([str(agents), METHODS[method].title, *_agent_cells(finding)])
    titles = ["agents", "method", "updates", "PSNR, mean", "samples", "Recon", "copy last frame", "frames right"]
    titles += ["nats a frame", "seeds"]
    yield from table_of_text(titles, rows)
    yield f"\n*Paper: {paper.FIGURE_4}* Genie's book has a code for each joint action, 65,536 at most."


def _agent_cells(finding: Finding | None) -> list[str]:
    if finding is None:
        return [NOT_RUN, *[""] * 7]
    names = ("psnr", "psnr_posterior", "psnr_recon", "psnr_copy_last")
    mark = " (codes)" if METHODS[finding.training.method].rate == "codes" else ""
    cells = [*(finding.cell(name, ".2f") for name in names), finding.cell("frames_right", ".3f")]
    steps = str(finding.training.budget.steps)
    return [steps, *cells, finding.cell("nats", ".1f") + mark, str(len(finding.numbers))]


def _rates(findings: Findings) -> Iterator[str]:
    """What the learning rates of the methods come from."""
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
    rows = [[method, *_rate_cells(ends.get(method, {}), taken)] for method, taken in LEARNING_RATES.items()]
    yield from table_of_text(["method", *(f"{rate:g}" for rate in TRIED_RATES)], rows)


def _rate_cells(ends: Mapping[float | None, Finding], taken: float) -> Iterator[str]:
    for rate in TRIED_RATES:
        if rate not in ends:
            yield NOT_RUN
            continue
        numbers = ends[rate].cell("rollouts", ".2f"), ends[rate].cell("objective", ".4f")
        cell = ", ".join(filter(None, numbers))
        yield f"**{cell}**" if rate == taken else cell
