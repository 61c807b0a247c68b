"""Dreams in which nobody acts: each step's actions are as the world itself draws them, and what that is worth."""

import numpy as np
import pytest
import torch

from flam_env.dream.dream import Dream
from flam_env.models.factored import FactoredWorldModel
from flam_env.worlds.units import BOUND, clip_to_box
from flam_env.worlds.world import World
from flam_train.evaluate.rollouts import drawn_actions, encoded_clips, roll_freely, roll_methods
from flam_train.evaluate.simulator.rate import rate_actions, rate_scores
from flam_train.store.clips import Clips

STEPS = 6


@pytest.fixture(params=["bank", "prior"])
def dream(request, tiny_world, tiny_prior_world) -> Dream:
    return Dream(tiny_world if request.param == "bank" else tiny_prior_world)


@pytest.fixture(scope="module")
def noise() -> Clips:
    frames = np.random.default_rng(0).integers(0, 256, (5, 2 + STEPS, 48, 48, 3), dtype=np.uint8)
    return Clips(frames, ("planner",) * 5)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_dreams_the_same_and_leaves_the_global_generator_alone(dream):
    context, before = dream.world.starts.tokens[:4, :2], torch.get_rng_state()
    one, same, other = (roll_freely(dream, context, STEPS, seeded(seed)) for seed in (3, 3, 4))
    assert one.shape == (4, STEPS, 48, 48, 3) and one.dtype == torch.uint8
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_step_is_the_dreams_own_under_what_is_drawn_in_its_state(dream):
    context, random = dream.world.starts.tokens[:4, :2], seeded(3)
    state, frames = dream.reset(context), []
    for _ in range(STEPS):
        actions = drawn_actions(dream, state, random)
        assert actions.shape == (4, *dream.world.action_shape) and actions.abs().max() <= BOUND
        state, frame = dream.step(state, actions)
        frames.append(frame)
    assert torch.equal(torch.stack(frames, 1), roll_freely(dream, context, STEPS, seeded(3)))


def test_a_longer_dream_begins_as_a_shorter_one(dream):
    context = dream.world.starts.tokens[:4, :2]
    longer, shorter = (roll_freely(dream, context, steps, seeded(1)) for steps in (STEPS, 3))
    assert torch.equal(longer[:, :3], shorter)


def test_sampled_rollouts_of_the_evaluation_are_such_dreams(dream, noise):
    (rolled,) = roll_methods(dream, noise, seed=7)
    (_, tokens), *_ = encoded_clips(dream, noise)
    assert torch.equal(rolled.methods["sampled"], roll_freely(dream, tokens[:, :2], STEPS, seeded(7)))


# --- what is drawn ----------------------------------------------------------------------------------------------


def test_actions_are_those_of_real_transitions_where_there_is_no_prior(tiny_world):
    dream = Dream(tiny_world)
    state = dream.reset(dream.world.starts.tokens[:7, :2])
    drawn = drawn_actions(dream, state, seeded(0))
    bank = clip_to_box(dream.world.starts.bank)
    assert drawn.shape == (7, *dream.world.action_shape)
    assert all((each == bank).flatten(1).all(1).any() for each in drawn)
    assert len({tuple(each.flatten().tolist()) for each in drawn}) > 1


class Steep:
    """A prior that knows what it sees: the action is the noise, and is large where the first token is odd."""

    noise = 7

    def __init__(self, observed):
        self.odd = (observed.tokens[:, :, 0] % 2)[..., None, None]

    def draw(self, noise):
        return noise + 1000 * self.odd


class Knowing(FactoredWorldModel):
    """A model that learned such a prior."""

    learns_prior = True

    def prior(self, observed):
        return Steep(observed)


def test_actions_are_those_of_the_prior_in_the_state_where_one_was_learned(tiny_world):
    dream = Dream(tiny_world)
    dream.model = Knowing(tiny_world.model.config).eval()
    dream.model.load_state_dict(tiny_world.model.state_dict())
    state = dream.reset(tiny_world.starts.tokens[:9, :2])
    drawn = drawn_actions(dream, state, seeded(0))
    noise = torch.randn(9, 1, 6, 7, generator=seeded(0))
    odd = state.tokens[:, 0] % 2 == 1
    assert odd.any() and not odd.all()
    assert (drawn[odd] == BOUND).all()
    assert torch.equal(drawn[~odd], clip_to_box(dream.units.from_model(noise[:, 0]))[~odd])


# --- its rate ---------------------------------------------------------------------------------------------------


def by_hand(world: World, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats (B, T - 1, K) to the world's own prior and to that of no knowledge."""
    with torch.inference_mode():
        observed = world.model.observe(tokens)
        posterior = world.model.infer(observed)
        own = [world.model.learned_prior(observed.slots[:, t : t + 1]).nats(at(posterior, t)) for t in range(1 + STEPS)]
    return torch.cat(own, 1), posterior.kl.sum(-1)


def at(posterior, t: int):
    return posterior._make(part[:, t : t + 1] for part in posterior)


def test_the_rate_is_to_the_worlds_own_prior_with_that_of_no_knowledge_beside_it(tiny_prior_world, noise):
    dream = Dream(tiny_prior_world)
    (_, tokens), *_ = encoded_clips(dream, noise)
    own, plain = by_hand(tiny_prior_world, tokens)
    rated = rate_actions(dream, tokens)
    torch.testing.assert_close(rated.nats, own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rated.nats_from_no_knowledge, plain, rtol=1e-4, atol=1e-4)
    scores = rate_scores(dream, noise)
    assert scores["nats"] == pytest.approx(own[:, 1:].sum(-1).mean().item(), rel=1e-3)
    assert scores["nats_from_no_knowledge"] == pytest.approx(plain[:, 1:].sum(-1).mean().item(), rel=1e-3)
    assert scores["nats"] != pytest.approx(scores["nats_from_no_knowledge"], rel=0.01)
    assert scores["by_slot"] == pytest.approx(own[:, 1:].mean((0, 1)).tolist(), rel=1e-3)
