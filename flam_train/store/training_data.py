"""The door to what worlds are trained and scored on: a store of episodes, or a pack of one."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flam_env.models.tokenizer import Tokenizer
from flam_env.video.frames import to_float
from flam_env.worlds.checkpoint import fingerprint
from flam_train.store.packs import Pack
from flam_train.store.store import EpisodeRecord, EpisodeStore
from flam_train.store.tokens import TokenSplit, token_cache

TrainingData = EpisodeStore | Pack
"""Both have source, size, settings, splits, episodes, frames, identity, has_frames, read_frames and annotations."""


def open_data(path: Path | str) -> TrainingData:
    """Opens a pack, which is a file, or a store, which is a folder.

    Raises:
        ValueError: there is neither, or it is damaged, of another version or empty.
    """
    return Pack.open(path) if Path(path).is_file() else EpisodeStore.open(path)


def token_splits(
    data: TrainingData, tokenizer: Tokenizer, device: torch.device | str = "auto"
) -> dict[str, TokenSplit]:
    """The tokens of every split that has episodes: those of a pack, or of the cache of a store, encoded now if need be.

    Raises:
        ValueError: the pack is of another tokenizer, or as for `token_cache`.
    """
    if isinstance(data, EpisodeStore):
        return token_cache(data, tokenizer, device)
    _check_tokenizer(data, tokenizer)
    return {split: data.tokens(split) for split in data.splits if data.episodes(split)}


@torch.inference_mode()
def episode_tokens(
    data: TrainingData, record: EpisodeRecord, frames: int, tokenizer: Tokenizer, first: int = 0
) -> Tensor:
    """The tokens of so many frames of an episode from one on, int64 (frames, N), on the device of the tokenizer.

    Raises:
        ValueError: the pack is of another tokenizer.
    """
    device = next(tokenizer.parameters()).device
    if isinstance(data, EpisodeStore):
        return tokenizer.encode(to_float(data.read_frames(record, first, first + frames), device))
    _check_tokenizer(data, tokenizer)
    split = data.tokens(record.split)
    row = split.bounds[data.episodes(record.split).index(record)] + first
    return torch.from_numpy(split.tokens[row : row + frames].astype(np.int64)).to(device)


def _check_tokenizer(pack: Pack, tokenizer: Tokenizer) -> None:
    wanted, found = fingerprint(pack.tokenizer), fingerprint(tokenizer)
    if wanted != found:
        raise ValueError(
            f"{pack.root}: expected the tokenizer {wanted}, whose tokens the pack holds, got {found}; make a pack with "
            "the tokenizer of this world, or take the store"
        )
