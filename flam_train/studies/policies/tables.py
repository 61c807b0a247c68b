"""`flam-train policy-tables`: Table 4 from the report files, beside what the paper found, and which bars hold."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from flam_train.sources.procgen.games import GAMES
from flam_train.studies.policies.findings import ArmScores, read_arms
from flam_train.studies.policies.runs import ALL_LABELS
from flam_train.studies.tables import Column, Numbers, table, table_of_text

Arms = Mapping[tuple[str, int | None], ArmScores]

PAPER = {
    "bigfish": {
        ("flam", 1000): 1.8,
        ("vanilla", 1000): 1.0,
        ("flam", 10_000): 8.8,
        ("vanilla", 10_000): 3.6,
        ("random", None): 0.9,
    },
    "starpilot": {
        ("flam", 1000): 1.8,
        ("vanilla", 1000): 1.9,
        ("flam", 10_000): 9.1,
        ("vanilla", 10_000): 6.4,
        ("random", None): 1.1,
    },
}
"""Mean returns of Table 4."""

COLUMNS = (
    Column("arm", "arm", ""),
    Column("labels", "labels", "d"),
    Column("mean return ± standard error (seeds)", "return", ""),
    Column("episodes", "episodes", "d"),
    Column("of the demonstrator", "of_demonstrator", ".2f"),
    Column("of all labels", "of_all_labels", ".2f"),
    Column("pseudo labels right", "pseudo_labels_right", ".3f"),
    Column("actions right", "actions_right", ".3f"),
    Column("paper", "paper", ""),
)

LEGEND = """\
From the reports of `flam-train policies GAME`, which hold their settings. Mean return of whole episodes on unseen
levels of the real game; clones draw their actions, the demonstrator plays as it was filmed. The standard error is that
of the means of the seeds, each with its own labels, weights and levels. Of each clone those weights are kept that
played best, of several moments of its training, on other levels, the same for all clones. Pseudo labels right: share of
the transitions without a label for which the labeller's likeliest action has the effect of the true one. Actions right:
share of true pairs of the same other levels for which the policy's likeliest action is the true one."""


class Ratio(NamedTuple):
    """What is asked of the mean return of one arm over that of another."""

    game: str
    over: tuple[str, int | None]
    under: tuple[str, int | None]
    bound: float
    aim: bool = False


RATIOS = (
    *(Ratio(game, (ALL_LABELS, None), ("demonstrator", None), 0.5) for game in PAPER),
    Ratio("bigfish", ("flam", 10_000), ("vanilla", 10_000), 2.4),
    Ratio("starpilot", ("flam", 10_000), ("vanilla", 10_000), 1.4),
    Ratio("bigfish", ("flam", 1000), ("vanilla", 1000), 1.8),
    *(Ratio(game, ("flam", 1000), ("vanilla", 1000), 2.0, aim=True) for game in PAPER),
    *(Ratio(game, ("flam", 10_000), (ALL_LABELS, None), 0.8, aim=True) for game in PAPER),
)


def policy_tables(*, reports: Path = Path("benchmarks/results/policies")) -> str:
    """A Markdown table of each game's arms, and which of the ratios that are asked for hold.

    Args:
        reports: folder of the report files that `flam-train policies` leaves.

    Raises:
        FileNotFoundError: there is no such folder, or it is empty.
        ValueError: a file in it is damaged, belongs to no run, or its settings differ from those of the others.
    """
    folders = [folder for game in GAMES if (folder := Path(reports) / game).is_dir()]
    if not folders:
        raise FileNotFoundError(
            f"expected folders of reports in {reports}, one for each game, found none; `flam-train policies` makes them"
        )
    sections = ["\n".join(game_lines(folder.name, read_arms(folder))) for folder in folders]
    return "\n\n".join([*sections, LEGEND])


def game_lines(game: str, arms: Arms) -> Iterator[str]:
    """The table of a game's arms, and the ratios, as lines of Markdown."""
    settings = next(iter(arms.values())).reports[0]["settings"]
    updates, frames = settings["fit"]["steps"] * settings["fit"]["batch_size"], settings["demonstrations"]["frames"]
    yield from (f"## {game.capitalize()}", "")
    yield f"All policies are of the network `{settings['features']}` and learn for {updates:,} sample-updates; the"
    yield f"demonstrator was filmed for {frames:,} frames of the train split."
    yield ""
    yield from table(COLUMNS, (_numbers(game, arm, arms) for arm in arms.values()))
    yield ""
    ratios = [ratio for ratio in RATIOS if ratio.game == game and {ratio.over, ratio.under} <= set(arms)]
    got = [_ratio_cells(ratio, arms[ratio.over].mean / arms[ratio.under].mean) for ratio in ratios]
    yield from table_of_text(("ratio", "asked", "got", ""), got)


def _numbers(game: str, arm: ArmScores, arms: Arms) -> Numbers:
    """What the row of an arm has, by the names of the columns."""
    paper, others = PAPER.get(game, {}), {"of_demonstrator": "demonstrator", "of_all_labels": ALL_LABELS}
    numbers: dict[str, float | str | None] = {
        "arm": arm.arm,
        "labels": arm.labels,
        "return": f"{arm.mean:.1f} ± {arm.standard_error:.1f} ({len(arm.reports)})",
        "episodes": arm.episodes,
        "pseudo_labels_right": arm.average("pseudo_labels", "class_accuracy"),
        "actions_right": arm.average("held_out", "accuracy"),
    }
    numbers |= {name: arm.mean / arms[other, None].mean for name, other in others.items() if (other, None) in arms}
    if (arm.arm, arm.labels) in paper:
        numbers["paper"] = f"*{paper[arm.arm, arm.labels]}*"
    return {name: number for name, number in numbers.items() if number is not None}


def _ratio_cells(ratio: Ratio, value: float) -> list[str]:
    over, under = (" ".join(str(part) for part in name if part is not None) for name in (ratio.over, ratio.under))
    held, missed = ("reached", "not reached") if ratio.aim else ("holds", "missed")
    asked = f"aim {ratio.bound}" if ratio.aim else f"≥ {ratio.bound}"
    return [f"{over} / {under}", asked, f"{value:.2f}", held if value >= ratio.bound else missed]
