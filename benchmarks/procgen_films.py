"""Episodes of a store of Procgen as ordinary films, and a store of the same episodes, to see what films cost a world.

    python benchmarks/procgen_films.py data/bigfish --out data/films

writes `store`, the episodes as they are; `64` and `128`, a film in H.264 of each; and `splits.csv`, which gives films
the splits of their episodes: `flam-train import data/films/64 --splits data/films/splits.csv --cuts none ...`. Films of
128 px are played anew, from the seeds of the store and with its actions, since a store keeps one size only.
"""

import argparse
import csv
import shutil
from itertools import islice
from pathlib import Path

import numpy as np

from flam_train.pictures.sheets import write_mp4
from flam_train.sources.procgen.episodes import Game, open_game
from flam_train.sources.recorders import AGENTS
from flam_train.store.header import read_header, write_header
from flam_train.store.store import SPLITS, EpisodeRecord, EpisodeStore

RATE = 15
SHORTEST = 64  # frames
SIZES = (64, 128)


def main() -> None:
    """Writes all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="as `flam-train collect GAME` makes it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, nargs=3, default=(60, 10, 10), help="of train, val and test")
    arguments = parser.parse_args()
    store = EpisodeStore.open(arguments.store)
    for size in SIZES:
        (arguments.out / str(size)).mkdir(parents=True, exist_ok=True)
    write_header(arguments.out / "store", read_header(store.root))
    rows = []
    for split, count in zip(SPLITS, arguments.episodes, strict=True):
        for record in chosen(store, split, count):
            name = f"{split}-{record.path.stem}.mp4"
            rows.append((name, split))
            (arguments.out / "store" / split).mkdir(exist_ok=True)
            shutil.copyfile(record.path, arguments.out / "store" / split / record.path.name)
            write_films(store, record, arguments.out, name)
    with (arguments.out / "splits.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    copied = EpisodeStore.open(arguments.out / "store")
    print(f"wrote {len(rows)} episodes, {sum(map(copied.frames, SPLITS))} frames")


def chosen(store: EpisodeStore, split: str, count: int) -> list[EpisodeRecord]:
    """Episodes of a split that are long enough, of each agent in turn."""
    kinds = [
        [record for record in store.episodes(split) if record.agent == agent and record.frames >= SHORTEST]
        for agent in AGENTS
    ]
    turns = ([kind[turn] for kind in kinds if turn < len(kind)] for turn in range(count))
    return list(islice((record for turn in turns for record in turn), count))


def write_films(store: EpisodeStore, record: EpisodeRecord, out: Path, name: str) -> None:
    """One film of each size."""
    episode = store.read(record)
    write_mp4(out / "64" / name, episode.frames, RATE)
    agent, index = record.path.stem.rsplit("-", 1)
    seed = [store.settings["seed"], SPLITS.index(record.split), AGENTS.index(agent), int(index)]
    played, _ = open_game(store.source.partition("/")[2], record.split, np.random.SeedSequence(seed), size=128)
    assert played.level_seed == record.level_seed
    frames = replay(played, episode.actions)
    apart = np.abs(halved(frames).astype(int) - episode.frames).max()
    assert apart <= 2, f"{record.path}: what was played anew is not what the store holds, up to {apart} of 255"
    write_mp4(out / "128" / name, frames, RATE)


def replay(played: Game, actions: np.ndarray) -> np.ndarray:
    """The pictures before each action, uint8 (T, size, size, 3)."""
    frames = []
    for action in actions:
        frames.append(played.frame())
        played.step(int(action))
    played.close()
    return np.stack(frames)


def halved(frames: np.ndarray) -> np.ndarray:
    """Frames at half their size, averaged."""
    count, height, width, channels = frames.shape
    return frames.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4)).round().astype(np.uint8)


if __name__ == "__main__":
    main()
