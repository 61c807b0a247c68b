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

from flam_env.checkpoint import fingerprint
from flam_env.frames import to_float
from flam_env.models.tokenizer import Tokenizer
from flam_train.data.store import EpisodeRecord, EpisodeStore
from flam_train.store.moments import Moments

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("encoding needs tqdm: pip install 'flam-env[train]'") from error

CHUNK = 256  # frames encoded at once

Records = dict[str, list[EpisodeRecord]]


@dataclass(frozen=True)
class TokenSplit:
    """The tokens of one split, all episodes after one another.

    Attributes:
        tokens: uint16 (F, N), memory-mapped.
        bounds: int64 (E + 1,); episode e is tokens[bounds[e]:bounds[e + 1]].
        agents: who played each episode.
        names: of the episodes.
    """

    tokens: np.ndarray
    bounds: np.ndarray
    agents: tuple[str, ...]
    names: tuple[str, ...]

    def rows(self, at: Moments, length: int = 1) -> np.ndarray:
        """Where clips of so many frames that begin with each moment begin among the tokens, int64 (P,).

        Raises:
            ValueError: there are no tokens of an episode, or it ends before a clip does.
        """
        places = {name: place for place, name in enumerate(self.names)}
        episodes = np.array([places.get(name, -1) for name in at.names], np.int64)[at.episodes]
        if (episodes < 0).any():
            missing = at.names[at.episodes[episodes < 0][0]]
            raise ValueError(f"expected tokens of the episode {missing}, got none: it is no longer in the store")
        rows = self.bounds[episodes] + at.frames
        if (rows + length > self.bounds[episodes + 1]).any():
            raise ValueError(f"expected clips of {length} frames within their episodes, got some beyond the end")
        return rows

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
    records = {split: episodes for split in store.splits if (episodes := store.episodes(split))}
    index = {
        split: [[r.path.name, r.frames, r.agent, r.level_seed] for r in episodes] for split, episodes in records.items()
    }
    root = store.root / "tokens" / fingerprint(tokenizer)
    if not _is_current(root, index):
        _encode(store, records, tokenizer.to(device).eval(), root, index)
    return {split: _open(root, split, episodes) for split, episodes in index.items()}


def _is_current(root: Path, index: dict[str, list]) -> bool:
    """Whether a whole cache of these episodes is there; what a crash or a disk left damaged is made anew."""
    try:
        found = json.loads((root / "index.json").read_text())
        lengths = {split: len(np.load(root / f"{split}.npy", mmap_mode="r")) for split in index}
    except (OSError, ValueError, EOFError):  # no such file, no JSON, no whole array
        return False
    return found == index and lengths == {split: sum(n for _, n, *_ in rows) for split, rows in index.items()}


def _open(root: Path, split: str, episodes: list[list]) -> TokenSplit:
    bounds = np.cumsum([0, *(frames for _, frames, *_ in episodes)])
    agents = tuple(agent for _, _, agent, _ in episodes)
    names = tuple(Path(name).stem for name, *_ in episodes)
    return TokenSplit(np.load(root / f"{split}.npy", mmap_mode="r"), bounds, agents, names)


def _encode(store: EpisodeStore, records: Records, tokenizer: Tokenizer, root: Path, index: dict[str, list]) -> None:
    """Writes all splits into a temporary folder, then puts it in place of what is there."""
    temporary = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    total = sum(record.frames for episodes in records.values() for record in episodes)
    try:
        with tqdm(total=total, desc="tokens", unit=" frames", disable=None) as bar, torch.inference_mode():
            for split, episodes in records.items():
                _encode_split(store, episodes, tokenizer, temporary / f"{split}.npy", bar)
        (temporary / "index.json").write_text(json.dumps(index))
        if not _is_current(root, index):  # else another process was faster
            shutil.rmtree(root, ignore_errors=True)
            os.replace(temporary, root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _encode_split(
    store: EpisodeStore, episodes: list[EpisodeRecord], tokenizer: Tokenizer, path: Path, bar: tqdm
) -> None:
    device = next(tokenizer.parameters()).device
    shape = (sum(record.frames for record in episodes), tokenizer.config.grid**2)
    tokens = np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    at = 0
    for record in episodes:
        for start in range(0, record.frames, CHUNK):
            frames = store.read_frames(record, start, min(start + CHUNK, record.frames))
            tokens[at : at + len(frames)] = tokenizer.encode(to_float(frames, device)).cpu().numpy()
            at += len(frames)
            bar.update(len(frames))
    tokens.flush()
