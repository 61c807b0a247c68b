"""A labeller hands on what a model remembers of frames before, and forgets it where a new episode begins."""

import numpy as np
import pytest

from flam_env import Labeller

CUT, LENGTH = 5, 12


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (LENGTH, 48, 48, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def labeller(tiny_prior_world) -> Labeller:
    return Labeller(tiny_prior_world)


def close(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-3)


def test_labels_see_the_frames_before_the_two_that_an_action_leads_between(labeller, frames):
    whole, late = labeller.label(frames).latent_actions, labeller.label(frames[3:]).latent_actions
    assert not np.allclose(whole[3], late[0], atol=1e-3)


def test_labels_of_a_stream_are_those_of_the_video(labeller, frames):
    stream, expected = labeller.stream(), labeller.label(frames)
    assert stream.push(frames[0]) is None
    close(np.stack([stream.push(frame) for frame in frames[1:]]), expected.latent_actions)


def test_nothing_is_remembered_of_the_episode_before(labeller, frames):
    whole = labeller.label(frames, starts=[CUT])
    assert whole.labelled.tolist() == [index != CUT - 1 for index in range(LENGTH - 1)]
    close(whole.latent_actions[: CUT - 1], labeller.label(frames[:CUT]).latent_actions)
    close(whole.latent_actions[CUT:], labeller.label(frames[CUT:]).latent_actions)


def test_one_video_of_a_batch_begins_anew_and_the_others_go_on(labeller, frames):
    videos = np.stack([frames, frames[::-1]])
    state, _ = labeller.advance(None, videos[:, :CUT])
    state, rest = labeller.advance(labeller.restart(state, [0]), videos[:, CUT:])
    assert rest.labelled[:, 0].tolist() == [False, True]
    close(rest.latent_actions[0, 1:], labeller.label(frames[CUT:]).latent_actions)
    close(rest.latent_actions[1], labeller.label(videos[1]).latent_actions[CUT - 1 :])
