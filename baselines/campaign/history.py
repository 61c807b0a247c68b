"""How a training went: what its logs say while it is made, and what its report says of it afterwards."""

from dataclasses import asdict
from typing import Any

from baselines.campaign.machine import machine
from baselines.campaign.plans import Training
from baselines.campaign.settings import settings
from baselines.campaign.study import Campaign
from flam_env.worlds.checkpoint import as_written
from flam_env.worlds.loading import load_world
from flam_train.engine import training_device
from flam_train.engine.log import log_lines
from flam_train.engine.precision import used_precision


def spent(training: Training, campaign: Campaign) -> dict[str, dict[str, float]]:
    """The `steps` and `seconds` of what the logs of a training say so far, by method."""
    ends = {method: log_lines(log)[-1:] for method, log in campaign.logs(training).items()}
    return {method: {"steps": end["step"], "seconds": end["time"]} for method, last in ends.items() for end in last}


def history(training: Training, campaign: Campaign) -> dict[str, Any]:
    """What was trained, with what budget, and how it went, JSON-able.

    `settings` is what was asked for, `model` what came of it: data decide some of it, as who acts in how many ways.
    """
    lines, phases = log_lines(campaign.logs(training)[training.method]), spent(training, campaign)
    model = load_world(campaign.folder(training)).model if training.scored else None
    return {
        "name": training.name,
        "training": asdict(training),
        "settings": settings(training),
        "model": as_written(model.config) if model else None,
        "parameters": sum(weights.numel() for weights in model.parameters()) if model else None,
        "steps": sum(phase["steps"] for phase in phases.values()),
        "seconds": sum(phase["seconds"] for phase in phases.values()),
        "phases": phases,
        "objective": [line["loss"] for line in lines if "loss" in line][-1],
        "machine": machine(),
        "precision": used_precision(training.preset_for(training.method).world_model_fit.precision, training_device()),
        "looks": [line for line in lines if "eval/accuracy" in line or "eval/rollout_psnr" in line],
    }
