"""`flam-train reinforce`: a demonstrator that learns by playing, as the paper's does (Sec. 5.3, C.3).

Proximal policy optimisation (Schulman et al. 2017) by Stable-Baselines3, from a policy on that imitates the planner:
as a player the imitator is worth little, but it knows what to look at and seldom idles, which saves the first million
steps. Every pair is learned from once: on a processor, learning costs more than playing.

A run is a row of stages. Each begins with new games and the weights and moments that the one before left behind, so a
run that was interrupted goes on as if nothing had happened.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

from flam_env.worlds.checkpoint import round_as_stored, save_network
from flam_train.engine import FitConfig, training_device
from flam_train.engine.folder import open_run
from flam_train.engine.precision import used_precision
from flam_train.players.policy import Policy, PolicyConfig, load_policy
from flam_train.players.policy_fit import IMITATION, imitate
from flam_train.players.policy_scores import print_test_scores, write_val_scores
from flam_train.players.stages import STAGE, Stage, StageConfig, demonstrator_of
from flam_train.sources.procgen.games import check_game
from flam_train.sources.procgen.simulators import import_simulator
from flam_train.store.store import EpisodeStore

FILE, SCORES = "policy.safetensors", "scores.json"


def reinforce(
    game: Literal["bigfish", "leaper", "starpilot"],
    *,
    imitated: Path,
    out: Path,
    pairs: int = 200_000,
    stages: int = 8,
    temperature: float = 0.7,
    seed: int = 0,
    episodes: int = 128,
    imitation: FitConfig = IMITATION,
    config: StageConfig = STAGE,
) -> Path:
    """Lets a policy over single frames learn a game by playing it and writes `out/policy.safetensors`.

    Args:
        game: which game.
        imitated: store of the planner's episodes with native pictures, which the policy imitates first.
        out: folder of the run. A run that was interrupted goes on after its last whole stage, to the same policy.
        pairs: of frame and action to imitate at most, the first of the store; 200 000 take 2.5 GB of memory.
        stages: of playing and learning, each with new games; a finished run goes on if more are asked for.
        temperature: at which the policy that is written draws its actions. It learns at 1, and plays better below.
        seed: decides everything.
        episodes: whole ones on levels of the test split, of which the report gives the mean return.
        imitation: how it is fitted to what the planner did.
        config: how much is played in a stage and how it is learned from.

    Returns:
        The file that was written: `flam-train collect --demonstrator FILE` lets it play.

    Raises:
        ValueError: an argument is out of range, `out` holds another run, or there is nothing to imitate.
        ImportError: an optional package is missing.
    """
    import_simulator()
    if min(stages, episodes, pairs) < 1 or temperature <= 0:
        raise ValueError(
            f"expected stages, episodes and pairs >= 1 and temperature > 0, got {stages}, {episodes}, {pairs} and "
            f"{temperature}; change these"
        )
    store = EpisodeStore.open(imitated)
    if store.source != f"procgen/{check_game(game)}" or not store.settings.get("native"):
        raise ValueError(
            f"{imitated}: expected native pictures of {game}, got {store.source} with {store.settings}; "
            f"make them with `flam-train collect {game} --native --random-share 0`"
        )
    out, imitation = Path(out), replace(imitation, seed=seed)
    decided: dict[str, Any] = {"game": game, "seed": seed, "imitated": store.identity(), "imitation": asdict(imitation)}
    decided |= {"pairs": pairs, "config": asdict(config), "precision": used_precision("auto", training_device())}
    with open_run(out, decided):
        imitator = _imitator(game, store, imitation, out / "imitation", pairs)
        for number in range(stages):
            folder = out / f"stage-{number:02d}"
            if not (folder / SCORES).exists():
                stage = Stage(game, config, number, seed=seed + 10_000 * number)
                stage.play(imitator if number == 0 else out / f"stage-{number - 1:02d}", folder)
                learned = demonstrator_of(folder, temperature)
                facts = {"stage": number, "steps": (number + 1) * config.steps, "temperature": temperature}
                write_val_scores(folder / SCORES, learned, facts, episodes=config.scored, seed=seed)
        policy = demonstrator_of(out / f"stage-{stages - 1:02d}", temperature)
        save_network(out / FILE, round_as_stored(policy), **decided, stages=stages)
    print_test_scores(policy, episodes=episodes, seed=seed)
    return out / FILE


def _imitator(game: str, store: EpisodeStore, training: FitConfig, out: Path, pairs: int) -> Policy:
    if not (out / FILE).exists():
        torch.manual_seed(training.seed)
        policy = imitate(Policy(PolicyConfig(game=game)), store, training, out, pairs=pairs)
        save_network(out / FILE, round_as_stored(policy))
    return load_policy(out / FILE, game)
