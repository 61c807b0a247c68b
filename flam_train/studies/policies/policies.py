"""`flam-train policies`: Table 4, made by one command; killed and started again as you like.

What is worth more: ten thousand labels, or ten thousand labels and a world that watched all of the video? Every arm
clones the same policy for as many sample-updates and plays the same unseen levels of the real game. A run leaves one
report file; what has one is not run again.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from flam_env.labelling.labeller import Labeller
from flam_env.worlds.checkpoint import fingerprint
from flam_train.engine import FitConfig
from flam_train.engine.identity import require_same
from flam_train.engine.locks import folder_lock
from flam_train.players.policy import load_policy
from flam_train.sources.procgen.games import GAMES
from flam_train.store.store import EpisodeStore
from flam_train.studies.policies.arms import share_frames
from flam_train.studies.policies.pseudo_labels import make_pseudo_labels
from flam_train.studies.policies.runs import FIT, PLAYERS, PSEUDO, RUNS
from flam_train.studies.policies.study import PolicyStudy
from flam_train.studies.policies.training import make_policy
from flam_train.studies.runs import check_workers, make_reports

MEMORY = 2e9
"""Bytes that a run needs, besides what it sees of the frames that all share: 1.3 GB were measured."""


def policies(
    game: Literal["bigfish", "leaper", "starpilot"],
    *,
    data: Path | None = None,
    world: str | None = None,
    demonstrator: Path | None = None,
    runs: Path = Path("runs/policies"),
    reports: Path = Path("benchmarks/results/policies"),
    arms: tuple[str, ...] = (),
    features: Literal["nature", "impala"] = "impala",
    fit: FitConfig = FIT,
    workers: int = 0,
    device: str = "auto",
) -> None:
    """Learns from 1k and 10k labels, clones all arms with three seeds each, and lets them play unseen levels.

    Args:
        game: which game.
        data: store of demonstrations, by default data/GAME-demonstrations.
        world: name or directory of the world that watches; by default the bundled GAME-v1.
        demonstrator: who plays in the store, by default runs/demonstrators/GAME/policy.safetensors.
        runs: folder of pseudo labels, policies and logs, one folder for each game.
        reports: folder of the report files, one folder for each game; `flam-train policy-tables` prints them.
        arms: demonstrator, random, all-labels, flam, supervised, vanilla; all by default.
        features: the network of all policies: IMPALA with 16, 32, 32 channels, or NatureCNN, which learns far less.
        fit: budget and optimiser of all policies.
        workers: runs side by side; 0 for one per core, as far as there are 2 GB of memory for each. They share a file
            of all frames of the train split, which lies in `runs` meanwhile: 700k take 8 GB of the disk.
        device: where the world watches: cpu, cuda or auto.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no such arm, no such store or one of another game, no demonstrator or not the one in the store,
            pseudo labels that were made from another world or store, or another process makes policies in `runs`.
        ChildProcessError: a run failed or was killed; run it again to resume.
    """
    check_workers(workers)
    study = PolicyStudy(
        game=game,
        data=Path(data or f"data/{game}-demonstrations"),
        demonstrator=Path(demonstrator or f"runs/demonstrators/{game}/policy.safetensors"),
        runs=Path(runs) / game,
        reports=Path(reports) / game,
        features=features,
        fit=fit,
    )
    store = _checked_store(study, arms)
    missing = study.missing(run for run in RUNS if run.arm in (arms or {run.arm}))
    labelled = [run for run in missing if run.arm in PSEUDO]
    labeller = Labeller.from_pretrained(world or f"{game}-v1", device) if labelled else None
    learns = any(run.arm not in PLAYERS for run in missing)
    with folder_lock(study.runs):
        if labeller is not None:
            make_pseudo_labels(store, labeller, labelled, study.pseudo_labels)
        with share_frames(store, study.frames) if learns else nullcontext():
            make_reports(study, missing, make_policy, workers=workers, memory=MEMORY, title=game)


def _checked_store(study: PolicyStudy, arms: tuple[str, ...]) -> EpisodeStore:
    known = {run.arm for run in RUNS}
    if study.game not in GAMES or not set(arms) <= known:
        raise ValueError(
            f"expected a game of {', '.join(GAMES)} and arms of {', '.join(sorted(known))}, got {study.game!r} and "
            f"{', '.join(arms)}; name some of these"
        )
    store = EpisodeStore.open(study.data)
    if store.source != f"procgen/{study.game}":
        raise ValueError(f"{study.data}: expected demonstrations of {study.game}, got {store.source}; name its store")
    player = fingerprint(load_policy(study.demonstrator, study.game))
    require_same(
        {key: store.settings.get(key) for key in ("demonstrator", "random_share")},
        {"demonstrator": player, "random_share": 0},
        where=study.data,
        kind="a store",
        advice=f"`flam-train collect {study.game} --native --random-share 0 --demonstrator {study.demonstrator}` "
        "makes one of the demonstrator alone",
    )
    return store
