"""Figures of the experiments, as PNG files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flam_train.pictures.figures import new_figure, png_of
from flam_train.studies.rooms.findings import Finding
from flam_train.studies.rooms.runs import EXPERIMENTS

WATCHED = {"rollout_psnr": "held-out rollout PSNR, dB", "agents_with_own_slot": "agents with a slot of their own"}


def draw_figures(findings: Mapping[str, Finding]) -> dict[str, bytes]:
    """PNG files by name, without those for which there are no reports.

    Raises:
        ImportError: matplotlib is missing.
    """
    by_experiment = {
        name: {run.name: findings[run.name] for run in runs if run.name in findings}
        for name, runs in EXPERIMENTS.items()
    }
    figures = {f"curves-{name}": learning_curves(found) for name, found in by_experiment.items() if found}
    if found := by_experiment["agents"]:
        sinks = {run.name: run.model.background_sink for run in EXPERIMENTS["agents"]}
        figures["frames-right-by-agents"] = frames_by_agents(
            {
                title: [finding for name, finding in found.items() if sinks[name] == sink]
                for title, sink in (("with a background sink", True), ("without", False))
            }
        )
    if found := by_experiment["beta"]:
        figures["psnr-by-price"] = psnr_by_price(list(found.values()))
    return figures


def learning_curves(findings: Mapping[str, Finding]) -> bytes:
    """PSNR of held-out rollouts, and agents with a slot of their own, against steps: one line for each run."""
    figure = new_figure(12, 4.5)
    panels = figure.subplots(1, 2)
    for axes, (measure, title) in zip(panels, WATCHED.items(), strict=True):
        for run, finding in findings.items():
            steps, values = (np.array([look[name] for look in finding.curve], float) for name in ("step", measure))
            axes.plot(steps, values, marker=".", label=run)
        axes.set(xlabel="steps", ylabel=title)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return png_of(figure)


def frames_by_agents(lines: Mapping[str, Sequence[Finding]]) -> bytes:
    """Share of predicted frames in which every agent is right, against the number of agents; a line for each title."""
    figure = new_figure(6, 4.5)
    axes = figure.add_subplot()
    for title, findings in lines.items():
        _draw_line(axes, findings, "agents", "frames_right", title)
    axes.set(xlabel="agents", ylabel="frames with every agent right", ylim=(0, 1.02))
    axes.set_xticks(sorted({finding.numbers["agents"] for findings in lines.values() for finding in findings}))
    axes.grid(alpha=0.3)
    axes.legend()
    return png_of(figure)


def psnr_by_price(findings: Sequence[Finding]) -> bytes:
    """PSNR of prediction, and of Recon above it, against the information price."""
    figure = new_figure(6, 4.5)
    axes = figure.add_subplot()
    _draw_line(axes, findings, "price", "psnr", "prediction")
    _draw_line(axes, findings, "price", "recon", "Recon")
    axes.set(xscale="log", xlabel="information price of a nat of latent action", ylabel="PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    return png_of(figure)


def _draw_line(axes: Any, findings: Sequence[Finding], across: str, up: str, label: str) -> None:
    """Adds a line through the findings that have both numbers."""
    points = sorted((f.numbers[across], f.numbers[up]) for f in findings if {across, up} <= set(f.numbers))
    axes.plot(*np.array(points).reshape(-1, 2).T, marker="o", label=label)
