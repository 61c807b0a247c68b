"""Packs: a store in one small file of tokens, to train and to score worlds where there is neither store nor simulator.

A safetensors file. Its tensors are the tokenizer (`tokenizer.*`), and for each split xz streams of its tokens, actions,
rewards and ends of episodes, and, where frames are held out, of a few real frames and of what is known of the scene. It
holds no code and no pickle, and nothing in it takes memory before its size was compared with what the header says.
"""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import build_network, check_weights, fingerprint, parse_config, parse_json, read_tensors
from flam_train.store.compression import check_size, decompress
from flam_train.store.episode import Episode
from flam_train.store.pack_header import FORMAT, ONE, VERSION, PackHeader, Place
from flam_train.store.store import SPLITS, EpisodeRecord
from flam_train.store.tokens import TokenSplit

WEIGHTS = "tokenizer."
ADVICE = "copy the pack again, or make it anew with `flam-train pack`"


class Pack:
    """A store as far as a pack holds it, for reading; open one with `open`, not with the constructor.

    Attributes:
        root: the file.
        source: where the frames came from.
        size: height and width of the frames in pixels.
        settings: of the collection, as in the store.
        tokenizer: whose tokens these are, on the CPU.
    """

    def __init__(self, root: Path, header: PackHeader, tokenizer: Tokenizer, streams: dict[str, Tensor]):
        self.root = root
        self.source = header.source
        self.size = header.size
        self.settings = header.settings
        self.tokenizer = tokenizer
        self._header = header
        self._streams = streams
        self._arrays: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, root: Path | str) -> "Pack":
        """Opens a pack.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no pack, damaged, of another version, or its parts do not belong together.
        """
        root = Path(root)
        metadata, tensors = read_tensors(root)
        expected = {"format": FORMAT, "version": VERSION}
        found = {key: metadata.get(key) for key in expected}
        if found != expected:
            raise ValueError(f"{root}: expected a pack, {expected}, got {found}; name a pack or the folder of a store")
        if set(metadata) != {*expected, "config", "header"}:
            raise ValueError(f"{root}: expected a config and a header, got {sorted(metadata)}; {ADVICE}")
        header = PackHeader.from_json(metadata["header"], root)
        weights = {name.removeprefix(WEIGHTS): tensors.pop(name) for name in list(tensors) if name.startswith(WEIGHTS)}
        tokenizer = _read_tokenizer(metadata["config"], weights, root)
        wanted, got = (header.size, header.tokenizer), (tokenizer.config.image_size, fingerprint(tokenizer))
        if wanted != got:
            raise ValueError(f"{root}: expected frame size and tokenizer {wanted}, got {got}; {ADVICE}")
        pack = cls(root, header, tokenizer, tensors)
        pack._check_streams()
        return pack

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that a store may have, in a fixed order."""
        return SPLITS

    def episodes(self, split: str) -> list[EpisodeRecord]:
        """All episodes of one split, in the order of the store; their paths lead to nothing, but are names.

        Raises:
            ValueError: unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"expected a split out of {', '.join(SPLITS)}, got {split!r}; name one of them")
        return list(self._records.get(split, ()))

    def frames(self, split: str) -> int:
        """Number of frames in a split."""
        return sum(record.frames for record in self.episodes(split))

    def identity(self) -> dict[str, Any]:
        """What a training run records of its data: the same as of the store."""
        return {"source": self.source, "settings": self.settings, "frames": self.frames("train")}

    def tokens(self, split: str) -> TokenSplit:
        """The tokens of a split that has episodes.

        Raises:
            ValueError: the file is damaged.
        """
        of = self._header.splits[split]
        return TokenSplit(self._array(split, "tokens"), np.cumsum([0, *of.frames]), of.agents, of.names)

    def has_frames(self, record: EpisodeRecord, start: int, stop: int) -> bool:
        """Whether the pack holds the pixels of frames[start:stop] of an episode."""
        return any(first <= start and stop <= last for first, last, _ in self._places[record.path].filmed)

    def read_frames(self, record: EpisodeRecord, start: int, stop: int) -> np.ndarray:
        """The pixels of frames[start:stop], uint8 (stop - start, H, W, 3).

        Raises:
            ValueError: the pack does not hold them, or the file is damaged.
        """
        for first, last, at in self._places[record.path].filmed:
            if first <= start < stop <= last:
                return self._array(record.split, "frames")[at + start - first : at + stop - first]
        raise ValueError(
            f"{record.path}: expected frames whose pixels are in the pack, got {start} to {stop}, which are there as "
            "tokens only; take the store"
        )

    def annotations(self, record: EpisodeRecord) -> Episode:
        """What is known of an episode: all but its frames, of which it has none here.

        Raises:
            ValueError: the file is damaged.
        """
        of, place = self._header.splits[record.split], self._places[record.path]
        number = of.names.index(record.path.stem)
        actions, acting = self._array(record.split, "actions")[place.actions], of.acting[number]
        return Episode(
            frames=np.empty((0, self.size, self.size, 3), np.uint8),
            actions=actions if acting == ONE else actions.reshape(record.frames, acting),
            rewards=self._array(record.split, "rewards")[place.frames],
            level_seed=record.level_seed,
            agent=record.agent,
            terminated=of.terminated[number],
            continuous_actions=self._continuous_actions(record.split, place),
            truth={name: self._array(record.split, f"truth.{name}")[place.frames] for name in of.truth},
        )

    def _continuous_actions(self, split: str, place: Place) -> np.ndarray | None:
        """Real-valued actions of an episode, None where nobody knows any."""
        if not self._header.splits[split].continuous:
            return None
        actions = self._array(split, "continuous_actions")[place.frames]
        return None if np.isnan(actions).all() else actions

    @cached_property
    def _records(self) -> dict[str, list[EpisodeRecord]]:
        return {split: of.records(self.root / split) for split, of in self._header.splits.items()}

    @cached_property
    def _places(self) -> dict[Path, Place]:
        return {
            record.path: place
            for split, of in self._header.splits.items()
            for record, place in zip(self._records[split], of.places(), strict=True)
        }

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Dtype and shape of each array."""
        config, kind = self.tokenizer.config, token_dtype(self.tokenizer).name
        kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
        for split, of in self._header.splits.items():
            kinds[f"{split}.tokens"] = kind, (sum(of.frames), config.grid**2)
            kinds |= {f"{split}.{name}": array for name, array in of.arrays(self.size).items()}
        return kinds

    def _array(self, split: str, name: str) -> np.ndarray:
        """An array of a split, decoded when it is first asked for."""
        key = f"{split}.{name}"
        if key not in self._arrays:
            kind, shape = self._kinds[key]
            origin, columns = f"{self.root}: {key}", name != "frames"
            array = decompress(self._streams[key], shape, np.dtype(kind), origin, columns=columns)
            self._arrays[key] = self._checked_tokens(array, origin) if name == "tokens" else array
        return self._arrays[key]

    def _checked_tokens(self, tokens: np.ndarray, origin: str) -> np.ndarray:
        highest, size = int(tokens.max()), self.tokenizer.quantizer.size
        if highest >= size:
            raise ValueError(f"{origin}: expected tokens in [0, {size - 1}], got {highest}; {ADVICE}")
        return tokens.astype(np.uint16, copy=False)

    def _check_streams(self) -> None:
        """Raises a ValueError unless the streams are those that the header names, of sizes that can be read."""
        if set(self._streams) != set(self._kinds):
            missing, unknown = set(self._kinds) - set(self._streams), set(self._streams) - set(self._kinds)
            raise ValueError(
                f"{self.root}: expected the arrays of the header, got {sorted(unknown)} instead of {sorted(missing)}; "
                f"{ADVICE}"
            )
        for key, (kind, shape) in self._kinds.items():
            check_size(shape, np.dtype(kind), f"{self.root}: {key}")
            if self._streams[key].dtype != torch.uint8 or self._streams[key].ndim != 1:
                raise ValueError(f"{self.root}: {key}: expected a stream of bytes, got another tensor; {ADVICE}")


def token_dtype(tokenizer: Tokenizer) -> np.dtype:
    """How tokens lie in a pack."""
    return np.dtype(np.uint8 if tokenizer.quantizer.size <= 2**8 else np.uint16)


def _read_tokenizer(config: str, weights: dict[str, Tensor], root: Path) -> Tokenizer:
    """The tokenizer of a pack; its sizes are compared with the weights before it is made."""
    sizes = parse_config(TokenizerConfig, parse_json(config, root), root)
    stored = sum(weight.numel() for weight in weights.values())
    if max(sizes.width, sizes.patch_size, sizes.blocks) > stored or math.prod(sizes.levels) > 2**16:
        raise ValueError(f"{root}: expected a tokenizer of {stored} weights, got {sizes}; {ADVICE}")
    try:
        with torch.device("meta"):
            check_weights(Tokenizer(sizes), weights, root)
    except (RuntimeError, TypeError) as error:  # what torch raises for sizes that no memory has
        raise ValueError(f"{root}: expected a tokenizer of {stored} weights, got {sizes}; {ADVICE}") from error
    return build_network(Tokenizer, sizes, weights, root)
