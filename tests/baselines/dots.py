"""Token worlds that are learned in a second: a dot that goes round four patches."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from flam_env.models.protocol import WorldModel
from flam_train.engine import Batch, FitConfig, Loss, fit
from flam_train.store.episode import Episode
from flam_train.store.store import EpisodeStore

Network = TypeVar("Network", bound=nn.Module)
GRID, LEVELS, DOT = 2, (3, 3), 8
SIZES = {"grid": GRID, "group": 1, "levels": LEVELS, "dim": 32, "heads": 2, "window": 3, "cell_context": False}
FIT = FitConfig(steps=100, batch_size=48, learning_rate=1e-2, muon=2.0, decay_share=0.5, ema=0.9, precision="fp32")
FRAMES = 4
PATCH = 8
EPISODES = {"train": (3, 21), "val": (2, 36), "test": (2, 37)}  # number and frames


def played_dots(count: int, seed: int, frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    """The dot goes back, stays or goes on, at random.

    Returns:
        Tokens int64 (count, frames, 4), and what is done at each frame, int64 (count, frames) in [0, 3).
    """
    random = torch.Generator().manual_seed(seed)
    moves = torch.randint(3, (count, frames), generator=random)
    return _film(moves, random), moves


def drifting_dots(count: int, seed: int) -> Tensor:
    """The dot always goes on: tokens int64 (count, FRAMES, 4)."""
    return _film(torch.full((count, FRAMES), 2), torch.Generator().manual_seed(seed))


def _film(moves: Tensor, random: torch.Generator) -> Tensor:
    start = torch.randint(GRID**2, (len(moves), 1), generator=random)
    places = (start + torch.cat([torch.zeros_like(start), (moves - 1).cumsum(1)[:, :-1]], 1)) % GRID**2
    return DOT * one_hot(places, GRID**2)


def learned(model: Network, loss: Loss, clips: Batch, out: Path, steps: int) -> Network:
    """Fits a model to batches of these clips; in eval mode."""

    def draw(generator: torch.Generator, count: int) -> Batch:
        some = clips["tokens"] if isinstance(clips, dict) else clips
        rows = torch.randint(len(some), (count,), generator=generator)
        return {name: part[rows] for name, part in clips.items()} if isinstance(clips, dict) else clips[rows]

    batch_size = min(FIT.batch_size, len(clips["tokens"] if isinstance(clips, dict) else clips))
    model.load_state_dict(fit(model, loss, draw, replace(FIT, steps=steps, batch_size=batch_size), out).ema)
    return model.eval()


@torch.no_grad()
def right_after(model: WorldModel, tokens: Tensor, known: Tensor | None = None) -> float:
    """Share of the frames of clips that are predicted exactly, one step ahead."""
    prediction = model(tokens, known=known)
    return (model.next_tokens(prediction.output) == tokens[:, 1:]).all(-1).double().mean().item()


def filmed(root: Path, agents: int | None = None) -> EpisodeStore:
    """A store of 16-px frames, in which one agent acts, or so many, of which the first moves the dot."""
    store = EpisodeStore.create(root, source="dots", size=GRID * PATCH, settings={"frames_per_second": 11})
    for number, (split, (count, length)) in enumerate(EPISODES.items()):
        tokens, moves = played_dots(count, number, length)
        light = (tokens > 0).numpy().reshape(count, length, GRID, GRID, 1)
        frames = np.repeat(np.repeat(light, PATCH, 2), PATCH, 3) * np.array([250, 60, 40])
        taken = moves if agents is None else moves[..., None].expand(-1, -1, agents)
        for film, actions in zip(frames.astype(np.uint8), taken.numpy().astype(np.int16), strict=True):
            rewards = np.zeros(length, np.float32)
            episode = Episode(
                frames=film, actions=actions, rewards=rewards, level_seed=0, agent="random", terminated=True
            )
            store.write(split, episode)
    return store
