"""Video to latent actions and back."""

import numpy as np
import pytest
import torch

from flam_env import Dream, FlamEnv, Labeller


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
    slots = labeller.dream.model.observe(tiny_world.starts.tokens[3:4])
    labels = labeller._infer(slots.values)
    np.testing.assert_allclose(labels, tiny_world.starts.actions[3], atol=5e-3)  # stored as float16


def test_first_labelled_step_is_the_models_own_prediction(tiny_world, video):
    dream, model, units = Dream(tiny_world), tiny_world.model, tiny_world.units
    tokens = dream.encode(video)[None]
    labels = torch.from_numpy(Labeller(tiny_world).label(video).latent_actions)
    state, _ = dream.step(dream.reset(tokens[:, :2]), labels[None, 1])
    features, slots = model.embed(tokens), model.observe(tokens)
    actions = units.to_model(units.from_model(model.infer(slots.values).mean))
    taught = model.predict(tokens[:, :-1], features[:, :-1], slots.values[:, :-1], actions)
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
