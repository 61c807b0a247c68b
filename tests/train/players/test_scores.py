"""How episodes are counted, in a game whose outcome is known."""

import numpy as np
import pytest

from flam_train.players.scores import LevelScores, evaluate_on_levels

LENGTHS = (2, 5, 3)  # of the episodes in each of three environments


class Known:
    """Pays what is done; shows each environment's number and step."""

    num_envs = len(LENGTHS)

    def seed(self, seed):
        self.seeded = seed

    def reset(self):
        self.steps = np.zeros(3, int)
        return self._show()

    def _show(self):
        return np.stack([np.arange(3), self.steps], 1)

    def step(self, actions):
        self.steps += 1
        dones = self.steps == LENGTHS
        self.steps[dones] = 0
        return self._show(), actions.astype(np.float32), dones, [{}] * 3

    def get_images(self):
        return list(self._show())


class Counting:
    """Does 1, 2, 3, ... and remembers what it was shown."""

    def __init__(self):
        self.shown = []

    def predict(self, observations, deterministic=False):
        self.shown.append(observations)
        return np.full(len(observations), len(self.shown)), None


def test_every_episode_counts_once_however_short_it_is():
    player, env = Counting(), Known()
    scores = evaluate_on_levels(player, env, episodes_per_env=2, seed=7, videos=1)
    assert scores.lengths.tolist() == [[2, 2], [5, 5], [3, 3]] and env.seeded == 7
    assert scores.returns.tolist() == [[1 + 2, 3 + 4], [15, 40], [1 + 2 + 3, 4 + 5 + 6]]
    assert [len(shown) for shown in player.shown] == [3] * 10 and len(scores.videos[0]) == 2
    assert scores.summary()["episodes"] == 6 and "standard error of 6 episodes" in str(scores)


def test_who_has_played_their_episodes_idles_where_that_is_wanted():
    player = Counting()
    scores = evaluate_on_levels(player, Known(), episodes_per_env=1, idle=100)
    assert [shown[:, 0].tolist() for shown in player.shown] == [[0, 1, 2]] * 2 + [[1, 2], [1], [1]]
    assert scores.returns.tolist() == [[3], [15], [6]]


def test_play_ends_after_so_many_steps_and_counts_what_was_played():
    scores = evaluate_on_levels(Counting(), Known(), episodes_per_env=1, idle=0, max_steps=3)
    assert scores.lengths.tolist() == [[2], [3], [3]] and scores.returns.tolist() == [[3], [6], [6]]


def test_one_episode_cannot_tell_how_far_its_return_is_off():
    one = LevelScores(returns=np.ones((1, 1)), lengths=np.ones((1, 1), int), seconds=1.0)
    two = LevelScores(returns=np.array([[1.0], [3.0]]), lengths=np.ones((2, 1), int), seconds=1.0)
    assert np.isnan(one.standard_error) and two.standard_error == pytest.approx(1.0)
