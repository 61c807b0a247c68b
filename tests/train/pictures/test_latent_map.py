"""Maps of latent actions: who is on them, where, and in which colour."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch import Tensor

from flam_env.worlds.saving import save_world
from flam_env.worlds.units import ActionUnits
from flam_env.worlds.world import Starts, World
from flam_train.evaluate.rooms.clips import Seen
from flam_train.pictures.latent_map import LOOKS, draw_map, latent_map, project
from flam_train.sources.multigrid import RoomConfig, record_room_episode
from flam_train.store.store import EpisodeStore

EPISODES, FRAMES, AGENTS, SLOTS, LATENT = 8, 13, 3, 6, 7
PIXELS = (600, 700)


def world_that_keeps(world: World, kept: tuple[int, ...]) -> World:
    """A world of LATENT dimensions inside which shows these to its users."""
    starts, dim = world.starts, len(kept)
    units = ActionUnits(latent_dim=LATENT, kept=kept, scale=(0.25,) * dim)
    return replace(world, units=units, starts=Starts(starts.tokens, starts.actions[..., :dim], starts.bank[..., :dim]))


@pytest.fixture
def flat(tiny_world, tmp_path_factory) -> Path:
    """The directory of a world that keeps two latent dimensions."""
    directory = tmp_path_factory.mktemp("worlds") / "flat"
    save_world(directory, world_that_keeps(tiny_world, (2, 5)))
    return directory


@pytest.fixture
def rooms(make_episode, tmp_path) -> Path:
    """A store of rooms with one episode, which holds no truth."""
    settings = {"room": {**vars(RoomConfig(agents=AGENTS, cells=6)), "tied": []}}
    store = EpisodeStore.create(tmp_path / "rooms", source="multigrid", size=48, settings=settings)
    store.write("test", make_episode(np.zeros((3, 48, 48, 3), np.uint8)))
    return store.root


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen_agents() -> Seen:
    """Agent i is in slot 2 i, and its latent action tells what it does; nobody is ever blocked."""
    actions = torch.randint(4, (EPISODES, FRAMES, AGENTS), generator=torch.Generator().manual_seed(0))
    latent_actions = 4 * draw(EPISODES, FRAMES - 1, SLOTS, LATENT, seed=1)
    told = 3 * draw(4, LATENT, seed=2)[actions[:, :-1]] + 0.1 * draw(EPISODES, FRAMES - 1, AGENTS, LATENT, seed=3)
    latent_actions[:, :, ::2] = told
    positions = torch.arange(FRAMES)[None, :, None, None].expand(EPISODES, FRAMES, AGENTS, 2)
    owners = (2 * torch.arange(AGENTS)).expand(EPISODES, FRAMES, AGENTS).clone()
    return Seen(
        draw(EPISODES, FRAMES, SLOTS, 4, seed=4), owners, latent_actions, positions, actions.roll(1, 0), actions
    )


@pytest.fixture
def seen(monkeypatch) -> Seen:
    """What a world is said to see, whatever rooms it is shown; its parts may be changed."""
    seen = seen_agents()
    show(seen, monkeypatch)
    return seen


def show(seen: Seen, monkeypatch) -> None:
    """Lets every world see this; latent actions are of the model, and come in the units of the world."""

    def watch_rooms(dream, *_):
        return seen._replace(latent_actions=dream.units.from_model(seen.latent_actions))

    monkeypatch.setattr("flam_train.pictures.latent_map.watch_rooms", watch_rooms)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """Places, actions and title of each map that would have been drawn."""
    maps = []
    monkeypatch.setattr(
        "flam_train.pictures.latent_map.draw_map", lambda *arguments: maps.append(arguments) or b"a map"
    )
    return maps


def in_order(places: np.ndarray) -> np.ndarray:
    return places[np.lexsort(places.T)]


# --- who is on a map --------------------------------------------------------------------------------------------


def test_each_step_of_an_agent_is_a_point_in_units_of_its_own_slot(flat, rooms, seen, drawn, tmp_path):
    scores = latent_map(str(flat), rooms, out=tmp_path / "map.png")
    ((places, actions, title),) = drawn
    assert len(places) == len(actions) == EPISODES * (FRAMES - 1) * AGENTS
    expected = seen.latent_actions[:, :, ::2][..., [2, 5]].flatten(0, 2).numpy() / 0.25
    assert np.array_equal(in_order(places), in_order(expected))
    means = np.stack([places[actions == action].mean(0) for action in range(4)])
    assert np.abs(places - means[actions]).max() < 3, "points have the colours of others"
    assert scores["accuracy"] == 1 and scores["agents_left_out"] == 0 and 0.25 <= scores["floor"] < 0.5
    assert "probe: 100.0% right" in title and f"commonest action {scores['floor']:.1%}" in title


def test_agents_without_a_slot_of_their_own_are_not_on_the_map(flat, rooms, seen, drawn, tmp_path):
    seen.owners[..., 1] = 4  # the slot of agent 2
    seen.owners[:, 9:, 0] = -1
    scores = latent_map(str(flat), rooms, out=tmp_path / "map.png")
    ((places, _, title),) = drawn
    expected = seen.latent_actions[:, :9, 0][..., [2, 5]].flatten(0, 1).numpy() / 0.25
    assert np.array_equal(in_order(places), in_order(expected))
    left_out = 1 - 9 / (AGENTS * (FRAMES - 1))
    assert scores["agents_left_out"] == pytest.approx(left_out) and f"{left_out:.1%} of agents left out" in title


def test_a_blocked_move_is_drawn_as_still(flat, rooms, seen, drawn, tmp_path, monkeypatch):
    show(seen._replace(positions=torch.zeros_like(seen.positions)), monkeypatch)
    latent_map(str(flat), rooms, out=tmp_path / "map.png")
    assert set(drawn[0][1].tolist()) == {0, 1, 2}


def test_points_are_drawn_at_random_the_same_for_the_same_seed(flat, rooms, seen, tmp_path):
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        latent_map(str(flat), rooms, out=tmp_path / name, points=40, seed=seed)
    one, same, other = ((tmp_path / name).read_bytes() for name in ("one", "same", "other"))
    assert one == same != other


# --- pictures ---------------------------------------------------------------------------------------------------


@pytest.fixture
def titles(monkeypatch):
    """The titles of the maps that are drawn."""
    drawn = []

    def noted(places, done, title):
        drawn.append(title)
        return draw_map(places, done, title)

    monkeypatch.setattr("flam_train.pictures.latent_map.draw_map", noted)
    return drawn


@pytest.mark.parametrize("kept, words", [((4,), "one dimension"), ((2, 5), "two dimensions")])
def test_a_world_of_one_or_two_dimensions_is_drawn_without_umap(
    tiny_world, rooms, seen, tmp_path, monkeypatch, titles, kept, words
):
    monkeypatch.setitem(sys.modules, "umap", None)
    save_world(tmp_path / "world", world_that_keeps(tiny_world, kept))
    latent_map(str(tmp_path / "world"), rooms, out=tmp_path / "new" / "map.png")
    assert imageio.imread(tmp_path / "new" / "map.png").shape[:2] == PIXELS
    assert words in titles[0] and "linear probe: " in titles[0] and "UMAP" not in titles[0]


def test_more_dimensions_are_projected_with_umap(tiny_checkpoint, rooms, seen, tmp_path, titles):
    if not find_spec("umap"):
        pytest.skip("needs umap-learn: pip install 'flam-env[viz]'")
    latent_map(str(tiny_checkpoint), rooms, out=tmp_path / "map.png", points=90)
    assert imageio.imread(tmp_path / "map.png").shape[:2] == PIXELS
    assert "UMAP of the latent actions of agents, of 5 dimensions" in titles[0]
    points = seen.latent_actions[:, :, 0].flatten(0, 1).numpy()
    (one, _), (same, _) = project(points), project(points)
    assert one.shape == (EPISODES * (FRAMES - 1), 2) and np.array_equal(one, same)
    actions = seen.actions[:, :-1, 0].flatten().numpy()
    nearest = np.linalg.norm(one[:, None] - one[None], axis=-1) + 1e9 * np.eye(len(one))
    assert (actions[nearest.argmin(1)] == actions).mean() > 0.95


@pytest.mark.parametrize("dimensions", [1, 2])
def test_every_action_has_its_colour(dimensions):
    """Of four maps with one action each, that of an action has most of its colour; points let white through."""
    opaque = 255 * np.array([to_rgb(colour) for _, colour in LOOKS.values()])
    colours = opaque if dimensions == 1 else 0.7 * opaque + 0.3 * 255
    places = draw(400, dimensions, seed=0).numpy()
    maps = [imageio.imread(draw_map(places, np.full(400, action), "title")) for action in LOOKS]
    near = [[(np.abs(image[..., :3] - colour).max(-1) < 12).sum() for image in maps] for colour in colours]
    for action, pixels in enumerate(near):
        *others, most = sorted(pixels)
        assert pixels[action] == most > max(others) + 300


def test_a_world_is_shown_recorded_rooms(tiny_world, tmp_path):
    pytest.importorskip("gym_multigrid")
    room = RoomConfig(agents=AGENTS, cells=6)
    settings = {"room": {**vars(room), "tied": []}}
    store = EpisodeStore.create(tmp_path / "rooms", source="multigrid", size=48, settings=settings)
    for index in range(EPISODES):
        store.write("test", record_room_episode(room, seed=[7, index], size=48, frames=40))
    save_world(tmp_path / "world", world_that_keeps(tiny_world, (2, 5)))
    scores = latent_map(str(tmp_path / "world"), store.root, out=tmp_path / "map.png")
    assert imageio.imread(tmp_path / "map.png").shape[:2] == PIXELS
    assert 0 < scores["accuracy"] < 1 and 0 <= scores["agents_left_out"] < 1


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_a_store_without_rooms_is_refused(flat, make_store, tmp_path):
    squares = make_store(tmp_path / "squares", {"test": (2, 5)})
    with pytest.raises(ValueError, match="squares: expected rooms whose truth is known, got squares; name a store of"):
        latent_map(str(flat), squares.root, out=tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()


def test_too_few_points_are_refused(flat, rooms, seen, tmp_path):
    with pytest.raises(ValueError, match="expected points > 15, got 15"):
        latent_map(str(flat), rooms, out=tmp_path / "map.png", points=15)
    seen.owners[:] = 4
    seen.owners[0, :, 0] = 1
    with pytest.raises(ValueError, match=r"expected more than 15 steps of agents that have a slot of their own.*got"):
        latent_map(str(flat), rooms, out=tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()


def test_packages_that_are_missing_are_named_before_rooms_are_watched(tiny_checkpoint, rooms, tmp_path, monkeypatch):
    for package in ("umap", "matplotlib.figure"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ImportError, match=r"umap-learn and matplotlib .* pip install 'flam-env\[viz\]'"):
                latent_map(str(tiny_checkpoint), rooms, out=tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()


def test_a_disk_that_is_full_leaves_the_old_map(flat, rooms, seen, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "map.png").write_bytes(b"old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        latent_map(str(flat), rooms, out=tmp_path / "maps" / "map.png")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "maps").iterdir()] == [("map.png", b"old")]
