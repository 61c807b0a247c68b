"""The bundled policy is what its card says."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("procgen")

from stable_baselines3 import PPO

import flam_train
from flam_env import Labeller, load_clips
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.finding import find_world
from flam_env.worlds.loading import load_world
from flam_train.clone import load_clone
from flam_train.heads.known_actions import action_classes
from flam_train.players.policy import load_policy
from flam_train.players.policy_scores import score_policy
from flam_train.sources.collect import collect
from flam_train.studies.policies.findings import read_arms
from flam_train.studies.policies.tables import RATIOS

PRETRAINED = Path(flam_train.__file__).parent / "pretrained"
BUNDLED = PRETRAINED / "bigfish"
GAMES = ("bigfish", "starpilot")
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "policies"
REPORTS = RESULTS / "bigfish"


def test_the_policy_acts_as_it_did_when_it_was_scored():
    frames = load_clips("bigfish")[:, 0]
    policy = load_clone(BUNDLED / "policy.safetensors", device="cpu")
    assert policy.predict(frames, deterministic=True)[0].tolist() == [4, 5, 3, 8, 6, 4, 4, 4, 0, 7, 5, 8, 0, 0, 6, 3]


def test_the_card_says_what_the_report_says_and_the_policy_beats_chance_three_times():
    card, report = (BUNDLED / "card.md").read_text(), json.loads((BUNDLED / "report.json").read_text())
    levels, chance = report["levels"], read_arms(REPORTS)["random", None]
    assert report == json.loads((REPORTS / "flam-10000-0.json").read_text())
    assert f"{levels['mean_return']:.1f} ± {levels['standard_error']:.1f}" in card and f"{chance.mean:.1f}" in card
    assert levels["mean_return"] >= 3 * chance.mean and levels["episodes"] >= 100


@pytest.mark.parametrize("game", GAMES)
def test_the_results_are_of_the_bundled_demonstrator_and_world(game):
    demonstrator = fingerprint(load_policy(PRETRAINED / game / "demonstrator.safetensors", game))
    for report in read_arms(RESULTS / game)["flam", 10_000].reports:
        assert report["settings"]["demonstrations"]["settings"]["demonstrator"] == demonstrator
        assert report["pseudo_labels"]["world"] == load_world(game).fingerprint()


@pytest.mark.parametrize("ratio", [ratio for ratio in RATIOS if not ratio.aim], ids=lambda ratio: str(ratio[:3]))
def test_the_bars_of_table_4_hold(ratio):
    arms = read_arms(RESULTS / ratio.game)
    assert arms[ratio.over].mean >= ratio.bound * arms[ratio.under].mean
    assert min(len(arms[name].reports) for name in (ratio.over, ratio.under)) == 3


def test_the_bundled_demonstrator_of_starpilot_outlives_chance_many_times():
    policy = load_policy(PRETRAINED / "starpilot" / "demonstrator.safetensors", "starpilot")
    played = score_policy(policy, split="test", episodes=16, seed=1, greedy=False, max_frames=200)
    assert policy.config.tolerance is None and played.returns.mean() > 5 * 1.6  # 1.6: random actions, to the end


@pytest.mark.parametrize("game", GAMES)
def test_the_bundled_decoder_tells_what_was_done_in_the_real_game(game, tmp_path):
    played = {"demonstrator": PRETRAINED / game / "demonstrator.safetensors", "native": True, "random_share": 0.0}
    store = collect(game, tmp_path, frames=800, seed=1, workers=1, max_episode_frames=200, **played)
    labeller, same = Labeller.from_pretrained(game), action_classes(store)
    episodes = [store.read(record) for record in store.episodes("val") + store.episodes("test")]
    told = np.concatenate([labeller.label(episode.frames).actions for episode in episodes])
    done = np.concatenate([episode.actions[:-1] for episode in episodes])
    report = json.loads((find_world(game) / "decoder.json").read_text())
    assert len(done) > 100 and (same[told] == same[done]).mean() > report["decoder"]["class_accuracy"] - 0.1


def test_the_policy_is_watched_in_the_real_game(run_example, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    out = run_example("watch_policy.py", "--episodes", "2", "--out", str(tmp_path / "policy.mp4"))
    assert out.startswith("returns [") and "on unseen levels, mean" in out
    assert imageio.imread(tmp_path / "policy.mp4", plugin="pyav").shape[2] == 2 * 64


def test_a_policy_is_cloned_from_videos_without_actions(run_example, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    out = ("--out", str(tmp_path / "clone.zip"), "--film", str(tmp_path / "clone.mp4"))
    told = run_example("clone_from_video.py", "--videos", "2", "--steps", "30", *out)
    assert "the player's return is" in told and "frames" in told
    assert PPO.load(tmp_path / "clone.zip", device="cpu").policy is not None
    assert imageio.imread(tmp_path / "clone.mp4", plugin="pyav").shape[3] == 3
