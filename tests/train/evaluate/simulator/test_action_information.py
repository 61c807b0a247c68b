"""Information between latent and real actions, where it is planted and known in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flam_env.dream.dream import Dream
from flam_env.worlds.loading import load_world
from flam_train.engine import FitConfig
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.report import format_report
from flam_train.evaluate.simulator import action_information as measure
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeStore

FIT = FitConfig(steps=200, batch_size=64, learning_rate=1e-2, weight_decay=0.01, ema=0.9, precision="fp32")
ACTIONS, COUNT, DIM = 5, 1500, 6
SHOWS, HIDES = "shows", "hides"


def planted(seed: int, state: str, latent: str) -> measure.Known:
    """Even actions in episodes of 30, which a state and a latent action show or hide."""
    random = torch.Generator().manual_seed(seed)
    actions = torch.randint(ACTIONS, (COUNT,), generator=random)

    def vectors(kind: str, size: int) -> Tensor:
        noise = torch.randn(COUNT, size, generator=random)
        if kind == SHOWS:
            noise[:, :ACTIONS] = one_hot(actions, ACTIONS) + 0.02 * noise[:, :ACTIONS]
        return noise

    episodes = np.arange(COUNT) // 30
    names = tuple(f"episode-{number}" for number in np.unique(episodes))
    at = Moments(split="train", names=names, episodes=episodes, frames=np.arange(COUNT) % 30)
    return measure.Known(
        vectors(state, DIM + 1), vectors(latent, DIM), LabelledTransitions(at=at, actions=actions.numpy())
    )


def information(state: str, latent: str) -> dict[str, float]:
    return measure.action_information(planted(0, state, latent), planted(1, state, latent), ACTIONS, fit=FIT)


def test_a_latent_action_that_determines_the_real_one_says_its_whole_entropy():
    scores = information(HIDES, SHOWS)
    assert scores["nats"] == pytest.approx(math.log(ACTIONS), abs=0.1)
    assert scores["action_entropy"] == pytest.approx(math.log(ACTIONS), abs=0.01)
    assert scores["accuracy"] > 0.99 and scores["state_accuracy"] < 0.3


def test_a_latent_action_that_knows_nothing_says_nothing():
    assert information(HIDES, HIDES)["nats"] == pytest.approx(0, abs=0.1)


def test_what_the_state_says_already_is_no_information():
    scores = information(SHOWS, SHOWS)
    assert scores["nats"] == pytest.approx(0, abs=0.05) and scores["state_accuracy"] > 0.99


def test_the_same_seed_gives_the_same_information():
    assert information(HIDES, SHOWS) == information(HIDES, SHOWS)


def test_a_report_tells_what_the_slot_of_the_player_says(trained, store, make_episode, monkeypatch, tmp_path):
    """Data of a game that is known, whose actions here are noise."""
    game = EpisodeStore.create(tmp_path / "game", source="procgen/bigfish", size=store.size, settings=store.settings)
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for record in store.episodes(split)[:6]:
            episode = make_episode(store.read_frames(record, 0, record.frames))
            game.write(split, replace(episode, actions=random.integers(0, 9, record.frames).astype(np.int16)))
    monkeypatch.setattr(measure, "FIT", replace(FIT, steps=20))
    asked = {"metrics": ("action_information",), "clips": 4, "horizon": 4, "out": tmp_path / "report.json"}
    report = evaluate(str(trained), game.root, **asked)
    scores = report["action_information"]
    assert scores["nats"] == pytest.approx(scores["state_cross_entropy"] - scores["cross_entropy"])
    assert 0 <= scores["player_slot"] < 3 and 2 < scores["action_entropy"] <= math.log(9)
    assert f"| nats | {scores['nats']:.4g} |" in format_report(report)


def test_data_without_known_actions_is_refused(trained, store):
    with pytest.raises(ValueError, match="number of real actions"):
        measure.information_scores(Dream(load_world(trained)), store, "test")
