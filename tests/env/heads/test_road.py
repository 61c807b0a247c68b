"""The sign that a dream has left the road: what it is made of, where it is carried, and who tells it."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from tiny import random_road, random_world

from flam_env import Dream, FlamEnv, FlamVectorEnv, load_world, save_world
from flam_env.dream.dream import replace_rows, take_rows
from flam_env.envs.sb3_vec_env import FlamSB3VecEnv
from flam_env.heads.road import Road, RoadConfig
from flam_env.worlds.saving import add_heads

STEPS = 6


@pytest.fixture(scope="module")
def road() -> Road:
    return random_road()


@pytest.fixture(scope="module")
def dream(road_world) -> Dream:
    return Dream(road_world)


def actions_of(world, rows: int, steps: int = STEPS) -> torch.Tensor:
    return world.starts.bank[: rows * steps].clamp(-3, 3).unflatten(0, (steps, rows))


# --- what it is made of -----------------------------------------------------------------------------------------


def test_signs_are_doubt_change_and_rarity():
    road = Road(RoadConfig(vocabulary=4))
    road.rarity.copy_(torch.tensor([0.5, 1.0, 2.0, 8.0]))
    before, after = torch.tensor([[0, 1, 2, 3, 3], [1, 1, 1, 1, 1]]), torch.tensor([[0, 1, 3, 2, 0], [1, 1, 1, 1, 1]])
    found = road.signs(torch.tensor([0.7, 0.0]), before, after)
    expected = [
        [math.log(0.7 + 1e-4), math.log(0.6 + 1e-3), (0.5 + 1.0 + 8.0 + 2.0 + 0.5) / 5],
        [math.log(1e-4), math.log(1e-3), 1.0],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_running_means_forget_a_step_in_about_as_many_as_they_reach():
    road = Road(RoadConfig(vocabulary=4, memory=5))
    signs = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    means = begin = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    for each in signs:
        means = road.follow(means, each)
    weights = torch.tensor([0.2 * 0.8 ** (6 - step) for step in range(7)])
    torch.testing.assert_close(means, 0.8**7 * begin + (weights[:, None, None] * signs).sum(0))


def test_left_is_the_share_of_real_video_that_is_nearer(road):
    away = torch.linalg.inv(road.whitening) @ torch.tensor([0.6, 0.0, 0.8])  # one unit of distance
    far = torch.tensor([0.0, 0.25, 0.4, 2.125, 3.9, 4.0, 4.1, 1e6])
    left = road.left(road.usual + far[:, None] * away)
    assert left[0] == 0 and left[3] == pytest.approx(0.5, abs=0.01) and left[-2:].tolist() == [1, 1]
    assert (left.diff() >= 0).all() and left.min() >= 0 and left.max() <= 1
    grid = road.usual + torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    assert road.left(grid).shape == (3, 5)


@pytest.mark.parametrize("wrong", [{"vocabulary": 0}, {"quantiles": 2.5}, {"memory": 0}])
def test_sizes_of_no_road_are_refused(wrong):
    with pytest.raises(ValueError, match=f"expected {next(iter(wrong))} "):
        RoadConfig(**{"vocabulary": 5} | wrong)


# --- dreams -----------------------------------------------------------------------------------------------------


def test_a_dream_begins_with_what_is_usual_and_follows_its_steps(dream, road_world):
    state = dream.reset(road_world.starts.tokens[:4, :2])
    assert torch.equal(state.signs, dream.road.usual.expand(4, 3)) and not dream.off_road(state).any()
    means, seen = state.signs, []
    for actions in actions_of(road_world, 4):
        with torch.inference_mode():
            output = dream.model.step(state.frame, dream.units.to_model(actions)[:, None])
            after, _ = dream.step(state, actions)
            means = dream.road.follow(
                means, dream.road.signs(dream.model.doubt(output)[:, 0], state.tokens, after.tokens)
            )
        torch.testing.assert_close(after.signs, means)
        torch.testing.assert_close(dream.off_road(after), dream.road.left(means))
        seen.append(dream.off_road(after))
        state = after
    assert torch.stack(seen).unique().numel() > 10, "the test shows little if nothing is told"


def test_the_same_state_goes_on_in_the_same_way_and_rows_do_not_meet(dream, road_world):
    actions = actions_of(road_world, 4)
    state = dream.reset(road_world.starts.tokens[:4, :2])
    for each in actions[:3]:
        state, _ = dream.step(state, each)
    one, other = (dream.step(state, actions[3])[0] for _ in range(2))
    assert torch.equal(one.signs, other.signs)
    alone = take_rows(state, torch.tensor([2]))
    torch.testing.assert_close(dream.step(alone, actions[3][2:3])[0].signs, one.signs[2:3])
    fresh = dream.reset(road_world.starts.tokens[7:8, :2])
    again = replace_rows(one, [1], fresh)
    assert torch.equal(again.signs[[0, 2, 3]], one.signs[[0, 2, 3]]) and dream.off_road(again)[1] == 0


def test_who_cannot_tell_says_nothing(tiny_world):
    dream = Dream(tiny_world)
    state = dream.reset(tiny_world.starts.tokens[:4, :2])
    after, _ = dream.step(state, actions_of(tiny_world, 4)[0])
    assert dream.off_road(after) is None and after.signs.shape == (4, 0)
    assert replace_rows(after, [1], take_rows(state, torch.tensor([3]))).signs.shape == (4, 0)


def test_to_tell_it_changes_no_dream(dream, tiny_world):
    states = [each.reset(tiny_world.starts.tokens[:3, :2]) for each in (dream, Dream(tiny_world))]
    for actions in actions_of(tiny_world, 3):
        states = [each.step(state, actions)[0] for each, state in zip((dream, Dream(tiny_world)), states, strict=True)]
    assert torch.equal(states[0].tokens, states[1].tokens)


def test_a_model_that_says_one_thing_has_a_road_as_well(road):
    world = replace(random_world(target="code"), heads={"road": road})
    dream = Dream(world)
    state = dream.reset(world.starts.tokens[:3, :2])
    for actions in actions_of(world, 3):
        state, _ = dream.step(state, actions)
    assert state.signs.isfinite().all() and (dream.off_road(state) > 0).all()


def test_it_is_told_where_the_dream_runs(road_world, device):
    dream = Dream(road_world, device)
    state = dream.reset(road_world.starts.tokens[:3, :2])
    state, _ = dream.step(state, actions_of(road_world, 3)[0])
    assert state.signs.device == dream.off_road(state).device == device
    assert road_world.road.usual.device.type == "cpu"


# --- infos ------------------------------------------------------------------------------------------------------


def test_infos_tell_it_in_a_world_that_knows_and_lack_it_in_one_that_does_not(road_world, tiny_world):
    env, without = FlamEnv(world=road_world), FlamEnv(world=tiny_world)
    first, told = env.reset(seed=3)[1], []
    assert first["off_road"] == 0.0 and "off_road" not in without.reset(seed=3)[1]
    for _ in range(STEPS):
        action = env.sample_latent_action()
        told.append(env.step(action)[4]["off_road"])
        assert "off_road" not in without.step(action)[4]
    assert all(type(each) is float and 0 <= each <= 1 for each in told) and len(set(told)) > 2
    assert env.reset()[1]["off_road"] == 0.0


def test_a_row_is_told_what_a_single_environment_is(road_world):
    envs = FlamVectorEnv(3, world=road_world)
    singles = [FlamEnv(world=road_world) for _ in range(3)]
    envs.reset(seed=5)
    for i, env in enumerate(singles):
        env.reset(seed=5 + i)
    for _ in range(STEPS):
        actions = envs.sample_latent_action()
        infos = envs.step(actions)[4]
        alone = [env.step(action)[4]["off_road"] for env, action in zip(singles, actions, strict=True)]
        assert infos["off_road"].dtype == np.float32 and infos["_off_road"].all()
        assert infos["off_road"] == pytest.approx(alone, abs=0.011)  # a quantile, as batches sum in another order
    reset = envs.reset(options={"reset_mask": np.array([False, True, False])})[1]["off_road"]
    assert reset[1] == 0 and reset[[0, 2]].tolist() == infos["off_road"][[0, 2]].tolist()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_new_episode_begins_with_what_is_usual_and_the_last_step_keeps_its_own(road_world, mode):
    envs = FlamVectorEnv(2, world=road_world, horizon=3, autoreset_mode=mode)
    envs.reset(seed=0)
    told = [envs.step(envs.sample_latent_action())[4] for _ in range(4)]
    if mode is AutoresetMode.SAME_STEP:
        assert not told[2]["off_road"].any() and told[2]["final_info"]["off_road"].all()
    else:
        assert told[2]["off_road"].all() and not told[3]["off_road"].any()


def test_every_face_tells_it(road_world, tmp_path):
    save_world(tmp_path, road_world)
    assert gym.make("FLAM-v0", checkpoint=str(tmp_path)).reset(seed=0)[1]["off_road"] == 0
    assert gym.make_vec("FLAM-v0", 2, checkpoint=str(tmp_path)).reset(seed=0)[1]["off_road"].tolist() == [0, 0]
    sb3 = FlamSB3VecEnv(num_envs=2, world=road_world)
    sb3.reset()
    infos = sb3.step(np.zeros((2, *road_world.action_shape), np.float32))[3]
    assert all(type(info["off_road"]) is float for info in infos)


# --- on disk ----------------------------------------------------------------------------------------------------


def test_a_world_keeps_its_road_on_disk_and_when_it_learns_other_heads(road_world, decoded_world, tmp_path):
    save_world(tmp_path / "one", road_world)
    assert (tmp_path / "one" / "road.safetensors").is_file()
    add_heads(tmp_path / "one", {"decoder": decoded_world.decoder}, tmp_path / "two")
    for directory, heads in (("one", {"road"}), ("two", {"road", "decoder"})):
        loaded = load_world(tmp_path / directory)
        assert set(loaded.heads) == heads and loaded.road.config == road_world.road.config
        for name, tensor in road_world.road.state_dict().items():
            assert torch.equal(loaded.road.state_dict()[name], tensor)
