"""Makes a pack of a store."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from flam_env.models.tokenizer import Tokenizer
from flam_env.worlds.checkpoint import check_storable, fingerprint, stored_form
from flam_env.worlds.writing import write_atomically
from flam_train.store.clips import draw_places
from flam_train.store.compression import compress
from flam_train.store.episode import Episode
from flam_train.store.pack_header import FORMAT, ONE, VERSION, PackedSplit, PackHeader
from flam_train.store.packs import WEIGHTS, Pack, token_dtype
from flam_train.store.store import EpisodeRecord, EpisodeStore
from flam_train.store.tokens import TokenSplit, token_cache

HELD_OUT = ("val", "test")
"""Splits of which a pack says what is known of the scene."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Clips whose pixels go into a pack: those that `draw_clips` draws with these arguments and the seed 0."""

    split: str
    count: int
    length: int


def write_pack(
    store: EpisodeStore,
    tokenizer: Tokenizer,
    out: Path,
    draws: Iterable[Draw],
    device: torch.device | str = "auto",
) -> Pack:
    """Writes a pack of a store, whole or not at all, in place of one that is there.

    Args:
        store: it is encoded if its token cache is not there yet.
        tokenizer: for frames of its size.
        out: the file.
        draws: clips to keep; those for which no episode of the split is long enough are left out.
        device: where frames are encoded, as for `flam_env.Dream`.

    Returns:
        The pack, opened.

    Raises:
        ValueError: frames of another size, a store that grows meanwhile or is too large, a tokenizer that no file holds
            (`flam_env.worlds.checkpoint.round_as_stored`), or another file lies there.
        FileExistsError: `out` is a folder.
    """
    out = Path(out)
    _check_place(out)
    check_storable(tokenizer, out)
    tokens = token_cache(store, tokenizer, device)
    filmed = _filmed(store, draws)
    splits, streams = dict[str, PackedSplit](), dict[str, Tensor]()
    for split, of in tokens.items():
        records = _records(store, split, of)
        splits[split], arrays = _pack_split(store, records, of, filmed, tokenizer)
        streams |= {f"{split}.{name}": compress(array, columns=name != "frames") for name, array in arrays.items()}
    header = PackHeader(
        source=store.source,
        size=store.size,
        settings=store.settings,
        tokenizer=fingerprint(tokenizer),
        splits=splits,
    )
    config, weights = stored_form(tokenizer)
    metadata = {"format": FORMAT, "version": VERSION, "config": config, "header": header.to_json()}
    write_atomically(out, save(streams | {WEIGHTS + name: weight for name, weight in weights.items()}, metadata))
    return Pack.open(out)


def _check_place(out: Path) -> None:
    if out.is_dir():
        raise FileExistsError(f"expected the name of a file, got the folder {out}; name a file in it")
    if out.exists():
        try:
            Pack.open(out)
        except ValueError as error:
            raise ValueError(f"{out}: expected no file, or a pack to replace, got another ({error})") from error


def _records(store: EpisodeStore, split: str, tokens: TokenSplit) -> list[EpisodeRecord]:
    """The episodes of a split, if they are still those that were encoded."""
    records = store.episodes(split)
    encoded = list(zip(tokens.names, np.diff(tokens.bounds), strict=True))
    if [(record.path.stem, record.frames) for record in records] != encoded:
        raise ValueError(f"{store.root}: expected a store at rest, got one that grows; make the pack when it is done")
    return records


def _filmed(store: EpisodeStore, draws: Iterable[Draw]) -> dict[Path, list[tuple[int, int]]]:
    """Start and stop of the clips in each episode, merged where they touch, ascending."""
    clips = dict[Path, list[tuple[int, int]]]()
    for draw in draws:
        if draw.count and any(record.frames >= draw.length for record in store.episodes(draw.split)):
            for record, start in draw_places(store, draw.split, draw.count, draw.length):
                clips.setdefault(record.path, []).append((start, start + draw.length))
    return {path: _merged(spans) for path, spans in clips.items()}


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _pack_split(
    store: EpisodeStore,
    records: list[EpisodeRecord],
    tokens: TokenSplit,
    filmed: dict[Path, list[tuple[int, int]]],
    tokenizer: Tokenizer,
) -> tuple[PackedSplit, dict[str, np.ndarray]]:
    """What the header says of a split, and its arrays."""
    episodes = [store.annotations(record) for record in records]
    truth = _shared_truth(episodes) if records[0].split in HELD_OUT else {}
    stretches = [(record, span) for record in records for span in filmed.get(record.path, ())]
    nothing = np.empty((0, store.size, store.size, 3), np.uint8)
    arrays = {
        "tokens": tokens.tokens.astype(token_dtype(tokenizer)),
        "actions": np.concatenate([episode.actions.ravel() for episode in episodes]),
        "rewards": np.concatenate([episode.rewards for episode in episodes]),
        "frames": np.concatenate([nothing, *(store.read_frames(record, *span) for record, span in stretches)]),
    }
    continuous = _continuous_size(episodes)
    for size in continuous:
        rows = (_continuous_rows(episode, size) for episode in episodes)
        arrays["continuous_actions"] = np.concatenate(list(rows))
    arrays |= {f"truth.{name}": np.concatenate([episode.truth[name] for episode in episodes]) for name in truth}
    return PackedSplit(
        names=tokens.names,
        frames=tuple(record.frames for record in records),
        agents=tokens.agents,
        level_seeds=tuple(record.level_seed for record in records),
        terminated=tuple(episode.terminated for episode in episodes),
        acting=tuple(episode.actions.shape[1] if episode.actions.ndim > 1 else ONE for episode in episodes),
        filmed=tuple(tuple(chain(*filmed.get(record.path, ()))) for record in records),
        truth=truth,
        continuous=continuous,
    ), arrays


def _continuous_size(episodes: list[Episode]) -> tuple[int, ...]:
    """How many real numbers an action of some episode is; nothing where it is none, or of several kinds."""
    sizes = {each.continuous_actions.shape[1] for each in episodes if each.continuous_actions is not None}
    return tuple(sizes) if len(sizes) == 1 else ()


def _continuous_rows(episode: Episode, size: int) -> np.ndarray:
    if episode.continuous_actions is not None:
        return episode.continuous_actions
    return np.full((len(episode.actions), size), np.nan, np.float32)


def _shared_truth(episodes: list[Episode]) -> dict[str, list]:
    """Dtype and shape for each frame of what is known of the scene in all episodes."""
    kinds = [
        {name: [array.dtype.name, *array.shape[1:]] for name, array in episode.truth.items()} for episode in episodes
    ]
    return {name: kind for name, kind in kinds[0].items() if all(each.get(name) == kind for each in kinds)}
