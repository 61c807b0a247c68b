"""Rooms drawn by the simulator, and dreams of them that know the answer, stand still, or make known mistakes."""

import json
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.models.action_spaces import ContinuousActions
from flam_env.models.dynamics import LatentActions
from flam_env.video.frames import to_float, to_uint8
from flam_env.worlds.units import ActionUnits, UnitConversion
from flam_train.evaluate.evaluate import Metric, OfRooms, evaluate
from flam_train.evaluate.report import format_report, read_report
from flam_train.evaluate.rooms.clips import RoomClips, draw_room_clips, find_room, owning_slots, watch_rooms
from flam_train.evaluate.rooms.exactness import (
    EMPTY,
    UNCLEAR,
    distances,
    exactness_scores,
    find_looks,
    read_cells,
    shows_whole_agents,
    true_cells,
)
from flam_train.evaluate.rooms.independence import independence_scores, moves_one_agent, reachable_cells
from flam_train.sources.multigrid import Room, RoomConfig, cell_pictures, record_room_episode
from flam_train.store.clips import draw_clips
from flam_train.store.store import Episode, EpisodeStore

pytest.importorskip("gym_multigrid")
DISTINCT = RoomConfig(agents=3, cells=6)
SIZE = 48  # 8 pixels per cell
FRAMES = 9


def store_of_rooms(root, room: RoomConfig = DISTINCT, size: int = SIZE, lengths=(FRAMES,) * 5) -> EpisodeStore:
    settings = {"seed": 0, "max_episode_frames": max(lengths), "room": {**vars(room), "tied": list(room.tied)}}
    store = EpisodeStore.create(root, source="multigrid", size=size, settings=settings)
    for index, length in enumerate(lengths):
        store.write("test", record_room_episode(room, seed=[7, index], size=size, frames=length))
    return store


@pytest.fixture(scope="module", params=["distinct", "per-episode", "same"])
def rooms(request, tmp_path_factory) -> RoomClips:
    room = RoomConfig(agents=3, cells=6, colours=request.param)
    return draw_room_clips(store_of_rooms(tmp_path_factory.mktemp("stores") / "rooms", room), "test", 5, FRAMES)


@pytest.fixture(scope="module")
def room_store(tmp_path_factory) -> EpisodeStore:
    return store_of_rooms(tmp_path_factory.mktemp("stores") / "rooms")


@pytest.fixture(scope="module")
def clips(room_store) -> RoomClips:
    return draw_room_clips(room_store, "test", 5, FRAMES)


# --- clips and what a world sees --------------------------------------------------------------------------------


def test_clips_of_rooms_are_those_of_pixels_with_the_truth_of_their_frames(room_store):
    plain, clips = draw_clips(room_store, "test", 6, 4, seed=3), draw_room_clips(room_store, "test", 6, 4, seed=3)
    assert np.array_equal(plain.frames, clips.frames) and plain.agents == clips.agents
    assert clips.positions.shape == (6, 4, 3, 2) and clips.directions.shape == clips.actions.shape == (6, 4, 3)
    looks = find_looks(clips)
    seen = read_cells(torch.from_numpy(clips.frames), looks.tiles)
    assert torch.equal(seen, true_cells(clips.positions, clips.directions, looks.colours, 6))


def test_a_world_is_shown_whole_episodes(tiny_world, tmp_path):
    store, dream = store_of_rooms(tmp_path / "rooms", lengths=(7, 11, 7, 8)), Dream(tiny_world)
    seen = watch_rooms(dream, store, "test", frames=1000)
    assert seen.slots.shape == (4, 7, 6, 16) and seen.latent_actions.shape == (4, 6, 6, 5)
    assert seen.owners.shape == seen.actions.shape == (4, 7, 3) and seen.positions.shape == (4, 7, 3, 2)
    episode = store.read(store.episodes("test")[1])
    watched = dream.model.observe(dream.encode(episode.frames[:7])[None])
    assert torch.allclose(seen.slots[1], watched.slots[0], atol=1e-5)
    in_units = dream.units.from_model(dream.model.infer(watched).mean)
    assert torch.allclose(seen.latent_actions[1], in_units[0], atol=1e-5)
    x, y = episode.truth["positions"][5, 2].tolist()
    assert seen.owners[1, 5, 2] == watched.masks[0, 5, :, y * 6 + x].argmax()  # as many cells in a mask as in a room
    assert np.array_equal(seen.actions[1], episode.actions[:7])
    assert len(watch_rooms(dream, store, "test", frames=15).slots) == 3


@pytest.mark.parametrize("side", [3, 6, 12])
def test_the_owner_of_an_agent_has_most_of_its_cell(side):
    masks = torch.full((2, 3, side, side), 0.2)
    masks[0, 1, : side // 3] = 0.5  # the upper two rows of cells
    masks[1, 2, :, side // 3 * 2 :] = 0.5  # the right two columns
    masks /= masks.sum(1, keepdim=True)
    positions = torch.tensor([[[4, 1], [1, 4]], [[4, 1], [1, 4]]])
    assert owning_slots(masks.flatten(2), positions, 6).tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize("side", [3, 6, 12])
def test_an_agent_whose_cell_is_mostly_the_sinks_has_no_owner(side):
    masks = torch.full((1, 4, side, side), 0.22)  # the sink has less than any slot
    masks[0, :, : side // 3] = 0.15  # and more than any in the upper two rows of cells
    positions = torch.tensor([[[4, 1], [1, 4], [0, 0]]])
    assert owning_slots(masks.flatten(2), positions, 6).tolist() == [[-1, 0, -1]]


# --- reading frames ---------------------------------------------------------------------------------------------


def test_what_a_tokenizer_loses_does_not_hide_an_agent(rooms):
    looks = find_looks(rooms)
    true = true_cells(rooms.positions, rooms.directions, looks.colours, 6)
    noise = torch.randint(-15, 16, rooms.frames.shape, generator=torch.Generator().manual_seed(0))
    noisy = (torch.from_numpy(rooms.frames).int() + noise).clamp(0, 255).byte()
    for clear in (False, True):
        assert torch.equal(read_cells(noisy, looks.tiles, clear), true)
    assert shows_whole_agents(true, looks.colours).all()


@pytest.mark.parametrize("half", [(slice(4), slice(8)), (slice(4, 8), slice(8)), (slice(8), slice(4))])
def test_half_an_agent_is_unclear_and_no_agent_whole(clips, half):
    looks, frames = find_looks(clips), torch.from_numpy(clips.frames).clone()
    x, y = (8 * clips.positions[2, 4, 1]).tolist()
    frames[2, 4, y : y + 8, x : x + 8][half] = looks.tiles[2, EMPTY][half]
    clear = read_cells(frames, looks.tiles, clear=True)
    assert (clear == UNCLEAR).sum() == 1 and clear[2, 4, y // 8 - 1, x // 8 - 1] == UNCLEAR
    whole = shows_whole_agents(clear, looks.colours)
    assert not whole[2, 4] and whole.sum() == whole.numel() - 1


@pytest.mark.parametrize("change", ["lost", "doubled", "recoloured"])
def test_the_wrong_agents_are_not_the_right_ones_wherever_they_are(rooms, change):
    looks = find_looks(rooms)
    seen = true_cells(rooms.positions, rooms.directions, looks.colours, 6)[:, :2]
    moved = seen.flip(2)
    assert shows_whole_agents(moved, looks.colours).all() and (moved != seen).any()
    agent, empty = (seen[1, 1] > 0).nonzero()[0], (seen[1, 1] == EMPTY).nonzero()[0]
    if change == "doubled":
        seen[1, 1][*empty] = seen[1, 1][*agent]
    else:
        other = (seen[1, 1][*agent] + 4) % 12 + (seen[1, 1][*agent] == 8) * 12
        seen[1, 1][*agent] = {"lost": EMPTY, "recoloured": int(other)}[change]
    assert shows_whole_agents(seen, looks.colours).tolist() == [[True, True], [True, False]] + [[True, True]] * 3


def test_distances_are_counted_along_the_axes():
    seen = torch.zeros(1, 2, 4, 5).long()
    seen[0, 0, 2, 3] = 1 + 4 * 1 + 2  # colour 1 in cell (4, 3)
    seen[0, 1, 0, 0] = 1 + 4 * 1
    seen[0, 1, 3, 4] = 1 + 4 * 1  # seen twice: the mean counts
    seen[0, 1, 1, 1] = 1
    positions = torch.tensor([[[[1, 1], [1, 2]], [[2, 2], [1, 1]]]])
    found = distances(seen, positions, torch.tensor([[0, 1]]))
    assert found[0, 0, 0].isnan() and found[0, 0, 1] == 3 + 1
    assert found[0, 1].tolist() == [0, 7 / 2]


# --- rollouts ---------------------------------------------------------------------------------------------------


class PixelRoom:
    """A dream whose tokens are pixels and whose one action is the change of each; none is sampled.

    Args:
        oracle: whether it does what the action says, or stands still.
        lost: an area of the frame (rows, columns) that is black from the second predicted step on.
    """

    device = torch.device("cpu")

    learns_prior = False

    def __init__(self, oracle: bool = True, lost: tuple[slice, slice] | None = None):
        size = SIZE * SIZE * 3
        self.oracle, self.lost, self.actions = oracle, lost, ContinuousActions(slots=1, dim=size)
        self.world = SimpleNamespace(
            settings=SimpleNamespace(context=2),
            units=ActionUnits(latent_dim=size, kept=tuple(range(size)), scale=(100.0,) * size),
            starts=SimpleNamespace(bank=torch.zeros(4, 1, size)),
        )
        self.model = self.tokenizer = self
        self.units = UnitConversion(self.world.units)

    def without_laws(self) -> "PixelRoom":
        return self

    def encode(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames).flatten(1).long()

    def decode(self, tokens: Tensor) -> Tensor:
        return to_float(tokens.view(-1, SIZE, SIZE, 3).byte())

    def observe(self, tokens: Tensor) -> SimpleNamespace:
        return SimpleNamespace(slots=tokens)

    def infer(self, observed: SimpleNamespace) -> LatentActions:
        tokens = observed.slots
        mean = (tokens[:, 1:] - tokens[:, :-1]).float()[:, :, None]
        return LatentActions(mean, torch.zeros_like(mean))

    def reset(self, context: Tensor) -> SimpleNamespace:
        return SimpleNamespace(tokens=context[:, -1], steps=1)

    def step(self, state: SimpleNamespace, actions: Tensor, chance=None) -> tuple[SimpleNamespace, Tensor]:
        tokens, steps = state.tokens, state.steps
        if self.oracle:
            tokens = (tokens + self.units.to_model(actions)[:, 0].round().long()).clamp(0, 255)
        frames = to_uint8(self.decode(tokens))
        if self.lost and steps > 1:
            frames[:, *self.lost] = 0
        return SimpleNamespace(tokens=tokens, steps=steps + 1), frames


def test_a_dream_that_knows_the_answer_is_exact(rooms):
    scores = exactness_scores(PixelRoom(), rooms)
    for name in ("frames_right", "rollouts_right", "recon_right", "dreams_whole", "recon_whole"):
        assert scores[name] == 1
    assert scores["copy_last_right"] < 0.1
    assert scores["per_step"]["frames_right"] == scores["per_step"]["dreams_whole"] == [1] * 7
    assert ("position_error" in scores) == ("agents_missing" in scores) == (rooms.room.colours != "same")
    if rooms.room.colours != "same":
        assert scores["position_error"] == scores["agents_missing"] == scores["position_error_of_agent_2"] == 0


def test_a_dream_that_stands_still_is_as_right_as_copy_last(clips):
    scores = exactness_scores(PixelRoom(oracle=False), clips)
    assert scores["frames_right"] == scores["copy_last_right"] < scores["recon_right"] == 1
    assert scores["dreams_whole"] == 1 and scores["agents_missing"] == 0
    walked = (clips.positions[:, 2:] - clips.positions[:, 1:2]).abs().sum(-1).double()
    assert scores["position_error"] == pytest.approx(walked.mean().item())
    assert scores["per_step"]["position_error"] == pytest.approx(walked.mean((0, 2)).tolist())
    assert scores["position_error_of_agent_1"] == pytest.approx(walked[..., 1].mean().item())


def test_agents_that_vanish_are_missing_and_their_frames_wrong_from_then_on(clips):
    rows, columns = slice(8, 40), slice(8, 24)  # the left half of the cells inside the walls
    scores = exactness_scores(PixelRoom(lost=(rows, columns)), clips)
    gone = (clips.positions[:, 2:, :, 0] <= 2).double()
    gone[:, 0] = 0
    assert scores["agents_missing"] == pytest.approx(gone.mean().item())
    assert scores["frames_right"] == pytest.approx(1 - gone.amax(2).mean().item())
    assert scores["rollouts_right"] == pytest.approx(1 - gone.amax((1, 2)).mean().item())
    assert scores["per_step"]["frames_right"][0] == 1 and scores["position_error"] == 0
    assert scores["dreams_whole"] < 1 == scores["recon_whole"]


def test_exactness_does_not_depend_on_the_batch(clips, monkeypatch):
    dream = PixelRoom(lost=(slice(8, 40), slice(8, 24)))
    whole = exactness_scores(dream, clips)
    monkeypatch.setattr("flam_train.evaluate.rollouts.BATCH", 2)
    assert exactness_scores(dream, clips) == whole


# --- single slots -----------------------------------------------------------------------------------------------


def test_an_agent_reaches_its_cell_and_the_free_one_in_front():
    positions = torch.tensor([[1, 1], [2, 1], [3, 4]])
    directions = torch.tensor([0, 2, 3])  # agents 0 and 1 face each other, agent 2 looks up
    stays = reachable_cells(positions, directions, positions, cells=7)
    assert [reach.nonzero().flip(1).tolist() for reach in stays] == [[[1, 1]], [[2, 1]], [[3, 3], [3, 4]]]
    leaves = reachable_cells(positions, directions, torch.tensor([[1, 1], [2, 2], [3, 3]]), cells=7)
    assert [reach.sum().item() for reach in leaves] == [2, 1, 2]


def test_a_change_within_the_reach_of_one_owned_agent_moves_only_that():
    reach = torch.zeros(3, 5, 5).bool()
    reach[0, 1, 1:3] = reach[1, 3, 1:3] = reach[2, 2, 4] = True
    owners = torch.tensor([0, 1, 1])  # slot 1 holds two agents, slots 2 and 3 none
    changed = torch.zeros(4, 5, 5).bool()
    changed[0, 1, 2] = changed[1, 3, 1] = changed[2, 2, 4] = True
    assert moves_one_agent(changed, owners, reach).tolist() == [True, True, False, False]
    changed[0, 4, 4] = changed[1, 2, 4] = True  # elsewhere, and both agents of a slot
    assert not moves_one_agent(changed, owners, reach).any()


class SlotRoom:
    """A dream with a slot for each agent and one for the rest; an action paints one pixel row high in some cells.

    Args:
        clips: what is real; each is recognised by its first frame.
        paints: for a position and a direction of the slot's agent, the cells (x, y) that its action changes.
        owner: the slot of each agent, -1 for the background sink.
    """

    device = torch.device("cpu")

    def __init__(self, clips: RoomClips, paints, owner: tuple[int, ...] = (0, 1, 2)):
        self.clips, self.paints, self.owner, self.slots = clips, paints, owner, 4
        self.world = SimpleNamespace(
            settings=SimpleNamespace(context=2),
            units=ActionUnits(latent_dim=2, kept=(0, 1), scale=(1.0, 1.0)),
            starts=SimpleNamespace(bank=torch.ones(5, self.slots, 2)),
        )
        self.model = self.tokenizer = self
        self.units = UnitConversion(self.world.units)
        self.config = SimpleNamespace(image_size=SIZE)
        self.actions = ContinuousActions(slots=self.slots, dim=2)

    def encode(self, frames: np.ndarray) -> Tensor:
        clip = next(i for i, known in enumerate(self.clips.frames) if np.array_equal(known[:3], frames))
        return torch.full((len(frames), 1), clip)

    def observe(self, tokens: Tensor) -> SimpleNamespace:
        return SimpleNamespace(slots=tokens)

    def infer(self, observed: SimpleNamespace) -> LatentActions:
        tokens = observed.slots
        mean = torch.zeros(1, tokens.shape[1] - 1, self.slots, 2)
        return LatentActions(mean, mean)

    def reset(self, context: Tensor) -> SimpleNamespace:
        clip = int(context[0, 0])
        masks = torch.zeros(len(context), self.slots, 6, 6)
        masks[:, 3] = 0.5
        for slot, (x, y) in zip(self.owner, self.clips.positions[clip, 1].tolist(), strict=True):
            masks[:, :, y, x] = torch.arange(self.slots) == slot
        return SimpleNamespace(masks=masks.flatten(2), clip=clip)

    def step(self, state: SimpleNamespace, actions: Tensor, chance=None) -> tuple[SimpleNamespace, Tensor]:
        frames = torch.zeros(len(actions), SIZE, SIZE, 3, dtype=torch.uint8)
        truth = list(zip(self.clips.positions[state.clip, 1], self.clips.directions[state.clip, 1], strict=True))
        for frame, action in zip(frames, actions, strict=True):
            for slot in action[:, 0].nonzero()[:, 0].tolist():
                for agent in (i for i, owner in enumerate(self.owner) if owner == slot):
                    for x, y in self.paints(*truth[agent]):
                        frame[8 * y : 8 * y + 2, 8 * x : 8 * x + 8] = 255
        return state, frames


def own_cell(position: Tensor, direction: Tensor) -> list[list[int]]:
    return [position.tolist()]


def behind(position: Tensor, direction: Tensor) -> list[list[int]]:
    step = torch.tensor([(1, 0), (0, 1), (-1, 0), (0, -1)])[direction]
    return [position.tolist(), (position - step).tolist()]


def test_slots_that_move_their_agents_are_independent(clips):
    scores = independence_scores(SlotRoom(clips, own_cell), clips)
    # Slot 3 holds no agent and paints nothing.
    assert scores == {"moves_one_agent": 1, "with_effect": 3 / 4, "effects": 15, "owned_agents": 1}


def test_cells_that_the_agent_cannot_reach_are_not_its_own(clips):
    scores = independence_scores(SlotRoom(clips, behind), clips)
    assert scores["moves_one_agent"] == 0 and scores["effects"] == 15


def test_a_slot_that_moves_two_agents_at_once_moves_not_one(clips):
    scores = independence_scores(SlotRoom(clips, own_cell, owner=(0, 1, 1)), clips)
    assert scores == {"moves_one_agent": 1 / 2, "with_effect": 2 / 4, "effects": 10, "owned_agents": 3 / 2}


def test_an_agent_that_the_sink_owns_is_no_slots(clips):
    scores = independence_scores(SlotRoom(clips, own_cell, owner=(3, 1, -1)), clips)
    assert scores == {"moves_one_agent": 1, "with_effect": 2 / 4, "effects": 10, "owned_agents": 1}


def test_changes_that_nobody_sees_are_not_counted(clips):
    scores = independence_scores(SlotRoom(clips, lambda position, direction: []), clips)
    assert scores == {"moves_one_agent": 0, "with_effect": 0, "effects": 0, "owned_agents": 0}


# --- the report -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_rooms(tmp_path_factory) -> EpisodeStore:
    """Rooms as large as the squares that the world `trained` knows."""
    room = RoomConfig(agents=3, cells=4)
    return store_of_rooms(tmp_path_factory.mktemp("stores") / "small", room, size=32, lengths=(12,) * 5)


@pytest.fixture(scope="module")
def report(small_rooms, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "report.json"
    return evaluate(str(trained), small_rooms.root, clips=4, horizon=5, out=path), path


def test_rooms_are_scored_by_everything_and_the_report_prints_it(report):
    returned, path = report
    assert json.loads(path.read_text()) == read_report(path)
    assert list(returned["factorization"]) == ["dci", "actions", "exactness", "independence"]
    table = format_report(returned)
    assert "| PSNR, dB (4 clips) |" in table
    for group, scores in returned["factorization"].items():
        for name in scores.keys() - {"per_step"}:
            assert f"| {group}: {name.replace('_', ' ')} | " in table
    assert "| step | frames right | dreams whole | position error |" in table
    assert len(returned["factorization"]["exactness"]["per_step"]["frames_right"]) == 5


@pytest.mark.parametrize("metrics", [("dci",), ("independence", "actions"), ("exactness", "pixels"), ("dci", "dreams")])
def test_what_is_asked_for_is_scored_alike_and_nothing_else(report, small_rooms, trained, tmp_path, metrics):
    returned, _ = report
    options = {"clips": 4, "horizon": 5, "out": tmp_path / "report.json"}
    some = evaluate(str(trained), small_rooms.root, metrics=metrics, **options)
    assert set(some["factorization"]) == set(metrics) - {"pixels", "dreams"}
    assert ("scores" in some) == ("measures" in some) == ("pixels" in metrics)
    assert ("dreams" in some) == ("dreams" in metrics)
    for name in some["factorization"]:
        assert json.dumps(some["factorization"][name]) == json.dumps(returned["factorization"][name])
    assert format_report(some)


def test_rooms_have_a_truth_and_other_stores_are_refused(trained, tmp_path, make_store):
    squares = make_store(tmp_path / "squares", {"test": (2, 21)})
    for metric in ("dci", "actions", "exactness", "independence"):
        with pytest.raises(
            ValueError, match=r"squares: expected rooms whose truth is known, got squares; name a store of"
        ):
            evaluate(str(trained), squares.root, metrics=("pixels", metric), out=tmp_path / "report.json")
    with pytest.raises(ValueError, match="expected rooms whose truth is known"):
        draw_room_clips(squares, "test", 2, 5)
    assert "factorization" not in evaluate(str(trained), squares.root, clips=2, horizon=3, out=tmp_path / "plain.json")
    assert not (tmp_path / "report.json").exists()
    assert {"dci", "actions", "exactness", "independence"} == set(get_args(OfRooms)) < set(get_args(Metric))


def test_an_episode_without_its_truth_is_named(tmp_path):
    other = store_of_rooms(tmp_path / "rooms", lengths=(5,))
    path = other.episodes("test")[0].path
    episode = other.read(other.episodes("test")[0])
    other.write("test", Episode(**vars(episode) | {"truth": {}}), name=path.stem)
    with pytest.raises(ValueError, match=rf"{path.name}: expected .*'positions': \(5, 3, 2\).*collect the rooms again"):
        draw_room_clips(other, "test", 2, 4)


def test_episodes_too_short_for_a_transition_are_refused(tiny_world, tmp_path):
    store = store_of_rooms(tmp_path / "rooms", lengths=(1,))
    with pytest.raises(ValueError, match="expected episodes of 2 frames or more in split 'test', got 1"):
        watch_rooms(Dream(tiny_world), store, "test", frames=9)
    with pytest.raises(ValueError, match="in split 'val', got 0 frames"):
        watch_rooms(Dream(tiny_world), store, "val", frames=9)


def test_pictures_of_cells_are_those_of_the_room():
    room = Room(DISTINCT, seed=4, size=SIZE)
    pictures = cell_pictures(room.colours, 8)
    assert pictures.shape == (13, 8, 8, 3) and pictures.dtype == np.uint8
    frame = room.frame()
    for agent, ((x, y), direction) in enumerate(zip(room.positions.tolist(), room.directions.tolist(), strict=True)):
        assert np.array_equal(frame[8 * y : 8 * y + 8, 8 * x : 8 * x + 8], pictures[1 + 4 * agent + direction])
    assert find_room(SimpleNamespace(settings={"room": {**vars(DISTINCT), "tied": []}})) == DISTINCT
