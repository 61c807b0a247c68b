"""Which trainings there are: data set x method x price x seed x preset, in the order in which they are made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from baselines.campaign.data_sets import DATA_SETS, SWEPT, DataSet
from baselines.campaign.methods import LEARNING_RATES, METHODS, SLOTS, TRIED_RATES
from flam_env.worlds.finding import BUNDLED, find_world
from flam_train.presets import Preset


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Optimiser steps, and clips in each of them: the same for all methods.

    free_steps: in so many, at least, information is free; whoever pays for it sooner never learns what to tell.
    slot_steps: of the slots that are learned by reconstruction before; 0 for as many as `steps`.
    """

    steps: int
    batch_size: int
    free_steps: int = 0
    slot_steps: int = 0

    def steps_of(self, method: str) -> int:
        """Optimiser steps of a method, or of `SLOTS`."""
        return self.slot_steps or self.steps if method == SLOTS else self.steps

    def frees(self, share: float) -> float:
        """The share of the run in which information is free, where a preset says `share`."""
        return max(share, self.free_steps / self.steps)


@dataclass(frozen=True, kw_only=True)
class Training:
    """One model, from its data to its report.

    data: of `DATA_SETS`; method: of `METHODS`, or `SLOTS`; preset: of `flam_train.presets`; price: of a nat, by default
    the data set's; rate: learning rate, by default that of `LEARNING_RATES`; scored: whether there will be a world that
    is scored on held-out clips, or its objective at the end is all that is wanted.
    """

    data: str
    method: str
    budget: Budget
    preset: str
    price: float | None = None
    seed: int = 0
    rate: float | None = None
    scored: bool = True

    @property
    def label(self) -> str:
        """What it is called in plans: data/method, then what is not as usual, and its seed."""
        parts = [f"price-{self.price:g}"] if self.price is not None else []
        parts += [f"rate-{self.rate:g}"] if self.rate is not None else []
        parts += [self.preset] if self.preset != self.data_set.preset else []
        return "/".join([self.data, self.method, *parts, str(self.seed)])

    @property
    def name(self) -> str:
        """Of its folder and of its report file."""
        return self.label.replace("/", "-")

    @property
    def data_set(self) -> DataSet:
        """What it is trained on."""
        return DATA_SETS[self.data]

    @property
    def tokenizer(self) -> str:
        """The data set whose tokenizer it takes."""
        return self.data_set.tokenizer or self.data

    @property
    def bundled(self) -> Path | None:
        """The folder of the bundled world whose tokenizer it takes."""
        name = self.data_set.bundled
        return find_world(BUNDLED + name) if name and self.preset == self.data_set.preset else None

    @property
    def on_slots(self) -> bool:
        """Whether it is learned on slots that are learned before."""
        return self.method != SLOTS and METHODS[self.method].on_slots

    def preset_for(self, method: str) -> Preset:
        """Sizes, budget and price of a method: its own, or that of the slots that it is learned on."""
        preset = self.data_set.preset_at(self.preset)
        rate = self.rate if method == self.method else None
        if self.preset != "paper":
            rate = rate or LEARNING_RATES[method]
        steps = self.budget.steps_of(method)
        fit = replace(
            preset.world_model_fit,
            steps=steps,
            minutes=0.0,
            batch_size=self.budget.batch_size,
            learning_rate=rate or preset.world_model_fit.learning_rate,
            warmup_steps=min(preset.world_model_fit.warmup_steps, steps // 10),
            log_every=max(1, min(preset.world_model_fit.log_every, steps // 5)),
            seed=self.seed,
        )
        loss = replace(preset.loss, free_share=self.budget.frees(preset.loss.free_share))
        if self.price is not None:
            loss = replace(loss, information_price=self.price)
        return replace(preset, world_model_fit=fit, loss=loss)

    def matches(self, wanted: str) -> bool:
        """Whether a word of `--only` names it: the first parts of its label."""
        return f"{self.label}/".startswith(f"{wanted.strip('/')}/")


ROOM, GAME = Budget(steps=600, batch_size=8), Budget(steps=400, batch_size=16, free_steps=100, slot_steps=1200)
"""On one core of a CPU: 2 to 21 minutes. After 400 updates slots of games hold nothing yet; theirs take 28 to 45."""
LARGE = Budget(steps=900, batch_size=4)
"""Of the room of 16 x 16 cells: FLAM has .92 of the frames of 4 agents right then and .66 of those of 2, where fewer
cells change; after 600 updates .86 and .21. AdaWorld takes 48 minutes for them."""
TUNED = Budget(steps=120, batch_size=8)
"""For the learning rates; slots that are learned by reconstruction hold nothing yet after so few, and take `ROOM`."""
MUCH, PAPER = Budget(steps=4000, batch_size=128), Budget(steps=100_000, batch_size=32)
"""On a GPU; the second is Table 5's."""
HURRIED = Budget(steps=2, batch_size=2)

GAMES = ("bigfish", "starpilot", "leaper")
SWEPT_METHODS = ("flam", "adaworld", "genie")
OTHERS = tuple(method for method in METHODS if method not in SWEPT_METHODS)
PRICED = ("flam", "adaworld")
PRICES = {"multigrid": (0.015, 1.5), "bigfish": (0.05, 0.6)}
"""Of a nat, beside the data sets' .15: with it the frontiers of FLAM and AdaWorld."""


def _trainings(
    data: str,
    methods: Iterable[str],
    budget: Budget,
    *,
    preset: str = "",
    seeds: Iterable[int] = (0,),
    prices: Iterable[float | None] = (None,),
) -> Iterator[Training]:
    """Seed by seed, price by price, method by method."""
    for seed, price, method in product(seeds, prices, methods):
        sizes = preset or DATA_SETS[data].preset
        yield Training(data=data, method=method, budget=budget, preset=sizes, price=price, seed=seed)


def _cpu() -> Iterator[Training]:
    yield from _trainings("multigrid", METHODS, ROOM)
    yield from _trainings("multigrid", PRICED, ROOM, prices=PRICES["multigrid"])
    yield from _trainings("bigfish", SWEPT_METHODS, GAME)
    yield from _trainings("bigfish", PRICED, GAME, prices=PRICES["bigfish"])
    for agents in SWEPT[:2]:
        yield from _trainings(f"agents{agents}", SWEPT_METHODS, LARGE)
    yield from _trainings("multigrid", METHODS, ROOM, seeds=(1, 2))
    yield from _trainings("bigfish", OTHERS, GAME)
    yield from _trainings("starpilot", METHODS, GAME)


def _gpu() -> Iterator[Training]:
    seeds = (0, 1, 2)
    yield from _trainings("multigrid", METHODS, MUCH, seeds=seeds)
    for game in GAMES:
        yield from _trainings(game, METHODS, MUCH, seeds=seeds)
    for data, prices in PRICES.items():
        yield from _trainings(data, PRICED, MUCH, prices=prices, seeds=seeds)
    for agents in SWEPT:
        yield from _trainings(f"agents{agents}", SWEPT_METHODS, MUCH, seeds=seeds)
    for data in ("multigrid", *GAMES):
        yield from _trainings(data, METHODS, PAPER, preset="paper")


def _tuning() -> Iterator[Training]:
    for method, rate in product((SLOTS, *METHODS), TRIED_RATES):
        budget = ROOM if method == SLOTS or METHODS[method].on_slots else TUNED
        yield Training(data="multigrid", method=method, budget=budget, preset="rooms", rate=rate, scored=False)


PLANS = {
    "cpu": tuple(_cpu()),
    "gpu": tuple(_gpu()),
    "tuning": tuple(_tuning()),
    "tiny": tuple(replace(training, preset="tiny", budget=HURRIED) for training in dict.fromkeys(_cpu())),
}
"""By name: what a CPU makes in an afternoon, what takes a GPU, what the learning rates come from, and a rehearsal."""
