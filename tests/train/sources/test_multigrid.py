import sys
from itertools import combinations
from types import ModuleType

import numpy as np
import pytest

from flam_train.cli import main
from flam_train.sources import multigrid
from flam_train.sources.collect import collect
from flam_train.sources.multigrid import (
    FORWARD,
    LEFT,
    PALETTE,
    RIGHT,
    STILL,
    Room,
    RoomConfig,
    check_room_size,
    record_room_episode,
)
from flam_train.store.store import Episode, EpisodeStore

pytest.importorskip("gym_multigrid")
STEP = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # right, down, left, up
FOUR = RoomConfig()
CROWD = RoomConfig(agents=7, cells=5)  # of 9 free cells


def episode(config=FOUR, seed=(0, 1), size=64, frames=40):
    return record_room_episode(config, seed=list(seed), size=size, frames=frames)


def seen(frame: np.ndarray, cells: int) -> dict[tuple[int, int], tuple[tuple[int, int, int], int]]:
    """What a picture shows: cell (x, y) -> colour and direction of the agent in it."""
    side, agents = len(frame) // cells, {}
    for x in range(cells):
        for y in range(cells):
            cell = frame[y * side : (y + 1) * side, x * side : (x + 1) * side].astype(int)
            for colour in PALETTE.values():
                rows, columns = np.nonzero((cell == colour).all(-1))
                if len(rows):  # a triangle's mass lies behind the middle of its cell
                    ahead = (side - 1) / 2 - np.array([columns.mean(), rows.mean()])
                    agents[x, y] = (colour, int(np.argmax(STEP @ ahead)))
    return agents


def assert_same(first: Episode, second: Episode, *, but: tuple[str, ...] = ()) -> None:
    one, other = ({**vars(e), **e.truth} for e in (first, second))
    for key in one.keys() - {"truth", *but}:
        same = np.array_equal(one[key], other[key]) and getattr(one[key], "dtype", 0) == getattr(other[key], "dtype", 0)
        assert same, key


# --- seeds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", ["distinct", "per-episode"])
def test_an_episode_is_the_same_again_and_another_with_another_seed(colours):
    config = RoomConfig(agents=5, colours=colours)
    first, other = episode(config), episode(config, seed=(0, 2))
    np.random.seed(3)
    assert_same(first, episode(config))
    assert first.level_seed != other.level_seed
    for key in ("positions", "directions"):
        assert not np.array_equal(first.truth[key], other.truth[key])
    assert not np.array_equal(first.actions, other.actions)


def test_a_room_replays_its_episode():
    recorded = episode(CROWD, size=40)
    room = Room(CROWD, seed=recorded.level_seed, size=40)
    for time, actions in enumerate(recorded.actions):
        assert np.array_equal(room.frame(), recorded.frames[time])
        room.step(actions)


def test_colours_change_no_motion_and_ties_no_other_agent():
    plain = episode(RoomConfig(agents=5))
    for colours in ("same", "per-episode"):
        assert_same(plain, episode(RoomConfig(agents=5, colours=colours)), but=("frames",))
    tied = episode(RoomConfig(agents=5, tied=(1, 3)))
    assert np.array_equal(np.delete(tied.actions, 3, axis=1), np.delete(plain.actions, 3, axis=1))


def test_pictures_of_other_worlds_do_not_get_in():
    from gym_multigrid.core.grid import Grid

    before = episode(frames=2)
    for picture in (multigrid._empty_room, multigrid._agent_picture):
        picture.cache_clear()
    for cells in Grid.tile_cache.values():
        cells[:] = 77
    assert_same(before, episode(frames=2))


# --- motion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [FOUR, CROWD, RoomConfig(agents=16, cells=16)])
def test_agents_keep_off_walls_and_each_other(config):
    recorded = episode(config, size=16 * config.cells, frames=150)
    positions, directions = recorded.truth["positions"], recorded.truth["directions"]
    assert positions.shape == (150, config.agents, 2) and positions.dtype == np.int16
    assert directions.shape == (150, config.agents) and directions.dtype == np.int8
    assert positions.min() == 1 and positions.max() == config.cells - 2
    assert set(directions.flat) == {0, 1, 2, 3} == set(recorded.actions.flat)
    for places in positions:
        assert len({tuple(place) for place in places}) == config.agents


@pytest.mark.parametrize("config", [FOUR, CROWD])
def test_actions_do_what_they_are_called_and_blocked_agents_stay(config):
    recorded = episode(config, size=8 * config.cells, frames=200)
    positions, directions = recorded.truth["positions"].astype(int), recorded.truth["directions"].astype(int)
    turned, moved = np.diff(directions, axis=0) % 4, np.diff(positions, axis=0)
    action, heading = recorded.actions[:-1], STEP[directions[:-1]]
    for kind, turn in ((STILL, 0), (LEFT, 3), (RIGHT, 1), (FORWARD, 0)):
        assert (turned[action == kind] == turn).all() and (action == kind).any()
    assert not moved[action != FORWARD].any()
    walked = moved.any(-1)
    assert np.array_equal(moved[walked], heading[walked])
    blocked = np.argwhere((action == FORWARD) & ~walked)
    assert len(blocked) > 10 and walked.sum() > 10
    for time, agent in blocked:
        ahead = positions[time, agent] + heading[time, agent]
        wall = not (ahead.min() > 0 and ahead.max() < config.cells - 1)
        assert wall or (positions[time : time + 2] == ahead).all(-1).any()


def test_a_room_moves_and_looks_like_gym_multigrids_own_environment(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    from gym_multigrid.core.agent import SmallActions
    from gym_multigrid.multigrid import MultiGridEnv

    assert [SmallActions.still, SmallActions.left, SmallActions.right, SmallActions.forward] == [0, 1, 2, 3]
    room, twin = (Room(CROWD, seed=5, size=80) for _ in range(2))
    upstream = MultiGridEnv(twin._agents, grid_size=5, actions_set=SmallActions, world=multigrid._world())
    upstream.grid, upstream.step_count = twin._grid, 0
    monkeypatch.setattr(np.random, "permutation", twin._rng.permutation)
    for actions in np.random.default_rng(0).integers(4, size=(60, 7)):
        room.step(actions)
        upstream.step(actions)
        assert np.array_equal(room.positions, twin.positions) and np.array_equal(room.directions, twin.directions)
        assert np.array_equal(room.frame(), upstream.render(tile_size=16))


def test_agents_choose_each_action_equally_often_and_tied_ones_alike():
    recorded = episode(RoomConfig(agents=6, tied=(1, 4, 5)), frames=4000)
    actions = recorded.actions
    assert actions.dtype == np.int16 and actions.shape == (4000, 6)
    assert np.abs(np.stack([(actions == kind).mean(0) for kind in range(4)]) - 0.25).max() < 0.04
    for one, other in combinations(range(6), 2):
        agreement = (actions[:, one] == actions[:, other]).mean()
        assert agreement == 1 if {one, other} <= {1, 4, 5} else abs(agreement - 0.25) < 0.04
    turns = np.diff(recorded.truth["directions"], axis=0) % 4
    assert np.array_equal(turns[:, 1], turns[:, 4])  # places stay their own: one may be blocked
    assert not np.array_equal(recorded.truth["positions"][:, 1], recorded.truth["positions"][:, 4])


# --- pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (FOUR, 64),
        (RoomConfig(colours="per-episode"), 128),
        (RoomConfig(colours="same"), 64),
        (RoomConfig(agents=16, cells=16), 128),
    ],
)
def test_agents_are_drawn_where_they_are_and_as_they_look(config, size):
    recorded = episode(config, size=size, frames=12)
    assert recorded.frames.shape == (12, size, size, 3) and recorded.frames.dtype == np.uint8
    colours = [PALETTE[name] for name in Room(config, seed=recorded.level_seed, size=size).colours]
    places = recorded.truth["positions"].tolist()
    for frame, cells, directions in zip(recorded.frames, places, recorded.truth["directions"].tolist(), strict=True):
        agents = zip(cells, colours, directions, strict=True)
        assert seen(frame, config.cells) == {tuple(cell): (colour, look) for cell, colour, look in agents}


def test_the_smallest_cells_still_tell_directions_apart():
    pictures = [multigrid._agent_picture("navy", direction, multigrid.SMALLEST_CELL) for direction in range(4)]
    for one, other in combinations(pictures, 2):
        assert np.abs(one.astype(int) - other).max() > 50


def test_colours_are_distinct_or_the_same_or_new_in_each_episode():
    def colours(kind, seed=0, agents=4):
        return Room(RoomConfig(agents=agents, colours=kind), seed=seed, size=64).colours

    assert len(set(colours("distinct", agents=16))) == 16 and colours("distinct") == colours("distinct", seed=1)
    assert len(set(colours("same", agents=16))) == 1 and colours("same") == colours("same", seed=1)
    drawn = [colours("per-episode", seed) for seed in range(30)]
    assert all(len(set(names)) == 4 for names in drawn)
    assert len(set(drawn)) > 25 and {name for names in drawn for name in names} == set(PALETTE)


def test_no_two_colours_look_alike():
    shown = [*PALETTE.values(), (0, 0, 0), (100, 100, 100)]  # floor and walls too
    assert min(np.linalg.norm(np.subtract(one, other)) for one, other in combinations(shown, 2)) > 80


# --- collections ------------------------------------------------------------------------------------------------

COLLECTED = RoomConfig(agents=3, tied=(0, 2), colours="per-episode")


def collect_rooms(out, **changes):
    arguments = {"frames": 600, "workers": 1, "max_episode_frames": 30, "room": COLLECTED}
    return collect("multigrid", out, **{**arguments, **changes})


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    return collect_rooms(tmp_path_factory.mktemp("collected") / "store")


def test_a_collection_holds_what_was_asked_for(collected):
    assert [collected.frames(split) for split in collected.splits] == [480, 60, 60]
    records = [record for split in collected.splits for record in collected.episodes(split)]
    assert {(record.frames, record.agent) for record in records} == {(30, "random")}
    assert len({record.level_seed for record in records}) == len(records) == 20
    assert collected.source == "multigrid"
    assert collected.settings["room"] == {"agents": 3, "tied": [0, 2], "colours": "per-episode", "cells": 8}


def test_the_truth_is_read_back(collected):
    store = EpisodeStore.open(collected.root)
    recorded = episode(COLLECTED, seed=(0, 1, 1, 1), frames=30)  # seed, val, random, second episode
    assert_same(store.read(store.episodes("val")[1]), recorded)
    assert set(recorded.truth) == {"positions", "directions"}


def test_interruptions_and_workers_change_nothing(collected, tmp_path):
    store = collect_rooms(tmp_path / "store", frames=200, workers=2)
    assert contents(store.root).items() < contents(collected.root).items()
    store.episodes("train")[2].path.unlink()
    collect_rooms(store.root, workers=2)
    assert contents(store.root) == contents(collected.root)


@pytest.mark.parametrize("tied", ["0 2", "0,2"])
def test_the_command_does_the_same(collected, tmp_path, tied):
    options = (
        f"--agents 3 --tied {tied} --colours per-episode --cells 8 --frames 600 --max-episode-frames 30 --workers 1"
    )
    main(["collect", "multigrid", "--out", str(tmp_path / "store"), *options.split()])
    assert contents(tmp_path / "store") == contents(collected.root)


def test_an_episode_of_a_room_has_100_frames_unless_said_otherwise(tmp_path):
    store = collect_rooms(tmp_path / "store", frames=10, max_episode_frames=None)
    assert [store.frames(split) for split in store.splits] == [100, 100, 100]


@pytest.mark.parametrize("change", [{"seed": 1}, {"room": RoomConfig(agents=3)}, {"size": 128}])
def test_a_collection_of_another_room_is_refused(collected, change):
    before = contents(collected.root)
    with pytest.raises(ValueError, match="another folder"):
        collect_rooms(collected.root, **change)
    assert contents(collected.root) == before


def test_truth_that_does_not_fit_is_refused(tmp_path):
    store = EpisodeStore.create(tmp_path / "store", source="multigrid", size=64, settings={})
    good = episode(frames=5)
    for name, array in (("places", np.zeros((4, 2))), ("places", np.array(["a"] * 5)), ("a/b", np.zeros(5))):
        with pytest.raises(ValueError, match="expected truth of numbers"):
            store.write("train", Episode(**{**vars(good), "truth": {name: array}}))
    with pytest.raises(ValueError, match="expected actions int16"):
        store.write("train", Episode(**{**vars(good), "actions": np.zeros((5, 4, 2), np.int16)}))
    assert not any(store.root.glob("**/*.h5"))


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": 1}, "expected 2 to 16 agents, got 1"),
        ({"agents": 17, "cells": 16}, "expected 2 to 16 agents, got 17"),
        ({"agents": 10, "cells": 5}, "at most 9 agents, one for each free cell of 5 x 5, got 10"),
        ({"cells": 0}, "at most 0 agents"),
        ({"tied": (0,)}, r"at least two different agents of 0 to 3 that are tied, got \(0,\)"),
        ({"tied": (1, 1)}, "two different agents"),
        ({"tied": (0, 4)}, "agents of 0 to 3"),
        ({"tied": (-1, 0)}, "agents of 0 to 3"),
        ({"colours": "red"}, "distinct, same, per-episode, got 'red'"),
    ],
)
def test_impossible_rooms_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RoomConfig(**options)


def test_impossible_sizes_and_actions_are_refused():
    for size, cells in ((65, 8), (16, 8), (0, 8), (100, 16)):
        with pytest.raises(ValueError, match=f"multiple of {cells} cells as size.*got {size}"):
            check_room_size(size, cells)
    room = Room(FOUR, seed=0, size=64)
    for actions in ([0, 0, 0], [0, 0, 0, 4], [0, -1, 0, 0]):
        with pytest.raises(ValueError, match="expected 4 actions of 0 to 3"):
            room.step(actions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"game": "bigfish", "room": RoomConfig(agents=3)}, "for multigrid only, got RoomConfig.*for bigfish"),
        ({"game": "bigfish", "room": RoomConfig()}, "for multigrid only, got RoomConfig.*for bigfish"),
        ({"game": "multigrid", "random_share": 0.3}, "for games of Procgen only, got 0.3"),
        ({"game": "multigrid", "size": 65}, "multiple of 8 cells"),
        ({"game": "multigrid", "max_episode_frames": 0}, "max_episode_frames >= 1"),
        ({"game": "minigrid"}, "bigfish, leaper, starpilot, multigrid or synthetic-drive, got 'minigrid'"),
    ],
)
def test_options_that_do_not_fit_the_source_are_refused_and_leave_no_folder(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        collect(**{"out": tmp_path / "store", **arguments})
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "option", [["--agents", "4"], ["--tied"], ["--tied", "0,1"], ["--colours", "distinct"], ["--cells", "8"]]
)
def test_options_of_a_room_are_refused_for_a_game_even_where_they_are_the_default(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["collect", "bigfish", "--out", str(tmp_path / "store"), *option])
    assert "expected --agents, --tied, --colours and --cells for multigrid only" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gym_multigrid.core.agent", None)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[multigrid\]'"):
        collect("multigrid", tmp_path / "store")
    assert not (tmp_path / "store").exists()
