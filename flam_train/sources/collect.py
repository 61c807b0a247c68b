"""Collects episodes into a store: one process per core, killed and started again as you like.

Episode `index` of an agent in a split is the same whatever the number of processes and interruptions, and so is
the set of episodes.
"""

from pathlib import Path
from typing import Literal

from flam_train.engine.processes import available_cores
from flam_train.sources.multigrid import RoomConfig
from flam_train.sources.procgen.games import GAMES
from flam_train.sources.recorders import AGENTS, DriveRecorder, ProcgenRecorder, Recorder, RoomRecorder
from flam_train.sources.schedule import Schedule, Stream, quotas
from flam_train.sources.workers import Job, work_off
from flam_train.store.episode import import_h5py
from flam_train.store.store import SPLITS, EpisodeStore

UNPLAYED = ("multigrid", "synthetic-drive")
"""Sources that are no games: what moves there moves at random."""


def collect(
    game: Literal["bigfish", "leaper", "starpilot", "multigrid", "synthetic-drive"],
    out: Path,
    frames: int = 100_000,
    size: int = 64,
    random_share: float | None = None,
    workers: int = 0,
    seed: int = 0,
    max_episode_frames: int | None = None,
    demonstrator: Path | None = None,
    native: bool = False,
    held_keys: int | None = None,
    room: RoomConfig | None = None,
) -> EpisodeStore:
    """Collects episodes of a game, a room or a made-up drive, split 80/10/10; run again to resume or to extend.

    Splits of a game have disjoint levels, splits of a room or of drives have seeds of their own.

    Args:
        game: which game of Procgen, multigrid for a room of agents that act at random, or synthetic-drive for what a
            camera in a car would see on a road that is made up.
        out: folder of the store.
        frames: frames of all splits together; whole episodes are kept, so there will be a few more.
        size: height and width of the frames in pixels: 64, 128 or 224 for a game, a multiple of its cells for a room,
            32 to 448 for a drive.
        random_share: games only: share of the frames played by the sticky random agent instead of the planner, 0.3
            by default, and 1 with held_keys.
        workers: processes; 0 for one per core.
        seed: decides every episode.
        max_episode_frames: longer episodes are cut; 1000 by default for a game, 100 for a room, 200 for a drive,
            which is 20 s, as a scene of nuPlan is.
        demonstrator: games only: a policy.safetensors of `flam-train demonstrator` or `reinforce`, which plays instead
            of the planner.
        native: games only: keep the simulator's own 64-pixel pictures, which policies of the plain game see, in place
            of its 512-pixel render, averaged down.
        held_keys: games only: the random agent draws a key, any but those of equal effect, and holds it for so many
            frames, in place of being sticky; for the metrics obedience, tracking and shots, which want 4.
        room: multigrid only: who is in the room, by default what `RoomConfig` says.

    Raises:
        ValueError: an argument is out of range or of another source, or the folder holds something else.
        ImportError: an optional package is missing.
        ChildProcessError: a worker process was killed; run it again to resume.
    """
    recorder = _recorder(game, size, random_share, max_episode_frames, demonstrator, native, held_keys, room)
    _check_numbers(frames, recorder, workers, seed)
    import_h5py()
    recorder.require()
    settings = {"seed": seed, **recorder.settings()}
    store = EpisodeStore.create(out, source=recorder.source, size=size, settings=settings)
    wanted = quotas(frames, recorder.random_share, recorder.expert)
    schedule = Schedule(wanted=wanted, longest=recorder.longest, done=_recorded(store))
    work_off(Job(recorder=recorder, store=store, seed=seed), schedule, workers or available_cores())
    return store


def _recorder(
    game: str,
    size: int,
    random_share: float | None,
    max_episode_frames: int | None,
    demonstrator: Path | None,
    native: bool,
    held_keys: int | None,
    room: RoomConfig | None,
) -> Recorder:
    """The source of a name, if the options belong to it."""
    if game in UNPLAYED:
        _check_unplayed(game, random_share, demonstrator, native, held_keys)
    elif game not in GAMES:
        raise ValueError(f"expected {', '.join([*GAMES, *UNPLAYED[:-1]])} or {UNPLAYED[-1]}, got {game!r}; name one")
    if room is not None and game != "multigrid":
        raise ValueError(
            f"expected --agents, --tied, --colours and --cells for multigrid only, got {room} for {game}; "
            "leave them out"
        )
    if game == "multigrid":
        return RoomRecorder(
            room=room or RoomConfig(), size=size, longest=100 if max_episode_frames is None else max_episode_frames
        )
    if game == "synthetic-drive":
        return DriveRecorder(size=size, longest=200 if max_episode_frames is None else max_episode_frames)
    return ProcgenRecorder(
        game=game,
        size=size,
        longest=1000 if max_episode_frames is None else max_episode_frames,
        random_share=(0.3 if held_keys is None else 1.0) if random_share is None else random_share,
        demonstrator=demonstrator,
        native=native,
        held_keys=held_keys,
    )


def _check_unplayed(
    game: str, random_share: float | None, demonstrator: Path | None, native: bool, held_keys: int | None
) -> None:
    if random_share is not None:
        raise ValueError(
            f"expected --random-share for games of Procgen only, got {random_share} for {game}, where all "
            "agents act at random; leave it out"
        )
    if demonstrator is not None or native:
        raise ValueError(
            f"expected --demonstrator and --native for games of Procgen only, got {demonstrator} and {native} for "
            f"{game}; leave them out"
        )
    if held_keys is not None:
        raise ValueError(
            f"expected --held-keys for games of Procgen only, got {held_keys} for {game}, where nobody presses keys; "
            "leave it out"
        )


def _check_numbers(frames: int, recorder: Recorder, workers: int, seed: int) -> None:
    longest, random_share = recorder.longest, recorder.random_share
    if frames < 10 or longest < 1 or workers < 0 or seed < 0 or not 0 <= random_share <= 1:
        raise ValueError(
            "expected frames >= 10, max_episode_frames >= 1, workers >= 0, seed >= 0 and 0 <= random_share <= 1, "
            f"got {frames}, {longest}, {workers}, {seed} and {random_share}; change what is out of range"
        )


def _recorded(store: EpisodeStore) -> dict[Stream, dict[int, int]]:
    """Frames of the episodes that a store already has, by stream and index."""
    done: dict[Stream, dict[int, int]] = {(split, agent): {} for split in SPLITS for agent in AGENTS}
    for split in SPLITS:
        for record in store.episodes(split):
            name, _, index = record.path.stem.rpartition("-")
            if name != record.agent or name not in AGENTS or not index.isdigit():
                raise ValueError(
                    f"expected episodes of {list(AGENTS)} named agent-number, got {record.path}; move it away"
                )
            done[split, name][int(index)] = record.frames
    return done
