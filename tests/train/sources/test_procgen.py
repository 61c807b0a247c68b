import sys

import numpy as np
import pytest

from flam_train.players.chance import RandomAgent
from flam_train.sources.procgen.episodes import Game, record_episode
from flam_train.sources.procgen.games import ACTION_CLASS, GAMES, SPLIT_LEVELS, distinct_actions
from flam_train.sources.procgen.simulators import import_simulator, open_simulators, resize

pytest.importorskip("procgen")


def random_episode(split="train", seed=(0, 1), size=64, max_frames=12, game="bigfish"):
    agent = RandomAgent(game)
    return record_episode(game, split, agent, seed=list(seed), size=size, max_frames=max_frames)


def test_splits_share_no_level():
    ranges = [range(first, first + number) for first, number in SPLIT_LEVELS.values()]
    assert sum(map(len, ranges)) == len(set().union(*ranges))
    for split, levels in zip(SPLIT_LEVELS, ranges, strict=True):
        seeds = [random_episode(split, (0, index), max_frames=1).level_seed for index in range(8)]
        assert set(seeds) <= set(levels) and len(set(seeds)) > 4


def test_an_episode_is_the_same_again_and_another_with_another_seed():
    first, again, other = random_episode(), random_episode(), random_episode(seed=(0, 2))
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.actions, again.actions)
    assert first.level_seed == again.level_seed != other.level_seed


def test_an_episode_stops_before_the_next_level_begins():
    whole = random_episode(max_frames=1000)
    assert whole.terminated and len(whole.frames) < 1000
    assert len(whole.frames) == len(whole.actions) == len(whole.rewards)
    cut = random_episode(max_frames=len(whole.frames))
    assert cut.terminated and not random_episode(max_frames=len(whole.frames) - 1).terminated
    jumps = np.abs(np.diff(whole.frames.astype(float), axis=0)).mean((1, 2, 3))
    assert jumps.max() < 12  # a new level replaces most of what is to be seen


@pytest.mark.parametrize("size", [64, 128, 224])
def test_frames_have_the_size_asked_for(size):
    frames = random_episode(size=size, max_frames=2).frames
    assert frames.shape == (2, size, size, 3) and frames.dtype == np.uint8 and frames.max() > 100


def test_resizing_averages_areas():
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    for size in (64, 128):
        mean = picture.reshape(size, 512 // size, size, 512 // size, 3).mean((1, 3))
        assert np.abs(resize(picture, size) - mean).max() <= 0.5 + 1e-9
    constant = np.full((512, 512, 3), 77, dtype=np.uint8)
    assert (resize(constant, 224) == 77).all()


@pytest.mark.parametrize("game", GAMES)
def test_merged_actions_do_the_same(game):
    raw = open_simulators(game, 15, first_level=0, levels=1, seed=0, render=False)
    for steps in (0, 7, 20):
        for _ in range(steps):
            raw.act(np.full(15, 8, dtype=np.int32))
        raw.callmethod("set_state", [raw.callmethod("get_state")[0]] * 15)
        raw.act(np.arange(15, dtype=np.int32))
        for _ in range(4):
            raw.act(np.full(15, 4, dtype=np.int32))
        pictures = raw.observe()[1]["rgb"]
        for action, merged in enumerate(ACTION_CLASS[game]):
            assert np.array_equal(pictures[action], pictures[merged]), (steps, action)
    raw.close()


@pytest.mark.parametrize(("game", "number"), [("bigfish", 9), ("leaper", 5), ("starpilot", 11)])
def test_the_random_agent_takes_every_distinct_action_and_sticks_to_it(game, number):
    agent = RandomAgent(game)
    agent.begin(np.random.default_rng(0))
    actions = np.array([agent.act(None) for _ in range(2000)])
    assert len(distinct_actions(game)) == number == len(np.unique(actions))
    repeated = np.mean(actions[1:] == actions[:-1])
    assert abs(repeated - (0.75 + 0.25 / number)) < 0.05


def test_importing_the_simulator_leaves_the_search_path_alone():
    before = list(sys.path)
    import_simulator()
    assert sys.path == before


def test_unknown_games_and_sizes_are_refused():
    with pytest.raises(ValueError, match="bigfish, leaper, starpilot, got 'coinrun'"):
        Game("coinrun", "train", seed=0, size=64)
    with pytest.raises(ValueError, match="64, 128, 224 pixels, got 65"):
        Game("bigfish", "train", seed=0, size=65)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "procgen", None)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[procgen\]'"):
        import_simulator()


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    def no_library(**arguments):
        raise OSError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr("procgen.ProcgenGym3Env", no_library)
    with pytest.raises(ImportError, match=r"libGL\.so\.1.*apt-get install libgl1 libglib2\.0-0"):
        Game("bigfish", "train", seed=0, size=64)
