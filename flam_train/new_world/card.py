"""The card of a new world: what it was made of and how, its scores, what went wrong, how it is opened."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flam_train.evaluate.report import format_report
from flam_train.new_world.plan import Plan

CARD = "card.md"


def python_line(directory: Path) -> str:
    """The line of Python that opens a world."""
    return f'gym.make("FLAM-v0", checkpoint="{directory}")'


def card(
    directory: Path, plan: Plan, report: Mapping[str, Any], unscored: Mapping[str, str], advice: Mapping[str, str]
) -> str:
    """The card, in Markdown.

    Args:
        directory: of the world.
        plan: how it was made.
        report: its scores.
        unscored: metrics that do not apply, and why.
        advice: what to do about what went wrong, by what that is.
    """
    choices = "\n".join(f"| {name} | {value} | {why} |" for name, value, why in plan.rows())
    machine = f"{platform.machine()}, {report['machine']['device']}, torch {version('torch')}"
    parts = [
        f"# {directory.name}",
        f"A factored world of {plan.data['source']}, {plan.choices.image_size} px, K = {plan.choices.slots} slots, "
        f"learned from {plan.data['frames']:,} frames of video without action labels.",
        f"## How it was made\n\n`flam-train new-world`, preset {plan.choices.preset}, seed {plan.choices.seed}, "
        f"{machine}:\n\n| choice | value | why |\n| --- | --- | --- |\n{choices}",
        f"## Scores\n\nOn held-out films, of clips that begin with {report['context']} real frames.\n\n"
        f"{format_report(dict(report))}",
        *([_listed("Not scored", unscored)] if unscored else []),
        _listed("What went wrong, and what to do", advice)
        if advice
        else "## What went wrong, and what to do\n\nNothing that is looked for.",
        f"## Use\n\n```python\nimport gymnasium as gym, flam_env\n\nenv = {python_line(directory)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _listed(title: str, texts: Mapping[str, str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {name}: {text}" for name, text in texts.items())
