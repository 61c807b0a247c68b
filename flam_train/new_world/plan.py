"""What a new world will be, and why: written down before anything is trained, and kept to from then on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flam_env.models.factored import WorldModelConfig
from flam_env.models.tokenizer import TokenizerConfig
from flam_env.worlds.checkpoint import parse_json
from flam_env.worlds.writing import is_vacant, write_atomically
from flam_train.engine import FitConfig
from flam_train.engine.identity import as_json, require_same
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.presets import BOUND, PRESETS, PRIOR_COMPONENTS, Preset

FILE = "plan.json"
BINDING = BOUND | {"persistence": 0.0, "prior_components": PRIOR_COMPONENTS}
"""What every new world has, whatever the preset: slots that take hold of what moves, and a prior that dreams are drawn
from; without persistence, as everything that was measured of films."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a phase trains: optimiser steps, or minutes."""

    steps: int = 0
    minutes: float = 0.0

    def __str__(self) -> str:
        return f"{self.minutes:.3g} minutes" if self.minutes else f"{self.steps:,} steps"

    def of(self, config: FitConfig, seed: int) -> FitConfig:
        """The config with this budget and seed."""
        return replace(config, steps=self.steps, minutes=self.minutes, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What decides a new world, beside its data.

    `tokenizer` is None where a pack brings one, `token_sampler` where the model does not say how likely tokens are.
    """

    preset: str
    image_size: int
    patch_size: int
    slots: int
    price: float
    last_price: float | None
    free_share: float
    tokenizer: Budget | None
    world_model: Budget
    scheduled_sampling: Budget
    token_sampler: Budget | None
    clips: int
    seed: int

    @property
    def sizes(self) -> Preset:
        """The preset."""
        return PRESETS[self.preset]

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        """Sizes of the tokenizer."""
        return replace(self.sizes.tokenizer, image_size=self.image_size, patch_size=self.patch_size)

    @property
    def world_model_config(self) -> WorldModelConfig:
        """Sizes of the world model."""
        return replace(self.sizes.world_model, slots=self.slots, **BINDING)

    @property
    def loss(self) -> WorldModelLossConfig:
        """The objective."""
        return replace(
            self.sizes.loss, information_price=self.price, last_price=self.last_price, free_share=self.free_share
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Choices, a sentence for each that says why, and what is recorded of the data."""

    choices: Choices
    why: Mapping[str, str]
    data: Mapping[str, Any]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Name, value and reason of every choice that has a reason."""
        for name, reason in self.why.items():
            value = getattr(self.choices, name)
            yield name.replace("_", " "), "-" if value is None else str(value), reason

    def lines(self) -> Iterator[str]:
        """The plan as a person reads it."""
        rows = list(self.rows())
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        yield from (f"  {name:<{widths[0]}}  {value:<{widths[1]}}  {why}" for name, value, why in rows)


def keep_plan(out: Path, plan: Plan) -> None:
    """Writes `OUT/plan.json`, or makes sure that the one there says the same; reasons may be worded otherwise.

    Raises:
        ValueError: the folder holds another plan, or something else.
    """
    path, record = out / FILE, as_json({"data": plan.data, "choices": asdict(plan.choices)})
    if path.is_file():
        there = parse_json(path.read_bytes(), path)
        kept = {part: there.get(part) for part in record}
        require_same(kept, record, where=out, kind="a world", advice="name another folder, or ask for the same again")
    elif not is_vacant(out):
        raise ValueError(
            f"expected an absent or empty folder, or a world that `flam-train new-world` began, got {out}, which holds "
            "something else; name another folder"
        )
    else:
        write_atomically(path, json.dumps(record | {"why": dict(plan.why)}, indent=2).encode())
