"""One world from its pack to its archive, each part of which is skipped where it is done."""

from dataclasses import dataclass, replace
from pathlib import Path

from flam_train.engine import FitConfig
from flam_train.engine.processes import logged
from flam_train.evaluate.evaluate import Metric, evaluate
from flam_train.evaluate.report import format_report, read_report
from flam_train.phases.scheduled_sampling import scheduled_sampling
from flam_train.phases.world_model import world_model
from flam_train.presets import PRESETS
from flam_train.store.packs import Pack
from flam_train.studies.recipe.archives import archive
from flam_train.studies.recipe.games import GAMES, GameOptions
from flam_train.studies.recipe.pieces import PieceOver, piece

LOOKS_EVERY = 2000
"""Steps between looks at held-out rollouts, which take a GPU as long as a hundred steps."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How worlds are scored: as by `flam-train evaluate`, with fewer long dreams."""

    metrics: tuple[Metric, ...] | None = None
    """Beside those of any world; by default those of the game (`GameOptions`)."""
    clips: int = 256
    long_dreams: int = 32
    long_dream_steps: int | None = None


SCORING = Scoring()


@dataclass(frozen=True, kw_only=True)
class PlannedWorld:
    """A world that is to be made.

    pack, seed: what it is learned from and with; preset: its name; minutes: of training in all; sampling_share: of them
    for scheduled sampling, 0 for none; compile: whether its model goes through torch.compile; out: folder of the study;
    scoring: how it is scored.
    """

    pack: Path
    seed: int
    preset: str
    minutes: float
    sampling_share: float
    compile: bool
    out: Path
    scoring: Scoring

    @property
    def name(self) -> str:
        """Of its folder and its archive."""
        return f"{self.pack.stem}-{self.seed}"

    @property
    def trained(self) -> Path:
        """The world before scheduled sampling."""
        return self.out / "trained" / self.name

    @property
    def world(self) -> Path:
        """The finished world."""
        return self.out / "worlds" / self.name if self.sampling_share else self.trained

    @property
    def archive(self) -> Path:
        """What is there once all is done."""
        return self.out / f"{self.name}.tar.gz"


def make_world(planned: PlannedWorld, deadline: float) -> None:
    """Does what is left to do for a world, until it is done or the time is over.

    What is printed, and the error that ends it, go to a log in the folder of the trained world.
    """
    with logged(planned.trained):
        try:
            with piece(deadline):
                options = GAMES.get(Pack.open(planned.pack).source, GameOptions())
                _train(planned, options)
                _score(planned, options)
                archive(planned.world, planned.archive, logs=planned.trained)
        except PieceOver:
            print("the time of this piece is over")


def _train(planned: PlannedWorld, options: GameOptions) -> None:
    preset, share = PRESETS[planned.preset], planned.sampling_share
    world_model(
        planned.pack,
        out=planned.trained,
        model=replace(preset.world_model, **options.model),
        loss=replace(preset.loss, **options.loss),
        fit_config=_timed(preset.world_model_fit, planned, planned.minutes * (1 - share)),
        evaluate_every=LOOKS_EVERY,
    )
    if share:
        scheduled_sampling(
            str(planned.trained),
            planned.pack,
            out=planned.world,
            fit_config=_timed(preset.scheduled_sampling_fit, planned, planned.minutes * share),
            evaluate_every=LOOKS_EVERY,
        )


def _timed(config: FitConfig, planned: PlannedWorld, minutes: float) -> FitConfig:
    return replace(config, steps=0, minutes=minutes, seed=planned.seed, compile=planned.compile)


def _score(planned: PlannedWorld, options: GameOptions) -> None:
    """Scores one metric after another; those that the report has are not computed again."""
    path, scoring = planned.world / "report.json", planned.scoring
    chosen = options.metrics if scoring.metrics is None else scoring.metrics
    for metrics in ((), *((metric,) for metric in chosen)):
        if not _has(path, metrics):
            report = evaluate(
                str(planned.world),
                planned.pack,
                metrics=metrics,
                clips=scoring.clips,
                long_dreams=scoring.long_dreams,
                long_dream_steps=scoring.long_dream_steps,
            )
            print(format_report(report))


def _has(path: Path, metrics: tuple[Metric, ...]) -> bool:
    """Whether a report is there and has certain metrics."""
    parts = {"horizon": "dream_horizon"}
    return path.exists() and all(parts.get(metric, metric) in read_report(path) for metric in metrics)
