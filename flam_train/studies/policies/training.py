"""Makes the policy of a run, lets it play, and writes what came of it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy

from flam_train.clone import SIMULATORS, WEIGHTS, config_of, new_model, save_clone
from flam_train.players.behaviour_cloning import BehaviourCloning
from flam_train.players.chance import RandomPlayer
from flam_train.players.policy import Demonstrator, load_policy
from flam_train.players.scores import LevelScores, play_and_close
from flam_train.sources.procgen.vec_env import ProcgenVecEnv
from flam_train.store.store import EpisodeStore
from flam_train.studies.policies.arms import arm_demonstrations, held_out_demonstrations
from flam_train.studies.policies.pseudo_labels import label_path, read_pseudo_labels
from flam_train.studies.policies.runs import CLONING, PLAYERS, PSEUDO, Run
from flam_train.studies.policies.study import PolicyStudy
from flam_train.studies.reports import training_looks

EPISODES, JUDGED_EPISODES = 7, 2
"""Of each simulator: 112 on levels of the test split in the end, 32 on levels of the val split to choose weights."""


def make_policy(run: Run, study: PolicyStudy) -> dict[str, Any]:
    """Makes a policy in this process, or what is left of it, and lets it play; pseudo labels and frames must be there.

    Returns:
        The report of the run.
    """
    started = time.perf_counter()
    report = {"levels": _levels(_play_as(run, study))} if run.arm in PLAYERS else _clone(run, study)
    return report | {"settings": study.settings(run), "seconds": time.perf_counter() - started}


def _play_as(run: Run, study: PolicyStudy) -> LevelScores:
    player: Any = RandomPlayer(run.seed)
    if run.arm != "random":
        player = Demonstrator(load_policy(study.demonstrator, study.game))
        player.begin(np.random.default_rng(run.seed))
    env = ProcgenVecEnv(study.game, SIMULATORS, split="test", native=True)
    return play_and_close(player, env, episodes_per_env=EPISODES, seed=run.seed)


def _clone(run: Run, study: PolicyStudy) -> dict[str, Any]:
    store, out = EpisodeStore.open(study.data), study.folder(run)
    model = new_model(store, features=study.features, seed=run.seed)

    def judge(policy: ActorCriticPolicy) -> float:
        env = ProcgenVecEnv.of_store(store, SIMULATORS, split="val")
        return play_and_close(policy, env, episodes_per_env=JUDGED_EPISODES, seed=run.seed).mean

    cloning = BehaviourCloning(
        model,
        arm_demonstrations(run, store, study.pseudo_labels, study.frames),
        held_out_demonstrations(store),
        config=CLONING,
        fit_config=replace(study.fit, seed=run.seed),
        judge=judge,
    )
    result = cloning.train(out / "training")
    save_clone(out / WEIGHTS, model, config_of(store, features=study.features))
    report: dict[str, Any] = {"pairs": len(cloning.rows), "kept_step": result.step, "held_out": result.metrics}
    report["curve"] = _curve(out / "training")
    if run.arm in PSEUDO:
        told = read_pseudo_labels(label_path(study.pseudo_labels, run))
        report["pseudo_labels"] = told.scores | {"world": told.world}
    env = ProcgenVecEnv.of_store(store, SIMULATORS, split="test")
    played = play_and_close(model, env, episodes_per_env=EPISODES, seed=run.seed)
    return report | {"levels": _levels(played)}


def _levels(scores: LevelScores) -> dict[str, Any]:
    return scores.summary() | {"returns": scores.returns.ravel().tolist()}


def _curve(training: Path) -> list[dict[str, float]]:
    """Return on val levels and agreement with held-out actions during training."""
    looks = training_looks(training, "eval/regret")
    return [
        {"step": look["step"], "val_return": -look["eval/regret"], "accuracy": look["eval/accuracy"]} for look in looks
    ]
