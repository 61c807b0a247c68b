"""The token cache: one streaming pass turns a store into memory-mapped uint16 tokens.

A cache lies beside the episodes it was made from, in a folder named after the fingerprint of its tokenizer, and lists
those episodes: tokens of another tokenizer, or of a store that has changed since, are never read.
"""

import json
import os
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flam_env.checkpoint import fingerprint
from flam_env.frames import to_float
from flam_env.models.tokenizer import Tokenizer
from flam_train.data.store import EpisodeStore

CHUNK = 256  # frames encoded at once


@dataclass(frozen=True)
class TokenSplit:
    """The tokens of one split, all episodes after one another.

    Attributes:
        tokens: uint16 (F, N), memory-mapped.
        bounds: int64 (E + 1,); episode e is tokens[bounds[e]:bounds[e + 1]].
        agents: who played each episode.
    """

    tokens: np.ndarray
    bounds: np.ndarray
    agents: tuple[str, ...]

    def starts(self, length: int) -> np.ndarray:
        """Every index at which a clip of `length` frames lies within one episode, int64.

        Raises:
            ValueError: no episode is that long.
        """
        starts = [np.arange(a, b - length + 1) for a, b in pairwise(self.bounds) if b - a >= length]
        if not starts:
            longest = int(np.diff(self.bounds).max(initial=0))
            raise ValueError(f"expected an episode of at least {length} frames, the longest has {longest}")
        return np.concatenate(starts)

    def clips(self, starts: np.ndarray, length: int) -> Tensor:
        """Clips from the given starts, int64 (B, length, N)."""
        return torch.from_numpy(self.tokens[starts[:, None] + np.arange(length)].astype(np.int64))


def token_cache(store: EpisodeStore, tokenizer: Tokenizer, device: torch.device | str = "cpu") -> dict[str, TokenSplit]:
    """The tokens of every split that has episodes, encoded now if the cache is not there yet.

    Raises:
        ValueError: the tokenizer is for frames of another size, or has more than 65536 tokens.
    """
    size = tokenizer.config.image_size
    if size != store.size:
        raise ValueError(f"{store.root}: expected frames of {size} px, the tokenizer's size, got {store.size} px")
    if tokenizer.quantizer.size > 2**16:
        raise ValueError(f"expected at most 65536 tokens, which fit uint16, got {tokenizer.quantizer.size}")
    index = {split: _index(store, split) for split in store.splits if store.frames(split)}
    root = store.root / "tokens" / fingerprint(tokenizer)
    if not _is_current(root, index):
        _encode(store, tokenizer, root, index, torch.device(device))
    return {split: _open(root, split, episodes) for split, episodes in index.items()}


def _index(store: EpisodeStore, split: str) -> list[list]:
    return [[record.path.name, record.frames, record.agent] for record in store.episodes(split)]


def _is_current(root: Path, index: dict[str, list]) -> bool:
    path = root / "index.json"
    return path.is_file() and json.loads(path.read_text()) == index


def _open(root: Path, split: str, episodes: list[list]) -> TokenSplit:
    bounds = np.cumsum([0, *(frames for _, frames, _ in episodes)])
    agents = tuple(agent for _, _, agent in episodes)
    return TokenSplit(np.load(root / f"{split}.npy", mmap_mode="r"), bounds, agents)


def _encode(store: EpisodeStore, tokenizer: Tokenizer, root: Path, index: dict, device: torch.device) -> None:
    """Writes all splits into a temporary folder, then puts it in place of what is there."""
    temporary = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    tokenizer = tokenizer.to(device).eval()
    total = sum(frames for episodes in index.values() for _, frames, _ in episodes)
    try:
        with tqdm(total=total, desc="tokens", unit=" frames") as bar, torch.inference_mode():
            for split in index:
                _encode_split(store, split, tokenizer, temporary, bar)
        (temporary / "index.json").write_text(json.dumps(index))
        shutil.rmtree(root, ignore_errors=True)
        os.replace(temporary, root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _encode_split(store: EpisodeStore, split: str, tokenizer: Tokenizer, folder: Path, bar: tqdm) -> None:
    device = next(tokenizer.parameters()).device
    shape = (store.frames(split), tokenizer.config.grid**2)
    tokens = np.lib.format.open_memmap(folder / f"{split}.npy", "w+", np.uint16, shape)
    at = 0
    for record in store.episodes(split):
        for start in range(0, record.frames, CHUNK):
            frames = store.read_frames(record, start, min(start + CHUNK, record.frames))
            tokens[at : at + len(frames)] = tokenizer.encode(to_float(frames, device)).cpu().numpy()
            at += len(frames)
            bar.update(len(frames))
    tokens.flush()
