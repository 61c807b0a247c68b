"""Which policies are cloned and compared: arms, numbers of labels, seeds."""

from dataclasses import dataclass

from flam_train.engine import FitConfig
from flam_train.players.behaviour_cloning import CloningConfig

LABELS = (1000, 10_000)
SEEDS = (0, 1, 2)
LABELLED_ARMS = ("flam", "supervised", "vanilla")
"""Pseudo labels through a world; pseudo labels of a model that only has the labels; the labelled frames alone."""
PSEUDO = ("flam", "supervised")
ALL_LABELS = "all-labels"
"""The upper bound: the true action of every frame."""
PLAYERS = ("demonstrator", "random")
"""Who learns nothing: who is cloned, and who knows nothing."""

CLONING = CloningConfig(evaluate_every=1000, patience=0)
FIT = FitConfig(steps=7_000, batch_size=64, learning_rate=5e-4, warmup_steps=100, weight_decay=0.0, ema=0.995)
"""The same for all arms: 448,000 sample-updates."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One policy: how it came about, from how many labels (None for the bound and the players), and its seed."""

    arm: str
    labels: int | None = None
    seed: int

    @property
    def name(self) -> str:
        """Of the run's folder and report file."""
        return "-".join(str(part) for part in (self.arm, self.labels, self.seed) if part is not None)


RUNS = (
    *(Run(arm=arm, seed=seed) for arm in PLAYERS for seed in SEEDS),
    *(Run(arm=ALL_LABELS, seed=seed) for seed in SEEDS),
    *(Run(arm=arm, labels=labels, seed=seed) for labels in reversed(LABELS) for arm in LABELLED_ARMS for seed in SEEDS),
)
"""In the order in which they are made: first what the gate asks for."""
