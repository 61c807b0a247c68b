"""Measures what is usual in real video, so that dreams can tell when they have left the road."""

from typing import Any

import torch
from torch import Tensor

from flam_env.heads.road import Road, RoadConfig
from flam_env.models.protocol import WorldModel
from flam_env.worlds.checkpoint import round_as_stored

RIDGE = 1e-4  # added to the variance of each sign


@torch.inference_mode()
def measure_road(model: WorldModel, clips: Tensor, at_once: int = 32) -> Road:
    """The road of clips of real video, tokens (B, T, N), longer than the memory of the running means.

    The model is told what was inferred of every step, as a dream is told what is drawn. Runs on the model's device.

    Raises:
        ValueError: the clips are too short to be followed.
    """
    road, device = Road(RoadConfig(vocabulary=model.vocabulary)), next(model.parameters()).device
    memory = road.config.memory
    if clips.shape[1] < memory + 2:
        raise ValueError(f"expected clips of at least {memory + 2} frames to measure the road, got {clips.shape[1]}")
    counts = torch.bincount(clips.flatten(), minlength=model.vocabulary).float() + 1
    road.rarity.copy_(-(counts / counts.sum()).log())
    signs = torch.cat([_signs_of(road, model, part.to(device)) for part in clips.split(at_once)])
    road.usual.copy_(signs.flatten(0, 1).mean(0))
    means, followed = road.usual.expand(len(signs), -1), []
    for each in signs.unbind(1):
        means = road.follow(means, each)
        followed.append(means)
    settled = torch.cat(followed[memory:])
    road.usual.copy_(settled.mean(0))
    covariance = torch.cov(settled.T) + RIDGE * torch.eye(len(road.usual))
    road.whitening.copy_(torch.linalg.inv(torch.linalg.cholesky(covariance)))
    round_as_stored(road)
    shares = torch.linspace(0, 1, road.config.quantiles)
    road.distances.copy_(torch.quantile(road.distance(settled).double(), shares.double()))
    return round_as_stored(road)


def _signs_of(road: Road, model: WorldModel, tokens: Tensor) -> Tensor:
    """Of every step of clips (B, T, N) -> (B, T - 1, 3) on the CPU."""
    prediction: Any = model(tokens)
    doubt = model.doubt(prediction.output).cpu()
    tokens = tokens.cpu()
    return road.signs(doubt, tokens[:, :-1], tokens[:, 1:])
