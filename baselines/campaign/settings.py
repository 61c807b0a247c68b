"""What decides a training: the arguments of the functions that learn it, and how a report says them."""

from typing import Any

from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.plans import Training
from baselines.savi import slots
from baselines.train import equal_arguments
from flam_env.worlds.checkpoint import as_written


def training_arguments(training: Training, method: str) -> dict[str, Any]:
    """What the function of a method is called with: the training's own, or `SLOTS`, on which it is learned."""
    preset = training.preset_for(method)
    return equal_arguments(slots, preset) if method == SLOTS else METHODS[method].arguments(preset, training.data_set)


def settings(training: Training) -> dict[str, Any]:
    """What decides a training, as JSON-able dicts by name; with the budget of the slots that it is learned on."""
    arguments = training_arguments(training, training.method)
    if training.on_slots:
        arguments |= {"slots_fit_config": training_arguments(training, SLOTS)["fit_config"]}
    return {name: as_written(config) for name, config in arguments.items()}
