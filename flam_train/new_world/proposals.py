"""What is proposed for a new world, and why; whatever a person asks for takes the place of a proposal."""

from collections.abc import Mapping
from typing import Any

from flam_env.validation import check_fields
from flam_train.new_world.plan import Budget, Choices, Plan
from flam_train.new_world.watching import Seen
from flam_train.presets import PRESETS
from flam_train.store.packs import Pack
from flam_train.store.training_data import TrainingData

FEWEST_SLOTS, MOST_SLOTS, SPARE_SLOTS = 4, 16, 2
PRICE, LAST_PRICE = 0.6, 0.3
FREE_STEPS, FREE_MINUTES, MOST_FREE = 150, 2.0, 0.4
SHARES = {"tokenizer": 0.12, "world_model": 0.5, "scheduled_sampling": 0.23, "token_sampler": 0.07}
"""Of the minutes; scores have the rest."""
LEAST_MINUTES = 1.0
CLIPS, FEW_CLIPS, MANY_MINUTES = 256, 64, 60.0
ASKED = "as you ask"

Reasoned = tuple[Any, str]
"""A value and why."""


def propose(
    data: TrainingData, seen: Seen, *, preset: str, minutes: float, seed: int, given: Mapping[str, Any]
) -> Plan:
    """The plan of a new world.

    Args:
        data: what it learns from.
        seen: what there is to see in it.
        preset: sizes and optimiser.
        minutes: of all phases and scores together; 0 for the preset's own budgets.
        seed: of the trainings and scores.
        given: what a person asks for, by the name of the choice; budgets as `Budget`.

    Raises:
        ValueError: no such preset, too few minutes, frames that are not a whole number of patches, a pack for which
            other patches are asked, or a value out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"expected a preset of {sorted(PRESETS)}, got {preset!r}")
    if minutes and not minutes >= LEAST_MINUTES:
        raise ValueError(
            f"expected {LEAST_MINUTES:g} minutes or more, of which the tokenizer gets {SHARES['tokenizer']:.0%}, got "
            f"{minutes:g}; give more, or steps of each phase, as --tokenizer-steps"
        )
    budgets = {phase: _budget(phase, preset, minutes) for phase in SHARES}
    proposed: dict[str, Reasoned] = {
        "image_size": (data.size, f"the size of the frames in {data.root}"),
        "patch_size": _patch_size(data, preset, given),
        "slots": _slots(seen),
        **_prices(preset),
        "free_share": _free_share(preset, given.get("world_model", budgets["world_model"][0])),
        **budgets,
        "clips": _clips(minutes),
    }
    if isinstance(data, Pack):
        proposed["tokenizer"] = (None, "the pack brings its own")
    if PRESETS[preset].world_model.target == "code":
        proposed["token_sampler"] = (None, f"the model of the preset {preset} does not say how likely tokens are")
    chosen = proposed | {name: (value, ASKED) for name, value in given.items()}
    choices = Choices(preset=preset, seed=seed, **{name: value for name, (value, _) in chosen.items()})
    check_choices(choices)
    return Plan(choices=choices, why={name: why for name, (_, why) in chosen.items()}, data=data.identity())


def _patch_size(data: TrainingData, preset: str, given: Mapping[str, Any]) -> Reasoned:
    if isinstance(data, Pack):
        size = data.tokenizer.config.patch_size
        if given.get("patch_size", size) != size:
            raise ValueError(
                f"expected patches of {size} px, those of the tokenizer of {data.root}, got {given['patch_size']} px; "
                "leave --patch-size out, or take the store"
            )
        return size, "that of the tokenizer of the pack"
    grid = PRESETS[preset].tokenizer.grid
    if data.size % grid and "patch_size" not in given:
        raise ValueError(
            f"{data.root}: expected frames of a multiple of {grid} px, as many as the preset {preset} has patches "
            f"along a side, got {data.size} px; take another --preset, or say --patch-size"
        )
    return data.size // grid, f"{grid} patches along a side, as the preset {preset} has"


def _slots(seen: Seen) -> Reasoned:
    slots = min(max(seen.regions + SPARE_SLOTS, FEWEST_SLOTS), MOST_SLOTS)
    return slots, (
        f"in 95 of 100 frames at most {seen.regions} things move at once, and {SPARE_SLOTS} slots to spare, within "
        f"{FEWEST_SLOTS} to {MOST_SLOTS}"
    )


def _prices(preset: str) -> dict[str, Reasoned]:
    loss, target = PRESETS[preset].loss, PRESETS[preset].world_model.target
    if target == "code":
        why = f"of the preset {preset}, whose errors are not in nats"
        return {"price": (loss.information_price, why), "last_price": (loss.last_price, why)}
    return {
        "price": (PRICE, "dear at first, so that what can be foretold is learned before anything is told"),
        "last_price": (LAST_PRICE, "cheaper in the end, so that what cannot be foretold is told after all"),
    }


def _free_share(preset: str, budget: Budget) -> Reasoned:
    long = budget.minutes / FREE_MINUTES if budget.minutes else budget.steps / FREE_STEPS
    share = round(min(max(1 / max(long, 1), PRESETS[preset].loss.free_share), MOST_FREE), 3)
    return share, (
        f"the first share of the world model's training, in which nothing is charged: {FREE_STEPS} steps, or "
        f"{FREE_MINUTES:g} minutes, in which it learns what it can be told; a short run has {MOST_FREE:.0%} at most"
    )


def _budget(phase: str, preset: str, minutes: float) -> Reasoned:
    if minutes:
        return Budget(minutes=round(SHARES[phase] * minutes, 4)), f"{SHARES[phase]:.0%} of {minutes:g} minutes"
    fit = getattr(PRESETS[preset], f"{phase}_fit")
    return Budget(steps=fit.steps, minutes=fit.minutes), f"of the preset {preset}"


def _clips(minutes: float) -> Reasoned:
    few = 0 < minutes < MANY_MINUTES
    why = "held-out clips that scores are of, or as many as there are"
    return (FEW_CLIPS, f"{why}: few, as the minutes are") if few else (CLIPS, why)


def check_choices(choices: Choices) -> None:
    """Builds whatever the phases will be told, so that a value out of range is found before any of them begins.

    Raises:
        ValueError: naming the value.
    """
    if choices.slots < 1 or choices.clips < 2:
        raise ValueError(f"expected slots >= 1 and clips >= 2, got {choices.slots} and {choices.clips}")
    grid, model, preset = choices.tokenizer_config.grid, choices.world_model_config, choices.sizes
    if grid % model.group:
        raise ValueError(
            f"expected patches of which {model.group} x {model.group} are a cell, got {grid} along a side with patches "
            f"of {choices.patch_size} px; take another --patch-size"
        )
    check_fields(choices.loss)
    for phase in SHARES:
        if (budget := getattr(choices, phase)) is not None:
            budget.of(getattr(preset, f"{phase}_fit"), choices.seed)
