"""Measures what is usual in real video, so that dreams can tell when they have left the road."""

import torch
from torch import Tensor

from flam_env.heads.road import Road, RoadConfig
from flam_env.models.protocol import WorldModel
from flam_env.worlds.checkpoint import round_as_stored

RIDGE = 1e-4  # added to the variance of each sign
SLACK = 1 + 2**-8  # of distances: half precision, and sums in another order, are not to make real video odd
FRAMES_AT_ONCE = 256


@torch.inference_mode()
def measure_road(model: WorldModel, clips: Tensor) -> Road:
    """The road of clips of real video, tokens (B, T, N), longer than the memory of the running means.

    Runs on the model's device.

    Raises:
        ValueError: the clips are too short to be followed.
    """
    road = Road(RoadConfig(vocabulary=model.vocabulary))
    memory = road.config.memory
    if clips.shape[1] < memory + 2:
        raise ValueError(
            f"expected clips of at least {memory + 2} frames to measure on, got {clips.shape[1]}; take longer ones"
        )
    counts = torch.bincount(clips.flatten().cpu(), minlength=model.vocabulary).float() + 1
    road.rarity.copy_(-(counts / counts.sum()).log())
    signs = real_signs(road, model, clips)
    road.usual.copy_(signs.flatten(0, 1).mean(0))
    settled = running_means(road, signs)[:, memory:].flatten(0, 1)
    road.usual.copy_(settled.mean(0))
    covariance = torch.cov(settled.T, correction=0) + RIDGE * torch.eye(len(road.usual))
    road.whitening.copy_(torch.linalg.inv(torch.linalg.cholesky(covariance)))
    round_as_stored(road)
    shares = torch.linspace(0, 1, road.config.quantiles).double()
    road.distances.copy_(torch.quantile(road.distance(settled).double(), shares) * SLACK)
    return round_as_stored(road)


@torch.inference_mode()
def real_signs(road: Road, model: WorldModel, clips: Tensor) -> Tensor:
    """The signs of every step of real video, tokens (B, T, N) -> float32 (B, T - 1, 3) on the CPU.

    The model is told what was inferred of every step, as a dream is told what is drawn.

    Args:
        road: on the CPU.
        model: of the world; it runs where it is.
        clips: of the video.
    """
    device = next(model.parameters()).device
    parts = clips.split(max(1, FRAMES_AT_ONCE // clips.shape[1]))
    doubt = torch.cat([_doubt(model, part.to(device)).cpu() for part in parts])
    tokens = clips.cpu()
    return road.signs(doubt, tokens[:, :-1], tokens[:, 1:])


def running_means(road: Road, signs: Tensor) -> Tensor:
    """Signs (B, T, 3) of steps -> their running means after each, of the same shape, from what is usual on."""
    means, followed = road.usual.expand(len(signs), -1), []
    for each in signs.unbind(1):
        means = road.follow(means, each)
        followed.append(means)
    return torch.stack(followed, 1)


def _doubt(model: WorldModel, tokens: Tensor) -> Tensor:
    """Of every step of clips (B, T, N) -> (B, T - 1)."""
    observed = model.observe(tokens)
    if model.actions.inferred:
        actions = model.infer(observed).mode
    else:
        actions = model.actions.zeros(*tokens[:, 1:].shape[:2], device=tokens.device)
    return model.doubt(model.step(observed.at(slice(None, -1)), actions))
