"""Every wrong input gives one error that says what was expected, what came and what to do."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from flam_env import Dream, FlamEnv, FlamVectorEnv, Labeller


@pytest.fixture
def env(tiny_world) -> FlamEnv:
    env = FlamEnv(world=tiny_world)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((5, 6), np.float32), r"of shape \(6, 5\) .*got shape \(5, 6\); pass one vector per slot"),
        (np.zeros(30), r"got shape \(30,\)"),
        (0.0, r"got shape \(\)"),
        (np.zeros((6, 5), int), r"got dtype int64; convert with \.astype\(np\.float32\)"),
        (np.zeros((6, 5), bool), "got dtype bool"),
        (np.full((6, 5), None), "got dtype object"),
        (np.full((6, 5), np.nan), r"all finite, got nan at \[0, 0\]"),
        (np.full((6, 5), np.inf), "all finite, got inf"),
    ],
)
def test_wrong_actions(env, tiny_world, action, message):
    before = env._episodes.frames
    with pytest.raises(ValueError, match=r"expected latent actions.*" + message):
        env.step(action)
    assert env._episodes.frames is before and env._episodes.steps.tolist() == [0]
    envs = FlamVectorEnv(2, world=tiny_world)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="expected latent actions"):
        envs.step(np.stack([action, action]))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.zeros((2, 64, 64, 3), np.uint8), r"got shape \(2, 64, 64, 3\); resize the frames to 48 x 48"),
        (np.zeros((48, 48, 3), np.uint8), r"got shape \(48, 48, 3\); .* without an axis of time: .* frames\[None\]$"),
        (np.zeros((64, 64, 3), np.uint8), r"without an axis of time: .* frames\[None\], and resize .* to 48 x 48"),
        (np.zeros((2, 3, 48, 48), np.uint8), r"got shape \(2, 3, 48, 48\); the channels come first: .*moveaxis"),
        (np.zeros((3, 48, 48), np.uint8), "the channels come first"),
        (np.zeros((2, 4, 48, 48), np.uint8), "the channels come first"),
        (np.zeros((2, 48, 48, 4), np.uint8), r"the last axis holds 4 channels, as of RGBA: .* frames\[\.\.\., :3\]"),
        (np.zeros((2, 48, 48, 1), np.uint8), "the last axis holds 1 channel, as of grey frames: repeat it"),
        (np.zeros((2, 48, 48), np.uint8), "there is no axis of channels, as of grey frames: add it"),
        (np.zeros((48, 48), np.uint8), "there is no axis of channels"),
        (np.zeros((1, 2, 48, 48, 3), np.uint8), r"there are axes before that of time: give one video, as frames\[0\]"),
        (np.zeros((2, 40, 48, 3), np.uint8), "resize the frames to 48 x 48"),
        (np.zeros((2, 48, 48, 5), np.uint8), "convert the frames to RGB, channels last"),
        (np.zeros((2, 48, 48, 3), np.float32), r"got dtype float32; convert to uint8"),
        (np.zeros((0, 48, 48, 3), np.uint8), "expected 1 to 9 uint8 frames .*got 0 frames"),
        (np.zeros((10, 48, 48, 3), np.uint8), "expected 1 to 9 uint8 frames .*got 10 frames"),
        (11, r"expected a start in \[0, 11\), got 11"),
        (-1, r"expected a start in \[0, 11\), got -1"),
        (1.5, "to be an index .*got float"),
        (True, "to be an index .*got bool"),
        ("first", "to be an index .*got str"),
    ],
)
def test_wrong_starts(env, tiny_world, start, message):
    before = env._episodes.frames
    with pytest.raises(ValueError, match=message):
        env.reset(options={"start": start})
    assert env._episodes.frames is before
    with pytest.raises(ValueError, match=message):
        FlamVectorEnv(2, world=tiny_world).reset(options={"start": start})


def test_unknown_options(env, tiny_world):
    with pytest.raises(ValueError, match=r"expected reset options among \['start'\], got \['begin'\]"):
        env.reset(options={"begin": 3})
    envs = FlamVectorEnv(2, world=tiny_world)
    with pytest.raises(ValueError, match=r"among \['start', 'reset_mask'\], got \['begin'\]"):
        envs.reset(options={"begin": 3})
    for mask in (np.array([1, 0]), np.array([True]), np.array([False, False])):
        with pytest.raises(ValueError, match=r"expected options\['reset_mask'\] of dtype bool and shape \(2,\)"):
            envs.reset(options={"reset_mask": mask})
    for wrong in ([1], "start", 0):
        for one in (env, envs):
            with pytest.raises(ValueError, match="expected reset options as a dict"):
                one.reset(options=wrong)
    with pytest.raises(ValueError, match=r"expected options\['start'\] to have num_envs=2 entries, got 1"):
        envs.reset(options={"start": [4]})


@pytest.mark.parametrize("seed", [1.5, True, "a", -1, [1, 2.0], [None, True], np.array([0.5, 1.0]), {1, 2}])
def test_wrong_seeds(tiny_world, seed):
    with pytest.raises(ValueError, match="expected seed to be an integer of at least 0, got"):
        FlamVectorEnv(2, world=tiny_world).reset(seed=seed)


def test_wrong_number_of_seeds(tiny_world):
    with pytest.raises(ValueError, match="expected seed to have num_envs=2 entries, got 3"):
        FlamVectorEnv(2, world=tiny_world).reset(seed=np.arange(3))


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((1, 48, 48, 3), np.uint8), "expected a video of 2 or more frames, got 1;"),
        (np.zeros((0, 48, 48, 3), np.uint8), "expected a video of 2 or more frames, got 0;"),
        (np.zeros((4, 1, 48, 48, 3), np.uint8), "expected a video of 2 or more frames, got 1;"),
        (iter([]), "expected a video of 2 or more frames, got 0;"),
        (np.zeros((5, 48, 48, 3)), "expected uint8 frames, got dtype float64; convert to uint8"),
        (
            np.zeros((5, 48, 48, 4), np.uint8),
            r"expected frames \(\.\.\., H, W, 3\), got shape .* as of RGBA: leave out",
        ),
        (np.zeros((5, 3, 48, 48), np.uint8), "the channels come first: move them last"),
        (np.zeros((5, 48, 0, 3), np.uint8), r"with pixels, got shape \(5, 48, 0, 3\)"),
        (np.zeros((5, 48, 48), np.uint8), "there is no axis of channels, as of grey frames: add it"),
        (iter(np.zeros((5, 48, 48), np.uint8)), r"got one of shape \(48, 48\); there is no axis of channels"),
        (np.zeros((48, 48, 3), np.uint8), r"expected frames \(T, H, W, 3\), a batch .* got shape \(48, 48, 3\)"),
        (np.zeros((0, 5, 48, 48, 3), np.uint8), r"got shape \(0, 5, 48, 48, 3\)"),
        ([np.zeros((48, 48, 3), np.uint8), np.zeros((40, 48, 3), np.uint8)], "expected frames of one size"),
        (
            iter([np.zeros((48, 48, 3), np.uint8), np.zeros((40, 48, 3), np.uint8)]),
            "got 40 x 48; bring all to one size",
        ),
        (iter(np.zeros((2, 5, 48, 48, 3), np.uint8)), r"expected an iterator of frames \(H, W, 3\), got one of shape"),
        (7, "a path, or an iterator of frames .*got 7"),
    ],
)
def test_wrong_videos(tiny_world, video, message):
    with pytest.raises(ValueError, match=message):
        Labeller(tiny_world).label(video)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([-1, 3], r"expected ascending starts in \[0, 5\], each once, got \[-1, 3\]"),
        ([2, 6], "leave out what is no frame of the video"),
        ([4, 2], r"got \[4, 2\]; sort them"),
        (np.array([4, 2], np.uint8), "sort them"),
        ([2, 2], "each once"),
        ([1.0, 3.0], "expected starts to be indices of frames .*got float64"),
        ([True, False, True, False, False, False], r"got bool of shape \(6,\); of flags, .*take np\.flatnonzero"),
        ([[1], [2]], r"got int64 of shape \(2, 1\)"),
    ],
)
def test_wrong_starts_of_episodes(tiny_world, starts, message):
    with pytest.raises(ValueError, match=message):
        Labeller(tiny_world).label(np.zeros((6, 48, 48, 3), np.uint8), starts)


def test_starts_belong_to_one_video(tiny_world):
    frames, labeller = np.zeros((4, 6, 48, 48, 3), np.uint8), Labeller(tiny_world)
    with pytest.raises(
        ValueError, match=r"expected starts with one video, .* got a batch .* one video after the other"
    ):
        labeller.label(frames, [2])
    with pytest.raises(ValueError, match=r"expected ascending starts of 0 or more, each once, got \[4, 2\]"):
        labeller.label(iter(frames[0]), [4, 2])
    with pytest.raises(ValueError, match=r"expected ascending starts in \[0, 5\], each once, got \[2, 6\]"):
        labeller.label(iter(frames[0]), [2, 6])


def test_wrong_frames_for_a_stream(tiny_world):
    labeller, frame = Labeller(tiny_world), np.zeros((48, 48, 3), np.uint8)
    for stream, frames in ((labeller.stream(), frame[None]), (labeller.stream(4), np.stack([frame] * 3))):
        with pytest.raises(ValueError, match=r"expected frames .*H, W, 3.* give the next of each video"):
            stream.push(frames)
    with pytest.raises(ValueError, match="expected batch to be an integer of at least 1, got 0"):
        labeller.stream(0)
    with pytest.raises(ValueError, match=r"expected row to be an integer in \[0, 3\], got 4"):
        labeller.stream(4).restart([4])


def test_a_dream_sees_frames_of_its_world_only(tiny_world):
    with pytest.raises(ValueError, match="resize the frames to 48 x 48"):
        Dream(tiny_world).encode(np.zeros((2, 64, 64, 3), np.uint8))


def test_wrong_arguments(tiny_world, tiny_checkpoint):
    with pytest.raises(ValueError, match=r"expected either checkpoint= .* or world="):
        FlamEnv()
    with pytest.raises(ValueError, match=r"expected either checkpoint= .* or world="):
        FlamEnv(tiny_checkpoint, world=tiny_world)
    with pytest.raises(ValueError, match=r"expected world= to be a live World, got 'bigfish'; .* checkpoint="):
        FlamEnv(world="bigfish")
    with pytest.raises(ValueError, match="expected the name of a bundled world or a directory, got 123"):
        FlamEnv(123)
    with pytest.raises(ValueError, match="expected render_mode to be None or 'rgb_array', got 'human'"):
        FlamEnv(world=tiny_world, render_mode="human")
    with pytest.raises(ValueError, match="expected render_mode='rgb_array', got None"):
        FlamEnv(world=tiny_world).render()
    with pytest.raises(ValueError, match=r"expected autoreset_mode to be .*'Disabled'.*got 'sometimes'"):
        FlamVectorEnv(2, world=tiny_world, autoreset_mode="sometimes")
    with pytest.raises(ValueError, match="expected source to be one of"):
        FlamEnv(world=tiny_world).sample_latent_action("dream")
    empty = replace(tiny_world, starts=replace(tiny_world.starts, bank=tiny_world.starts.bank[:0]))
    with pytest.raises(ValueError, match="expected a world with a bank of real actions, got an empty one"):
        FlamEnv(world=empty).sample_latent_action()


@pytest.mark.parametrize("given", [0, -3, 2.5, True, "5"])
def test_wrong_counts(tiny_world, given):
    for name in ("num_envs", "horizon", "max_episode_steps"):
        with pytest.raises(ValueError, match=f"expected {name} to be an integer of at least 1, got {given!r}"):
            FlamVectorEnv(**{"world": tiny_world, name: given})
    with pytest.raises(ValueError, match=f"expected horizon to be an integer of at least 1, got {given!r}"):
        FlamEnv(world=tiny_world, horizon=given)


@pytest.mark.parametrize("name", ["tpu9", "cuda:99", "meat", "meta", 3.5, None])
def test_no_such_device(tiny_world, name):
    with pytest.raises(ValueError, match=rf"expected a device of this machine, got '{name}' .*try 'auto'"):
        Dream(tiny_world, name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("statistics", "got 'statistics'"),
        (":f", "got ':f'"),
        (".x:f", "got '.x:f'"),
        ("no_such_module:f", "is it on the Python path"),
        ("statistics:no_such", "the module statistics has no function no_such"),
        (3, "expected reward_fn to be a callable or 'module:function', got 3"),
    ],
)
def test_functions_that_are_none(tiny_world, given, message):
    with pytest.raises(ValueError, match=message):
        FlamEnv(world=tiny_world, reward_fn=given)


@pytest.mark.parametrize("value", [None, "much", float("nan"), np.zeros(2)])
def test_rewards_that_are_none(tiny_world, value):
    env = FlamEnv(world=tiny_world, reward_fn=lambda *_: value)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected reward_fn to return a finite number"):
        env.step(env.action_space.sample())


def test_ends_that_are_none(tiny_world):
    env = FlamEnv(world=tiny_world, termination_fn=lambda frame, step: 1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected termination_fn to return a bool, got 1"):
        env.step(env.action_space.sample())


def test_nothing_is_seen_before_reset(tiny_world):
    arguments = {"world": tiny_world, "render_mode": "rgb_array"}
    for env in (FlamEnv(**arguments), FlamVectorEnv(2, **arguments)):
        for look, given in ((env.step, [np.zeros(env.action_space.shape)]), (env.render, []), (env.slot_masks, [])):
            with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) first"):
                look(*given)
