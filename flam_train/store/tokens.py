"""The token cache: one streaming pass turns a store into memory-mapped uint16 tokens.

A cache lies beside the episodes it was made from, in a folder named after the fingerprint of its tokenizer, and lists
those episodes: tokens of another tokenizer, or of a store that has changed since, are never read.
"""

import copy
import json
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import find_device
from flam_env.models.tokenizer import Tokenizer
from flam_env.video.frames import to_float
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.writing import replacing
from flam_train.engine.locks import folder_lock
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeRecord, EpisodeStore

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("encoding needs tqdm: pip install 'flam-env[train]'") from error

CHUNK = 256  # frames encoded at once
TOKEN = np.dtype(np.uint16)
HIGHEST = 2**16 - 1

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
        """Clips from the given starts, uint16 (B, length, N): `fit` hands them on as int64."""
        return torch.from_numpy(self.tokens[starts[:, None] + np.arange(length)])

    def reader(self, length: int, device: torch.device) -> "ClipReader":
        """What reads clips of `length` frames on a device, where all tokens go: two bytes for each."""
        return ClipReader(self.tokens, length, device)


class ClipReader:
    """Reads clips of tokens on a device, without waiting for it; on a CPU the tokens stay mapped from their file.

    Args:
        tokens: uint16 (F, N).
        length: frames of a clip.
        device: where starts come from and clips go.
    """

    def __init__(self, tokens: np.ndarray, length: int, device: torch.device):
        self._steps = torch.arange(length, device=device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
            # torch does not compute with uint16, but with the same bits as int16
            self._tokens = torch.from_numpy(tokens.view(np.int16)).to(device)

    def __call__(self, starts: Tensor) -> Tensor:
        """Starts int64 (B,) on the device -> clips int64 (B, length, N)."""
        return self._tokens[starts[:, None] + self._steps].long() & HIGHEST


def token_cache(
    store: EpisodeStore, tokenizer: Tokenizer, device: torch.device | str = "auto"
) -> dict[str, TokenSplit]:
    """The tokens of every split that has episodes, encoded now if the cache is not there yet.

    Args:
        store: of frames in the size of the tokenizer.
        tokenizer: stays where it is.
        device: where frames are encoded, as for `flam_env.Dream`.

    Raises:
        ValueError: the tokenizer is for frames of another size, or this machine has no such device.
    """
    size = tokenizer.config.image_size
    if size != store.size:
        raise ValueError(f"{store.root}: expected frames of {size} px, the tokenizer's size, got {store.size} px")
    records = {split: episodes for split in store.splits if (episodes := store.episodes(split))}
    index = {
        split: [[r.path.name, r.frames, r.agent, r.level_seed] for r in episodes] for split, episodes in records.items()
    }
    root = store.root / "tokens" / fingerprint(tokenizer)
    if (found := _read(root, index)) is not None:
        return found
    with folder_lock(root.parent, wait=True, name=f".{root.name}"):  # one process encodes, the others read
        if (found := _read(root, index)) is None:
            _encode(store, records, copy.deepcopy(tokenizer).to(find_device(device)).eval(), root, index)
            found = _read(root, index)
    assert found is not None
    return found


def _read(root: Path, index: dict[str, list]) -> dict[str, TokenSplit] | None:
    """The cache of these episodes, if all of it is there; what a crash or a disk left damaged is made anew."""
    try:
        before = (root / "index.json").read_text()
        tokens = {split: np.load(root / f"{split}.npy", mmap_mode="r") for split in index}
        changed = before != (root / "index.json").read_text()  # by who puts another cache in its place
        if changed or json.loads(before) != index:
            return None
    except (OSError, ValueError, EOFError):  # no such file, no JSON, no whole array
        return None
    splits = {split: _split(tokens[split], episodes) for split, episodes in index.items()}
    return splits if all(len(split.tokens) == split.bounds[-1] for split in splits.values()) else None


def _split(tokens: np.ndarray, episodes: list[list]) -> TokenSplit:
    bounds = np.cumsum([0, *(frames for _, frames, *_ in episodes)])
    names = tuple(Path(name).stem for name, *_ in episodes)
    return TokenSplit(tokens, bounds, tuple(agent for _, _, agent, _ in episodes), names)


def _encode(store: EpisodeStore, records: Records, tokenizer: Tokenizer, root: Path, index: dict[str, list]) -> None:
    """Writes all splits, then puts them in place of what is there."""
    total = sum(record.frames for episodes in records.values() for record in episodes)
    with replacing(root) as temporary:
        temporary.mkdir()
        with tqdm(total=total, desc="tokens", unit=" frames", disable=None) as bar, torch.inference_mode():
            for split, episodes in records.items():
                _encode_split(store, episodes, tokenizer, temporary / f"{split}.npy", bar)
        (temporary / "index.json").write_text(json.dumps(index))


def _encode_split(
    store: EpisodeStore, episodes: list[EpisodeRecord], tokenizer: Tokenizer, path: Path, bar: tqdm
) -> None:
    """Writes one array bit by bit: not through a memory map, since a full disk kills the process that fills one."""
    device = next(tokenizer.parameters()).device
    shape = (sum(record.frames for record in episodes), tokenizer.config.grid**2)
    header = {"descr": np.lib.format.dtype_to_descr(TOKEN), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for record in episodes:
            for start in range(0, record.frames, CHUNK):
                frames = store.read_frames(record, start, min(start + CHUNK, record.frames))
                tokens = tokenizer.encode(to_float(frames, device)).cpu().numpy()
                file.write(tokens.astype(TOKEN).tobytes())
                bar.update(len(frames))
