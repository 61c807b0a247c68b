"""A bounded sample of a store's frames in memory, for training on single frames."""

import numpy as np
import torch
from torch import Tensor

from flam_train.store.store import EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("training needs tqdm: pip install 'flam-env[train]'") from error

POOL_BYTES = 2**30


def frame_pool(store: EpisodeStore, split: str, longest_bytes: int = POOL_BYTES) -> Tensor:
    """Frames of a split at even spacing, as many as fit: uint8 (F, H, W, 3).

    Neighbouring frames are nearly equal, so training on every n-th frame of each episode loses little, and memory
    stays the same however long the video.

    Raises:
        ValueError: the split is empty.
    """
    records = store.episodes(split)
    if not records:
        raise ValueError(f"{store.root}: expected frames in split {split!r}, found none; collect some first")
    total = sum(record.frames for record in records)
    stride = -(-total // max(longest_bytes // (3 * store.size**2), 1))
    pool = np.empty((-(-total // stride), store.size, store.size, 3), np.uint8)
    at = 0  # of the split's first frame that is not read yet
    for record in tqdm(records, desc=f"reading {split}", unit=" episodes", leave=False, disable=None):
        first = -at % stride
        count = len(range(first, record.frames, stride))
        pool[(at + first) // stride :][:count] = store.read_frames(record, 0, record.frames)[first::stride]
        at += record.frames
    return torch.from_numpy(pool)
