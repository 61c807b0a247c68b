"""Procgen under Stable-Baselines3, and how a policy is scored there."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")
pytest.importorskip("procgen")

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecTransposeImage

from flam_train.players.scores import evaluate_on_levels
from flam_train.sources.procgen.episodes import Game
from flam_train.sources.procgen.games import ACTIONS, SPLIT_LEVELS, TIME_LIMITS
from flam_train.sources.procgen.vec_env import ProcgenVecEnv
from flam_train.store.store import EpisodeStore


def played(env, steps: int, seed: int = 3):
    """First and all later pictures, rewards, dones and infos of random play."""
    random = np.random.default_rng(seed)
    first = env.reset()
    return first, [env.step(random.integers(0, ACTIONS, env.num_envs)) for _ in range(steps)]


class Chance:
    """A policy that draws its actions from torch's generator."""

    def predict(self, observations, deterministic=False):
        return torch.randint(0, ACTIONS, (len(observations),)).numpy(), None


@pytest.fixture
def fast():
    """Makes environments with native pictures, which are quick."""
    made = []

    def make(*arguments, **named):
        made.append(ProcgenVecEnv(*arguments, **({"native": True} | named)))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.mark.parametrize("native", [True, False])
def test_the_same_seed_gives_the_same_play_and_another_seed_another(fast, native):
    one, other = fast("starpilot", 3, seed=5, native=native), fast("starpilot", 3, seed=6, native=native)
    (first, steps), (different, _) = played(one, 12), played(other, 12)
    other.seed(5)
    for again, repeated in (played(other, 12), played(fast("starpilot", 3, seed=5, native=native), 12)):
        assert np.array_equal(again, first) and not np.array_equal(first, different)
        for step, repeat in zip(steps, repeated, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(step[:3], repeat[:3], strict=True))
            assert [info["level_seed"] for info in step[3]] == [info["level_seed"] for info in repeat[3]]


@pytest.mark.parametrize("split", SPLIT_LEVELS)
def test_levels_lie_in_the_range_of_the_split(fast, split):
    env = fast("bigfish", 7, split=split)
    _, steps = played(env, 200)
    levels = [info["level_seed"] for step in steps for info in step[3]]
    first, number = SPLIT_LEVELS[split]
    assert len(set(levels)) > 7 and all(first <= level < first + number for level in levels)


def test_pictures_are_those_of_a_collection():
    env, game = ProcgenVecEnv("bigfish", 2, split="val", size=128, seed=17), Game("bigfish", "val", seed=17, size=128)
    pictures = env.reset()
    assert pictures.shape == (2, 128, 128, 3) and pictures.dtype == np.uint8
    assert np.array_equal(pictures[0], game.frame()) and env.reset_infos[0]["level_seed"] == game.level_seed
    for action in (7, 7, 2):
        game.step(action)
        assert np.array_equal(env.step(np.array([action, 0]))[0][0], game.frame())
    assert np.array_equal(env.get_images()[0], game.frame())
    env.close()


def test_an_episode_that_ends_shows_its_last_picture_and_the_next_one_begins(fast):
    env = fast("bigfish", 5, seed=1)
    before, steps = played(env, 150)
    ends = 0
    for pictures, rewards, dones, infos in steps:
        assert rewards.dtype == np.float32 and dones.dtype == bool
        for row, info in enumerate(infos):
            assert ("terminal_observation" in info) == dones[row] and info["TimeLimit.truncated"] is False
            if dones[row]:
                ends += 1
                assert np.array_equal(info["terminal_observation"], before[row])
                assert not np.array_equal(pictures[row], before[row])
        before = pictures
    assert ends > 3


def test_the_end_of_time_is_a_truncation(fast):
    env = fast("leaper", 2)
    env.reset()
    still = np.full(2, 3)  # a frog that presses down stays where it begins
    for step in range(1, TIME_LIMITS["leaper"] + 1):
        _, _, dones, infos = env.step(still)
        assert dones.tolist() == [step == TIME_LIMITS["leaper"]] * 2
    assert all(info["TimeLimit.truncated"] for info in infos)


def test_films_run_at_the_speed_of_the_game(fast):
    assert fast("bigfish", 1).metadata == {"render_modes": ["rgb_array"], "render_fps": 15}


def test_reset_begins_new_episodes(fast):
    env = fast("leaper", 3)
    first = env.reset()
    levels = [info["level_seed"] for info in env.reset_infos]
    assert not np.array_equal(env.reset(), first)
    assert [info["level_seed"] for info in env.reset_infos] != levels


def test_sb3_wraps_learns_and_evaluates(fast):
    env = VecMonitor(fast("bigfish", 3, split="train", seed=4))
    model = PPO("CnnPolicy", env, n_steps=130, batch_size=39, n_epochs=1, seed=0)
    assert isinstance(model.get_env(), VecTransposeImage)
    model.learn(780)
    assert len(model.ep_info_buffer) > 0
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, deterministic=False, return_episode_rewards=True)
    assert len(returns) == 4 and min(lengths) > 0


def test_every_environment_plays_its_number_of_episodes(fast):
    env = fast("bigfish", 5, split="test")
    scores = evaluate_on_levels(Chance(), env, episodes_per_env=3, seed=8, videos=2)
    assert scores.returns.shape == scores.lengths.shape == (5, 3) and scores.lengths.min() > 0
    assert scores.mean == pytest.approx(scores.returns.mean())
    assert scores.standard_error == pytest.approx(scores.returns.std(ddof=1) / math.sqrt(15))
    assert [len(video) for video in scores.videos] == scores.lengths[:2, 0].tolist()
    assert all(video.dtype == np.uint8 and video.shape[1:] == (64, 64, 3) for video in scores.videos)
    monitored = evaluate_on_levels(Chance(), VecMonitor(env), episodes_per_env=3, seed=8)
    assert np.allclose(monitored.returns, scores.returns, atol=1e-5) and not monitored.videos


def test_scores_are_seeded_and_leave_the_generator_alone(fast):
    env = fast("bigfish", 4, split="test")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    scores = [evaluate_on_levels(Chance(), env, episodes_per_env=2, seed=seed) for seed in (8, 8, 9)]
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(scores[0].lengths, scores[1].lengths)
    assert not np.array_equal(scores[0].lengths, scores[2].lengths)
    assert math.isnan(evaluate_on_levels(Chance(), fast("bigfish", 1), episodes_per_env=1).standard_error)


@pytest.mark.parametrize("settings, native", [({}, False), ({"native": True}, True)])
def test_a_game_is_played_with_the_pictures_of_its_store(tmp_path, settings, native):
    store = EpisodeStore.create(tmp_path / "store", source="procgen/starpilot", size=64, settings=settings)
    env = ProcgenVecEnv.of_store(store, 3, split="val")
    assert (env.game, env.num_envs, env.split, env.size, env.native) == ("starpilot", 3, "val", 64, native)
    other = EpisodeStore.create(tmp_path / "other", source="video", size=64, settings={})
    with pytest.raises(ValueError, match="expected a store of bigfish, leaper, starpilot, got video; name one that"):
        ProcgenVecEnv.of_store(other)


def test_wrong_arguments_are_refused(fast):
    for named, message in (
        ({"game": "coinrun"}, "expected a game out of bigfish, leaper, starpilot, got 'coinrun'"),
        ({"split": "all"}, "expected a split of train, val, test.*got 'all'"),
        ({"num_envs": 0}, "num_envs >= 1"),
        ({"size": 65}, "expected a size out of 64, 128, 224"),
        ({"size": 128}, "expected size 64 for native pictures, got 128"),
        ({"seed": -1}, "0 <= seed"),
    ):
        with pytest.raises(ValueError, match=message):
            fast(**{"game": "bigfish"} | named)
    env = fast("bigfish", 2)
    env.reset()
    for actions in (np.array([1, 15]), np.array([-1, 0]), np.zeros(3, int), np.zeros(2)):
        with pytest.raises(ValueError, match=r"expected 2 integer actions in \[0, 14\]"):
            env.step(actions)
    for named in ({"episodes_per_env": 0}, {"videos": 3}, {"seed": -1}):
        with pytest.raises(ValueError, match=r"expected episodes_per_env >= 1, 0 <= videos <= 2 environments"):
            evaluate_on_levels(Chance(), env, **named)
