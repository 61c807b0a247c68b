"""What a store of films holds, to look at before anybody trains on it: a contact sheet and a short report."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from flam_env.worlds.writing import write_atomically
from flam_train.sources.films.episodes import FilmRecord
from flam_train.sources.schedule import SPLIT_SHARE
from flam_train.store.rates import SETTING
from flam_train.store.store import SPLITS, EpisodeStore

SHEET, REPORT = "preview.png", "preview.txt"
FILMS, FRAMES = 8, 8
"""Rows and columns of the sheet."""
PAIRS = 96
"""Neighbouring frames that are compared."""
CHANGED = 16
"""A pixel moves where a channel changes by more, of 255: less is the noise of a codec."""
STILL, RESTLESS = 0.001, 0.5
"""Shares of moving pixels below and above which a warning stands in the report."""
CLIP = 16
"""Frames of a clip that worlds learn from; shorter episodes are never seen."""
FEW = 5000
"""Fewer frames are enough for the tiny preset only."""
DRIVING = ("nuplan", "nuplan-small")
"""Presets for logs of driving in place of paper and small."""


def preview(
    store: EpisodeStore, records: Sequence[FilmRecord], copies: Mapping[str, str], refused: Mapping[str, str]
) -> tuple[str, ...]:
    """Writes `preview.png` and `preview.txt` into the folder of a store; returns the lines of the report.

    Args:
        store: whose episodes.
        records: the films that it holds.
        copies: films that were left out as copies, and what they are copies of.
        refused: films that were left out, and why.
    """
    from flam_train.pictures.sheets import contact_sheet, write_png

    chosen = np.unique(np.linspace(0, len(records) - 1, FILMS).round().astype(int)).tolist()
    rows = {f"{i + 1}. {records[i].split}: {Path(records[i].origin).name}": _shown(store, records[i]) for i in chosen}
    write_png(store.root / SHEET, contact_sheet(rows, scale=max(1, 128 // store.size)))
    lines = (*_counts(store, records), *_advice(store, records), *_left_out(records, copies, refused))
    write_atomically(store.root / REPORT, "".join(f"{line}\n" for line in lines).encode())
    return lines


def _shown(store: EpisodeStore, record: FilmRecord) -> np.ndarray:
    """Frames of a film at even spacing, uint8 (t, H, W, 3)."""
    lengths = _lengths(store, record)
    ends = np.cumsum(list(lengths.values()))
    names, frames = list(lengths), list[np.ndarray]()
    for at in np.linspace(0, ends[-1] - 1, FRAMES).round().astype(int):
        number = int(np.searchsorted(ends, at, side="right"))
        frames.append(_read(store, record.split, names[number], int(at - (ends[number - 1] if number else 0)), 1)[0])
    return np.stack(frames)


def _lengths(store: EpisodeStore, record: FilmRecord) -> dict[str, int]:
    wanted = set(record.episodes)
    return {each.path.stem: each.frames for each in store.episodes(record.split) if each.path.stem in wanted}


def _read(store: EpisodeStore, split: str, name: str, start: int, count: int) -> np.ndarray:
    (record,) = (each for each in store.episodes(split) if each.path.stem == name)
    return store.read_frames(record, start, start + count)


def moving_share(store: EpisodeStore) -> float:
    """Share of the pixels that change from one frame to the next, over pairs from all episodes."""
    episodes = [each for split in SPLITS for each in store.episodes(split)]
    ends = np.cumsum([each.frames - 1 for each in episodes])
    shares = []
    for at in np.unique(np.linspace(0, ends[-1] - 1, PAIRS).round().astype(int)):
        number = int(np.searchsorted(ends, at, side="right"))
        start = int(at - (ends[number - 1] if number else 0))
        one, other = store.read_frames(episodes[number], start, start + 2).astype(np.int16)
        shares.append((np.abs(one - other).max(-1) > CHANGED).mean())
    return float(np.mean(shares))


def _counts(store: EpisodeStore, records: Sequence[FilmRecord]) -> Iterator[str]:
    episodes = sum(len(store.episodes(split)) for split in SPLITS)
    frames = {split: store.frames(split) for split in SPLITS}
    rate, total = store.settings.get(SETTING), sum(frames.values())
    pace = f"{rate:g} frames a second, {total / rate / 60:.1f} minutes" if rate else "a rate that nobody knows"
    yield f"{len(records)} films, {episodes} episodes, {total:,} frames of {store.size} px at {pace}"
    for split in SPLITS:
        films = sum(record.split == split for record in records)
        share = frames[split] / total
        yield f"  {split:<6}{films:>5} films {frames[split]:>10,} frames, {share:.0%} (aim: {SPLIT_SHARE[split]:.0%})"
    cuts = [len(record.cuts) for record in records]
    yield f"cuts ({store.settings['cuts']}): {sum(cuts)} in {sum(map(bool, cuts))} films"
    if left_out := sum(record.left_out for record in records):
        yield f"{left_out} frames lie in scenes too short for an episode, and were left out"
    yield f"pixels that move from frame to frame: {moving_share(store):.2%}"


def _advice(store: EpisodeStore, records: Sequence[FilmRecord]) -> Iterator[str]:
    frames, moving = store.frames("train"), moving_share(store)
    short = [each.frames for split in SPLITS for each in store.episodes(split) if each.frames < CLIP]
    if missing := [split for split in SPLITS if not store.frames(split)]:
        yield f"! nothing in {' and '.join(missing)}: training needs three films or more; cut one up, or import others"
    if short:
        yield f"! {len(short)} episodes have fewer than the {CLIP} frames of a clip, and teach nothing"
    if moving < STILL:
        yield "! hardly anything moves: a lower --fps lets more happen between two frames"
    if moving > RESTLESS:
        yield "! most of every frame changes: a moving camera, noise, or missed cuts; worlds learn it badly"
    if rate := store.settings.get(SETTING):
        slow = [record for record in records if record.rate and record.rate < 0.9 * rate]
        if slow:
            yield f"! {len(slow)} films have fewer than {rate:g} frames a second, so frames repeat; take a lower --fps"
    yield f"preset: {_preset(store, frames)}"


def _preset(store: EpisodeStore, frames: int) -> str:
    size, (paper, small) = store.size, DRIVING if store.source == "nuplan" else ("paper", "small")
    if size == 224:
        return f"--preset {paper}, which needs a GPU"
    patches = "" if size == 64 else f" --model.image-size {size} --model.patch-size {size // 16}"
    if frames < FEW:
        return f"--preset tiny{patches}, to try; {FEW:,} frames and more are worth --preset {small}"
    return f"--preset {small}{patches}"


def _left_out(records: Sequence[FilmRecord], copies: Mapping[str, str], refused: Mapping[str, str]) -> Iterator[str]:
    for record in records:
        for note in record.notes:
            yield f"note: {note}"
    for copy, original in copies.items():
        yield f"copy: {copy} is {original}"
    yield from refused_table(refused)


def refused_table(refused: Mapping[str, str]) -> Iterator[str]:
    """Films that were left out, and why, a line each."""
    if refused:
        width = max(map(len, refused))
        yield f"left out, {len(refused)}:"
        yield from (f"  {name:<{width}}  {' '.join(reason.split())}" for name, reason in refused.items())
