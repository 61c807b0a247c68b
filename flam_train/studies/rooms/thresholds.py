"""The bars that worlds of the main experiment have to clear, whatever their seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from flam_train.studies.rooms.findings import Finding


class Bar(NamedTuple):
    """What is asked of a number: to be at least the bound, or at most."""

    title: str
    measure: str
    bound: float
    at_most: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value clears the bar; NaN does not."""
        return value <= self.bound if self.at_most else value >= self.bound

    def worst(self, values: Sequence[float]) -> float:
        """The value that is furthest on the wrong side, NaN if there is one."""
        return math.nan if any(map(math.isnan, values)) else (max if self.at_most else min)(values)


BARS = (
    Bar("every agent has a slot of its own, share of frames", "all_own_slot", 0.95),
    Bar("disentanglement", "disentanglement", 0.91),
    Bar("completeness", "completeness", 0.91),
    Bar("informativeness", "informativeness", 0.93),
    Bar("agents keep the slot that owns their cell", "owner_consistency", 0.95),
    Bar("agents keep the slot that they are matched with", "match_consistency", 0.95),
    Bar("actions that a probe tells from latent actions", "action_accuracy", 0.95),
    Bar("frames in which every agent is right", "frames_right", 0.90),
    Bar("nats of latent action per agent", "nats_per_agent", 5, at_most=True),
    Bar("changed actions that move one agent only", "moves_one_agent", 0.95),
    Bar("dreamt frames in which agents are whole", "dreams_whole", 0.95),
)


def bar_lines(findings: Sequence[Finding], runs: int) -> list[str]:
    """A Markdown table that says which bars hold in the worst of the findings.

    Args:
        findings: of the runs that have a report.
        runs: how many there should be; while some are missing, bars hold "so far".
    """
    lines = [f"| bar | | worst of {len(findings)} of {runs} seeds | |", "| --- | --- | --- | --- |"]
    for bar in BARS:
        values = [finding.numbers[bar.measure] for finding in findings if bar.measure in finding.numbers]
        sign, complete = "≤" if bar.at_most else "≥", len(values) == len(findings)
        worst, verdict = (f"{bar.worst(values):.4f}", _verdict(bar, values, runs)) if complete else ("", "not scored")
        lines.append(f"| {bar.title} | {sign} {bar.bound:g} | {worst} | {verdict} |")
    return lines


def _verdict(bar: Bar, values: Sequence[float], runs: int) -> str:
    if not all(map(bar.holds, values)):
        return "missed"
    return "holds" if len(values) == runs else "holds so far"
