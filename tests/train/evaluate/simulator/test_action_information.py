"""Information between latent and real actions, where it is planted and known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flam_train.engine import FitConfig
from flam_train.evaluate.simulator.action_information import Known, action_information
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.store.moments import Moments

FIT = FitConfig(steps=200, batch_size=64, learning_rate=1e-2, weight_decay=0.01, ema=0.9, precision="fp32")
ACTIONS, COUNT, DIM = 5, 1500, 6
SHOWS, HIDES = "shows", "hides"


def planted(seed: int, state: str, latent: str) -> Known:
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
    return Known(vectors(state, DIM + 1), vectors(latent, DIM), LabelledTransitions(at=at, actions=actions.numpy()))


def information(state: str, latent: str) -> dict[str, float]:
    return action_information(planted(0, state, latent), planted(1, state, latent), ACTIONS, fit=FIT)


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
