"""Video to latent actions and back."""

import linecache
import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import PassiveEnvChecker

from flam_env import Dream, FlamEnv, Labeller, LabelObservations
from flam_env.video.frames import fit_frames, resize_frames


class Still(gym.Env):
    """Shows one frame for ever."""

    action_space = Discrete(2)

    def __init__(self, frame: np.ndarray):
        self.observation_space, self._frame = Box(0, 255, frame.shape, np.uint8), frame

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._frame, {}


@pytest.fixture(scope="module")
def video(tiny_world) -> np.ndarray:
    """A dream of 15 frames: what the tokenizer makes of it differs from frame to frame."""
    env = FlamEnv(world=tiny_world)
    frames = [env.reset(seed=1)[0]]
    frames += [env.step(env.sample_latent_action())[0] for _ in range(14)]
    return np.stack(frames)


def test_labels_are_one_action_per_transition_and_slot(tiny_checkpoint, video):
    labels = Labeller.from_pretrained(tiny_checkpoint).label(video)
    assert labels.latent_actions.shape == (14, 6, 5)
    assert labels.latent_actions.dtype == np.float32


@pytest.mark.parametrize("piece", [1, 2, 4, 7, 14])
def test_pieces_give_the_labels_of_one_pass(tiny_world, video, piece):
    whole, pieces = Labeller(tiny_world), Labeller(tiny_world)
    pieces.PIECE = piece
    expected = whole.label(video).latent_actions
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(pieces.label(video).latent_actions, expected, atol=2e-4)


def test_labels_of_a_start_are_the_bundled_ones(tiny_world):
    """The actions that a world carries beside its starts are those that the labeller's networks infer."""
    labeller = Labeller(tiny_world)
    labels = labeller.follow(None, tiny_world.starts.tokens[3:4])[1].latent_actions[0]
    np.testing.assert_allclose(labels, tiny_world.starts.actions[3], atol=5e-3)  # stored as float16


def test_first_labelled_step_is_the_models_own_prediction(tiny_world, video):
    dream, model = Dream(tiny_world), tiny_world.model
    tokens = dream.encode(video)[None]
    labels = torch.from_numpy(Labeller(tiny_world).label(video).latent_actions)
    state, _ = dream.step(dream.reset(tokens[:, :2]), labels[None, 1])
    observed = model.observe(tokens)
    actions = dream.units.to_model(dream.units.from_model(model.infer(observed).mode))
    taught = model.step(observed.at(slice(None, -1)), actions)
    assert (state.tokens == model.next_tokens(taught)[:, 1]).float().mean() >= 0.999


def test_labels_replay_through_the_environment(tiny_world, video):
    labels = Labeller(tiny_world).label(video).latent_actions
    env, dream = FlamEnv(world=tiny_world, horizon=len(labels)), Dream(tiny_world)
    env.reset(options={"start": video[:2]})
    state = dream.reset(dream.encode(video[:2])[None])
    for action in labels[1:].clip(-3, 3):
        observation, *_ = env.step(action)
        state, frame = dream.step(state, torch.from_numpy(action)[None])
        assert np.array_equal(observation, frame[0].numpy())


def near(one: np.ndarray, two: np.ndarray) -> None:
    """Equal but for the order in which floats were added."""
    np.testing.assert_allclose(one, two, atol=2e-4)


def test_videos_of_a_batch_get_the_labels_of_each(tiny_world, video):
    labeller = Labeller(tiny_world)
    videos = np.stack([video, video[::-1], video[[0] * 15]])
    labels = labeller.label(videos)
    assert labels.latent_actions.shape == (3, 14, 6, 5)
    assert labels.labelled.shape == (3, 14) and labels.labelled.all()
    for one, expected in zip(videos, labels.latent_actions, strict=True):
        near(labeller.label(one).latent_actions, expected)
    assert np.abs(labels.latent_actions[0] - labels.latent_actions[1]).max() > 0.1


def test_an_iterator_gets_the_labels_of_its_array(tiny_world, video):
    labeller = Labeller(tiny_world)
    expected = labeller.label(video).latent_actions
    assert np.array_equal(labeller.label(frame for frame in video).latent_actions, expected)
    assert np.array_equal(labeller.label(list(video)).latent_actions, expected)


def test_an_iterator_is_never_read_far_ahead(tiny_world, video, monkeypatch):
    labeller, drawn, seen = Labeller(tiny_world), [], []
    labeller.PIECE, advance = 4, labeller.advance

    def watched(state, frames):
        seen.append(frames.shape[1])
        assert len(drawn) == sum(seen), "frames were read before they could be labelled"
        return advance(state, frames)

    monkeypatch.setattr(labeller, "advance", watched)
    labeller.label(frame for frame in video if drawn.append(1) is None)
    assert seen == [4, 4, 4, 3]


# --- episodes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [[5], [0, 5, 6, 11], [1, 14]])
@pytest.mark.parametrize("piece", [4, 5, 32])
def test_no_label_crosses_a_start_and_episodes_are_labelled_on_their_own(tiny_world, video, starts, piece):
    labeller = Labeller(tiny_world)
    labeller.PIECE = piece
    labels, one_by_one = labeller.label(video, starts), labeller.label(iter(video), starts)
    assert np.array_equal(one_by_one.latent_actions, labels.latent_actions, equal_nan=True)
    assert labels.latent_actions.shape == (14, 6, 5)
    cuts = [start - 1 for start in starts if start]
    assert np.flatnonzero(~labels.labelled).tolist() == cuts
    assert np.isnan(labels.latent_actions[cuts]).all() and np.isfinite(labels.latent_actions[labels.labelled]).all()
    for first, last in zip([0, *starts], [*starts, 15], strict=True):
        if last - first >= 2:
            near(labels.latent_actions[first : last - 1], labeller.label(video[first:last]).latent_actions)


def test_what_was_before_a_start_would_have_mattered(tiny_world, video):
    """Else the test above shows nothing."""
    labeller = Labeller(tiny_world)
    whole, cut = labeller.label(video).latent_actions, labeller.label(video, [5]).latent_actions
    assert np.abs(whole[5:] - cut[5:]).max() > 0.01


# --- frames one by one ------------------------------------------------------------------------------------------


def test_streamed_labels_are_those_of_the_video(tiny_world, video):
    labeller = Labeller(tiny_world)
    stream = labeller.stream()
    assert stream.push(video[0]) is None
    near(np.stack([stream.push(frame) for frame in video[1:]]), labeller.label(video).latent_actions)


def test_a_stream_goes_on_from_a_state_that_was_kept(tiny_world, video):
    one, other = Labeller(tiny_world).stream(), Labeller(tiny_world).stream()
    for frame in video[:6]:
        one.push(frame)
    other.state = one.state
    assert np.array_equal(one.push(video[6]), other.push(video[6]))


def test_videos_of_a_stream_restart_one_by_one(tiny_world, video):
    labeller = Labeller(tiny_world)
    videos = np.stack([video[:9], video[6:], video[::-1][:9], video[3:12]], 1)
    stream, labels = labeller.stream(batch=4), []
    assert stream.push(videos[0]) is None
    for t, frames in enumerate(videos[1:], 1):
        if t == 5:
            stream.restart([3, 1])
        labels.append(stream.push(frames))
    labels = np.stack(labels, 1)
    assert labels.shape == (4, 8, 6, 5)
    for row in range(4):
        near(labels[row], labeller.label(videos[:, row], [5] if row in (1, 3) else []).latent_actions)
    stream.restart()
    assert stream.push(videos[0]) is None
    stream.restart(range(4))
    assert stream.push(videos[0]) is None


# --- frames of any size -----------------------------------------------------------------------------------------


def test_resized_pixels_are_the_mean_of_the_area_that_they_cover():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 144, 3)).astype(np.uint8)
    resized = resize_frames(frames, 48)
    assert resized.shape == (2, 3, 48, 48, 3) and resized.dtype == np.uint8
    means = frames.reshape(2, 3, 48, 2, 48, 3, 3).mean((3, 5))
    np.testing.assert_allclose(resized, means, atol=0.51)
    assert resize_frames(resized, 48) is resized


@pytest.mark.parametrize("shape", [(96, 96), (60, 90), (31, 29)])
def test_frames_of_any_size_are_resized_and_a_warning_says_so_once(tiny_world, shape):
    labeller = Labeller(tiny_world)
    labeller.PIECE = 3
    frames = np.random.default_rng(1).integers(0, 256, (8, *shape, 3)).astype(np.uint8)
    with pytest.warns(UserWarning, match=f"sees frames of 48 x 48: these of {shape[0]} x {shape[1]} are") as said:
        labels = labeller.label(frames)
    assert len(said) == 1
    with warnings.catch_warnings(action="error"):
        assert np.array_equal(labels.latent_actions, labeller.label(resize_frames(frames, 48)).latent_actions)


@pytest.mark.parametrize(
    "look",
    [
        lambda labeller, frames: labeller.label(frames),
        lambda labeller, frames: labeller.label(iter(frames)),
        lambda labeller, frames: labeller.stream().push(frames[0]),
        lambda labeller, frames: LabelObservations(Still(frames[0]), labeller).reset(),
        lambda labeller, frames: PassiveEnvChecker(LabelObservations(Still(frames[0]), labeller)).reset(),
    ],
)
def test_a_warning_shows_the_line_of_whoever_gave_the_frames(tiny_world, look):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.warns(UserWarning, match="these of 64 x 64 are resized") as said:
        look(Labeller(tiny_world), frames)
    line = linecache.getline(said[0].filename, said[0].lineno)
    assert (said[0].filename, line.strip()[:14]) == (__file__, "lambda labelle")


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_frames_become_square_as_those_did_that_the_world_learned_from(tiny_world, fit):
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 72, 3)).astype(np.uint8)
    labeller = Labeller(replace(tiny_world, settings=replace(tiny_world.settings, fit=fit)))
    with pytest.warns(UserWarning, match="these of 48 x 72 are resized by averaging areas"):
        found = labeller.label(frames).latent_actions
    assert np.array_equal(found, labeller.label(fit_frames(frames, 48, fit)).latent_actions)
