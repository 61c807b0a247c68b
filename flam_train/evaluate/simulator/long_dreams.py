"""Long dreams beside the real video from whose starts they are dreamt, both as the tokenizer draws them.

Nobody acts in these dreams: each step's latent actions are drawn as the world itself draws them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_uint8
from flam_train.evaluate.rollouts import free_steps
from flam_train.heads.road import real_signs, running_means
from flam_train.store.store import EpisodeRecord
from flam_train.store.training_data import TrainingData, episode_tokens

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("long dreams need tqdm: pip install 'flam-env[train]'") from error

Steps = tuple[int, int]
"""The first and the last step of a stretch of a dream; step 1 is the first frame that is dreamt."""

STRETCHES: tuple[Steps, ...] = ((1, 16), (17, 50), (51, 100), (101, 200))
BATCH = 64


class OffRoad(NamedTuple):
    """How far off the road a world says that `LongDreams` and real video are, 0 to 1 (`flam_env.heads.road`).

    real, dreamt: float32 (B, 1 + H), 0 for frame 0; real video is followed as if every step of it had been dreamt.
    """

    real: np.ndarray
    dreamt: np.ndarray


class LongDreams(NamedTuple):
    """Real and dreamt videos of H steps from B starts.

    real, dreamt: uint8 (B, 1 + H, h, w, 3); frame 0, the last of the context, is the same in both, and frame t is that
    of step t. levels: int64 (B,), equal where the same level was played. off_road: what the world says of both, None
    where it cannot tell.
    """

    real: np.ndarray
    dreamt: np.ndarray
    levels: np.ndarray
    off_road: OffRoad | None = None


@torch.inference_mode()
def long_dreams(
    dream: Dream, data: TrainingData, split: str, count: int, *, steps: int = STRETCHES[-1][1], seed: int = 0
) -> LongDreams:
    """Dreams from random places of a split, and what really followed there.

    A pack will do, as only tokens are needed.

    Args:
        dream: of the world.
        data: what the world was not trained on.
        split: which levels.
        count: how many dreams at most, in as many different episodes as there are.
        steps: H.
        seed: of the places and of the latent actions.

    Raises:
        ValueError: no episode is long enough, or the pack is of another tokenizer.
    """
    context, random = dream.world.settings.context, torch.Generator().manual_seed(seed)
    places = long_places(data, split, count, context + steps, seed)
    real, dreamt, followed, road = [], [], [], dream.world.road
    with tqdm(total=len(places) * steps, desc="dreaming", unit=" steps", leave=False, disable=None) as bar:
        for row in range(0, len(places), BATCH):
            part = places[row : row + BATCH]
            clips = [episode_tokens(data, record, context + steps, dream.tokenizer, first) for record, first in part]
            tokens = torch.stack(clips)
            real.append(_decode(dream, tokens[:, context - 1 :]))
            frames, signs = [real[-1][:, 0]], []
            for state, frame in free_steps(dream, tokens[:, :context], steps, random):
                frames.append(frame.cpu())
                signs.append(state.signs.cpu())
                bar.update(len(frame))
            dreamt.append(torch.stack(frames, 1))
            if road is not None:
                means = running_means(road, real_signs(road, dream.model, tokens)[:, context - 1 :])
                followed.append(torch.stack([means, torch.stack(signs, 1)]))
    levels = np.array([level_of(data, record) for record, _ in places])
    said = None if road is None else OffRoad(*pad(road.left(torch.cat(followed, 1)), (1, 0)).numpy())
    return LongDreams(torch.cat(real).numpy(), torch.cat(dreamt).numpy(), levels, said)


def long_places(
    data: TrainingData, split: str, count: int, length: int, seed: int = 0
) -> list[tuple[EpisodeRecord, int]]:
    """Where clips of so many frames begin: episodes in random order, none gets a second clip before all have one.

    Raises:
        ValueError: no episode of the split has that many frames.
    """
    records = data.episodes(split)
    longest = max((record.frames for record in records), default=0)
    if longest < length:
        raise ValueError(
            f"{data.root}: expected an episode of {length} frames in split {split!r}, the context and every step of a "
            f"dream, got {longest} at most; dream fewer steps, or collect longer episodes"
        )
    random = np.random.default_rng(seed)
    turns: list[tuple[int, float, EpisodeRecord, int]] = []
    for record in records:
        firsts = np.arange(0, record.frames - length + 1, max(length // 2, 1))
        turns += [(turn, random.random(), record, int(at)) for turn, at in enumerate(random.permutation(firsts))]
    turns.sort(key=lambda each: each[:2])
    return [(record, first) for _, _, record, first in turns[:count]]


def _decode(dream: Dream, tokens: Tensor) -> Tensor:
    """Tokens (B, T, N) -> frames uint8 (B, T, h, w, 3) on the CPU, one step at a time."""
    return torch.stack([to_uint8(dream.tokenizer.decode(each)).cpu() for each in tokens.unbind(1)], 1)


def level_of(data: TrainingData, record: EpisodeRecord) -> int:
    """The level of an episode; one without gets a number of its own, below that of any level."""
    return record.level_seed if record.level_seed >= 0 else -1 - data.episodes(record.split).index(record)
