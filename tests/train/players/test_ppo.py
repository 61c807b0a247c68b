import json
import warnings
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

pytest.importorskip("procgen")
pytest.importorskip("stable_baselines3")

from flam_env.worlds.checkpoint import fingerprint
from flam_train.engine import FitConfig
from flam_train.players.demonstrations import read_demonstrations
from flam_train.players.policy import Policy, PolicyConfig, choose, load_policy
from flam_train.players.policy_fit import imitate
from flam_train.players.ppo import FILE, reinforce
from flam_train.players.stages import Stage, StageConfig, demonstrator_of
from flam_train.sources.collect import collect
from flam_train.sources.procgen.games import distinct_actions
from flam_train.sources.procgen.vec_env import ProcgenVecEnv
from flam_train.store.store import EpisodeStore

TINY = StageConfig(rollouts=2, games=3, rollout=5, batch_size=5, scored=2)
FIT = FitConfig(steps=2, batch_size=6, learning_rate=1e-3, ema=0.5, precision="fp32")
SMALL = PolicyConfig(game="starpilot", temperature=1.0, widths=(4, 6), features=7)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Short episodes of the planner in each split, in the simulator's own pictures."""
    settings = {"frames": 48, "random_share": 0.0, "max_episode_frames": 8, "workers": 1, "native": True}
    return collect("starpilot", tmp_path_factory.mktemp("planned") / "store", **settings).root


@pytest.fixture(scope="module")
def played(planned, tmp_path_factory):
    return play(planned, tmp_path_factory.mktemp("played") / "starpilot")


def play(planned, out, **changes):
    settings = {"game": "starpilot", "imitated": planned, "out": out, "stages": 2, "episodes": 2}
    return reinforce(**settings | {"imitation": FIT, "config": TINY} | changes)


def imitator():
    torch.manual_seed(3)
    return Policy(SMALL).eval()


def test_a_run_leaves_a_policy_and_its_learning_curve(played):
    assert load_policy(played, "starpilot").config.temperature == 0.7
    curve = [json.loads(path.read_text()) for path in sorted(played.parent.glob("stage-*/scores.json"))]
    assert [point["steps"] for point in curve] == [30, 60] and all("greedy" in point for point in curve)
    assert not list(played.parent.glob("**/*.tmp"))


def test_a_run_leaves_no_pickles(played):
    left = {path.suffix for path in played.parent.glob("stage-*/*")}
    assert left == {".safetensors", ".json"}


def test_an_interrupted_run_resumes_to_the_same_policy(planned, played, tmp_path, monkeypatch):
    out, whole = tmp_path / "starpilot", Stage.play

    def interrupted(stage, before, folder):
        if folder.name == "stage-01":
            raise KeyboardInterrupt
        whole(stage, before, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stage, "play", interrupted)
        play(planned, out)
    assert (out / "stage-00" / "scores.json").exists() and not (out / FILE).exists()
    play(planned, out, stages=1)
    wanted = fingerprint(load_policy(played, "starpilot"))
    for _ in range(2):  # the first time one more stage is asked for, the second time nothing is left to do
        assert fingerprint(load_policy(play(planned, out), "starpilot")) == wanted


def test_the_first_stage_begins_with_what_the_imitator_does(tmp_path):
    policy = imitator()
    Stage("starpilot", replace(TINY, learning_rate=1e-12), 0, seed=5).play(policy, tmp_path / "stage")
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    torch.testing.assert_close(demonstrator_of(tmp_path / "stage")(frames), policy(frames))


class Paid(ProcgenVecEnv):
    """Pays for nothing but one action."""

    taken: ClassVar[set[int]] = set()

    def step_wait(self):
        self.taken.update(self._actions.tolist())
        pictures, _, dones, infos = super().step_wait()
        return pictures, (self._actions == 7).astype(np.float32), dones, infos


def test_stages_learn_what_pays_among_distinct_actions(tmp_path, monkeypatch):
    monkeypatch.setattr("flam_train.players.stages.ProcgenVecEnv", Paid)
    config = StageConfig(rollouts=20, games=8, rollout=16, batch_size=32, learning_rate=3e-3, discount=0.5)
    Stage("starpilot", config, 0, seed=5).play(imitator(), tmp_path / "0")
    Stage("starpilot", config, 1, seed=6).play(tmp_path / "0", tmp_path / "1")
    env, actions = ProcgenVecEnv("starpilot", 9, native=True), distinct_actions("starpilot")
    seen = torch.from_numpy(env.reset())
    env.close()
    chances = [demonstrator_of(tmp_path / stage)(seen).softmax(1)[:, 7].mean().item() for stage in "01"]
    assert 1.5 / len(actions) < chances[0] < chances[1] > 0.5
    assert set(actions.tolist()) >= Paid.taken and len(Paid.taken) > 6


def test_imitation_learns_what_the_planner_did(planned, tmp_path):
    store = EpisodeStore.open(planned)
    policy = Policy(replace(SMALL, widths=(8, 8), features=16))
    pairs = read_demonstrations(store, "train")
    imitate(policy, store, replace(FIT, steps=300, learning_rate=1e-2, ema=0.9), tmp_path / "run")
    actions = distinct_actions("starpilot")
    told, done = actions[choose(policy, pairs.obs, None)], pairs.acts
    assert (told == done).mean() > np.bincount(done).max() / len(done) + 0.1


def test_imitation_that_leaves_pairs_out_says_so(planned, tmp_path):
    store = EpisodeStore.open(planned)
    said = rf"taking the first 5 of {store.frames('train')} pairs in split 'train'; ask for more `pairs`"
    with pytest.warns(UserWarning, match=said):
        imitate(imitator(), store, FIT, tmp_path / "some", pairs=5)
    with warnings.catch_warnings(action="error", category=UserWarning):
        imitate(imitator(), store, FIT, tmp_path / "all", pairs=store.frames("train"))


def test_other_pictures_or_another_game_are_not_imitated(planned, tmp_path):
    collect("starpilot", tmp_path / "small", frames=20, random_share=0.0, max_episode_frames=4, workers=1)
    for game, folder in (("starpilot", tmp_path / "small"), ("bigfish", planned)):
        with pytest.raises(ValueError, match=f"expected native pictures of {game}, got procgen/starpilot"):
            play(folder, tmp_path / "run", game=game)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"game": "coinrun"}, "expected a game out of bigfish, leaper, starpilot, got 'coinrun'"),
        (
            {"temperature": 0.0},
            "expected stages, episodes and pairs >= 1 and temperature > 0, got 2, 2, 200000",
        ),
        ({"stages": 0}, "expected stages, episodes and pairs >= 1 and temperature > 0, got 0, 2"),
        ({"pairs": 0}, "expected stages, episodes and pairs >= 1 and temperature > 0, got 2, 2, 0"),
    ],
)
def test_what_is_out_of_range_is_refused_and_leaves_no_folder(planned, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        play(planned, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_another_run_is_refused(planned, played, monkeypatch):
    with pytest.raises(ValueError, match=r"got a run that differs in .*seed 0 there, 1 here.*another output folder"):
        play(planned, played.parent, seed=1)
    monkeypatch.setattr("flam_train.players.ppo.used_precision", lambda *_: "another")
    with pytest.raises(ValueError, match=r"differs in precision \w+ there, another here"):
        play(planned, played.parent)


@pytest.mark.parametrize("change", [{"rollouts": 0}, {"batch_size": 1}, {"discount": 1.5}, {"learning_rate": 0.0}])
def test_a_stage_out_of_range_is_refused(change):
    with pytest.raises(ValueError, match="expected rollouts, games, rollout, scored >= 1"):
        replace(TINY, **change)
