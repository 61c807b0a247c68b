"""`flam-train recipe`: makes worlds of packs where there is little time; killed and started again as you like.

What has an archive is not made again. Each world has a process of its own, so that several share a GPU.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from flam_env.worlds.writing import write_atomically
from flam_train.engine.processes import require_made, side_by_side
from flam_train.evaluate.simulator.frontier import frontier
from flam_train.presets import PRESETS
from flam_train.store.packs import Pack
from flam_train.studies.recipe.pieces import end_of_piece
from flam_train.studies.recipe.worlds import SCORING, PlannedWorld, Scoring, make_world
from flam_train.studies.runs import check_workers

SUMMARY = "summary.md"


def recipe(
    packs: tuple[Path, ...],
    *,
    out: Path,
    preset: str = "gpu",
    minutes: float = 8.0,
    sampling_share: float = 0.2,
    seeds: tuple[int, ...] = (0,),
    compile: bool = False,
    workers: int = 0,
    piece_minutes: float = 0.0,
    scoring: Scoring = SCORING,
) -> Path:
    """Trains a world of each pack and seed, scores it, and leaves one archive of at most 12 MB for each, and a table.

    Killed, or at the end of a piece, it goes on where it was when it is called again. A world that fails leaves the
    others alone.

    Args:
        packs: files that `flam-train pack` makes; their names, which differ, are those of the worlds. The sources of
            some games change the preset: see `flam_train.studies.recipe.games`.
        out: folder of the archives, of the table summary.md, and of the worlds and their logs.
        preset: sizes and optimiser.
        minutes: of training for each world, by the clock: side by side, worlds share what the machine can do. Looks at
            rollouts, scores and starting are not counted.
        sampling_share: of these minutes for scheduled sampling; 0 leaves it out.
        seeds: one world of each pack for each.
        compile: put the models through torch.compile, which takes of these minutes what it takes.
        workers: worlds side by side; 0 for one per core.
        piece_minutes: ends this call in time, with what is done so far saved; 0 goes on until all is done.
        scoring: on what; games of sprites are by default also scored on slots, velocity and horizon.

    Returns:
        The table.

    Raises:
        ValueError: no such preset or pack, two of one name, or a number out of range.
        ChildProcessError: worlds failed; the others are there.
    """
    if preset not in PRESETS:
        raise ValueError(f"expected a preset of {sorted(PRESETS)}, got {preset!r}")
    if not (minutes > 0 and 0 <= sampling_share < 1 and piece_minutes >= 0 and seeds):
        raise ValueError(
            "expected minutes > 0, sampling_share in [0, 1), piece_minutes >= 0 and seeds, got "
            f"{minutes}, {sampling_share}, {piece_minutes} and {seeds}"
        )
    check_workers(workers)
    _check_packs(packs)
    worlds = [
        PlannedWorld(
            pack=Path(pack),
            seed=seed,
            preset=preset,
            minutes=minutes,
            sampling_share=sampling_share,
            compile=compile,
            out=Path(out),
            scoring=scoring,
        )
        for pack in packs
        for seed in seeds
    ]
    deadline = end_of_piece(piece_minutes)
    jobs = {world.name: partial(make_world, world, deadline) for world in worlds if not world.archive.exists()}
    failed = side_by_side(jobs, workers, "worlds", stop_at_failure=False, deadline=deadline) if jobs else {}
    path = Path(out) / SUMMARY
    write_atomically(path, summary(worlds).encode())
    require_made(failed, "worlds", Path(out) / "trained")
    return path


def summary(worlds: Iterable[PlannedWorld]) -> str:
    """A table for each pack, of those of its worlds that are done, and which are not done yet, in Markdown."""
    done: dict[Path, list[PlannedWorld]] = {}
    missing = []
    for world in worlds:
        if world.archive.exists():
            done.setdefault(world.pack, []).append(world)
        else:
            missing.append(world.name)
    parts = [
        f"## {pack.stem}\n\n{frontier(tuple(world.world / 'report.json' for world in made))}"
        for pack, made in done.items()
    ]
    parts += [f"Not done yet: {', '.join(missing)}. The same command goes on."] if missing else []
    return "\n\n".join(parts) + "\n"


def _check_packs(packs: tuple[Path, ...]) -> None:
    """Raises ValueError unless there are packs, all of which can be opened, with names that differ."""
    names = [Path(pack).stem for pack in packs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected packs with names that differ, got {names}; rename one of them")
    for pack in packs:
        Pack.open(pack)
