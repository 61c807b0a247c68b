"""`flam-train tables`: what the runs of all experiments gave, from their report files, beside what the paper found."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from flam_env.worlds.writing import write_atomically
from flam_train.studies.rooms import paper
from flam_train.studies.rooms.columns import COLUMNS, LEGEND, RUN
from flam_train.studies.rooms.curves import draw_figures
from flam_train.studies.rooms.findings import Finding, read_findings
from flam_train.studies.rooms.runs import EXPERIMENTS
from flam_train.studies.rooms.thresholds import bar_lines
from flam_train.studies.tables import table


class Table(NamedTuple):
    """What an experiment asks, the columns that answer it (names of `COLUMNS`), and what the answer is."""

    title: str
    question: str
    columns: str
    answer: str = ""


TABLES = {
    "main": Table(
        "a. Main: 4 agents, K = 4",
        "Does every slot follow one agent, and does its latent action say what that agent does? Three seeds.",
        "psnr gap frames_right own_slot all_own_slot disentanglement completeness informativeness owner_consistency "
        "action_accuracy action_heading_known nats_per_agent moves_one_agent dreams_whole steps",
    ),
    "slots": Table(
        "b. Number of slots",
        "What if there are fewer slots than the 4 agents, or more?",
        "slots psnr frames_right own_slot all_own_slot disentanglement matched_disentanglement completeness "
        "informativeness owner_consistency action_accuracy action_heading_known nats_per_agent steps",
        "As in the paper up to K = 8. Sixteen slots hand agents on to one another as soon as a nat costs its full "
        "price; at a tenth of it (`cheap`) they keep them, and K = 16 predicts as well as K = 4.",
    ),
    "agents": Table(
        "c. Number of agents",
        "Does prediction hold as agents become more, in a larger room, with a slot for each?",
        "agents psnr gap frames_right own_slot all_own_slot disentanglement completeness informativeness "
        "owner_consistency action_accuracy action_heading_known nats_per_agent moves_one_agent steps",
        "These runs are short for so large a room, and the background sink does not help there: beside it a slot that "
        "is free takes the walls. Without it more agents have a slot of their own, and eight are predicted better, but "
        "frames in which all are right stay rare. No unfactored model was trained here.",
    ),
    "tied": Table(
        "d. Tied agents",
        "Do two of 4 agents that always take the same action share one of 3 slots, whoever they are? The run's name "
        "says which two.",
        "tied_pair other_pairs slots psnr frames_right own_slot owner_consistency action_accuracy "
        "action_heading_known nats_per_agent steps",
        "Only without the background sink. With it the tied pair does not share one, and one agent is left "
        "without any. Without it every agent is in a slot, and on average the tied pair shares one far more often than "
        "others do, though not in every run.",
    ),
    "ablations": Table(
        "e. Ablations",
        "What do temporal attention (`recurrence` has none) and independent dynamics (`coupled` has none) give, where "
        "agents have colours of their own, share one (`-same`), or change theirs with the episode (`-per-episode`)?",
        "psnr frames_right own_slot all_own_slot disentanglement completeness informativeness owner_consistency "
        "action_accuracy action_heading_known nats_per_agent moves_one_agent steps",
        "Without temporal attention slots change their agents, as in the paper. Coupled dynamics cost nothing where "
        "colours tell agents apart; where they do not, neither is ahead in all measures (one seed each).",
    ),
    "beta": Table(
        "f. Information price (β)",
        "How much may a nat of latent action cost?",
        "price psnr frames_right own_slot disentanglement completeness informativeness action_accuracy "
        "action_heading_known "
        "nats_per_agent moves_one_agent dreams_whole steps",
    ),
    "binding": Table(
        "What makes slots bind",
        "What do the background sink, focus, the sharpness of slot attention at the start, actions inferred from the "
        "difference of slots, and the latent dimensions give?",
        "slots psnr frames_right own_slot all_own_slot disentanglement matched_disentanglement completeness "
        "informativeness owner_consistency action_accuracy action_heading_known nats_per_agent moves_one_agent steps",
    ),
}
"""By experiment."""


def tables(
    reports: Path = Path("benchmarks/results/rooms"),
    *,
    plots: Path | None = None,
) -> str:
    """A Markdown table for each experiment, one row for each run, and the paper's rows in italics below them.

    Args:
        reports: folder of the report files that `flam-train experiment` leaves.
        plots: folder for learning curves, frames right by number of agents, and PSNR by information price, as PNG
            files; by default none are drawn.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file in it is damaged, belongs to no run, or is of a run with other settings.
        ImportError: matplotlib is missing, and plots are wanted.
    """
    findings = read_findings(Path(reports))
    figures = draw_figures(findings) if plots else {}
    for name, content in figures.items():
        write_atomically(Path(plots or "") / f"{name}.png", content)
    return format_tables(findings)


def format_tables(findings: Mapping[str, Finding]) -> str:
    """All tables as Markdown."""
    horizons = sorted({f"{finding.numbers['horizon']:.0f}" for finding in findings.values()})
    about = f"Rollouts of {', '.join(horizons)} steps on held-out clips. " if horizons else ""
    sections = ["\n".join(_section(name, findings)) for name in EXPERIMENTS]
    return "\n\n".join([about + "Rows in italics are the paper's.", *sections, LEGEND])


def _section(name: str, findings: Mapping[str, Finding]) -> list[str]:
    asked, runs = TABLES[name], EXPERIMENTS[name]
    columns = [RUN, *(COLUMNS[column] for column in asked.columns.split())]
    unknown = {columns[1].measure: "no report yet"}
    rows = [{"run": run.name} | (findings[run.name].numbers if run.name in findings else unknown) for run in runs]
    rows += [{"run": f"*paper, {row.source}: {row.name}*"} | row.numbers for row in paper.TABLES.get(name, ())]
    lines = [f"## {asked.title}", "", asked.question, "", *table(columns, rows)]
    if asked.answer:
        lines += ["", f"Here: {asked.answer}"]
    if name in paper.STATEMENTS:
        lines += ["", f"*Paper: {paper.STATEMENTS[name]}*"]
    reported = [findings[run.name] for run in runs if run.name in findings]
    if name == "main" and reported:
        lines += ["", *bar_lines(reported, len(runs))]
    return lines
