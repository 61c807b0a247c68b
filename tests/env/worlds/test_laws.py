"""What never happened in the data of a world does not happen in its dreams."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import random_road

from flam_env import Dream, FlamEnv
from flam_env.envs.vector_env import FlamVectorEnv
from flam_env.models.dynamics import LatentActions
from flam_env.models.factored import FactoredWorldModel
from flam_env.models.quantize import FSQ
from flam_env.worlds.laws import Laws, NearestSeen, vanished
from flam_env.worlds.loading import load_world
from flam_env.worlds.saving import save_world
from flam_env.worlds.world import World

SLOTS, ACTIONS = 6, 5


def dreamt(world: World, steps: int = 4, rows: int = 3):
    """A dream under bold actions: the states after each step."""
    dream = Dream(world)
    actions = torch.randn(steps, rows, SLOTS, ACTIONS, generator=torch.Generator().manual_seed(0))
    states = [dream.reset(world.starts.tokens[:rows, :2])]
    for action in actions:
        states.append(dream.step(states[-1], action)[0])
    return states


def test_a_token_that_never_occurs_becomes_the_nearest_that_does():
    quantizer = FSQ((4, 2, 3))
    every = torch.arange(quantizer.size)
    shown = NearestSeen((5, 6, 7), quantizer)(every)
    seen = torch.tensor([token for token in every.tolist() if token not in (5, 6, 7)])
    assert torch.equal(shown[seen], seen) and not torch.isin(shown, torch.tensor([5, 6, 7])).any()
    apart = torch.cdist(quantizer.codes(every), quantizer.codes(every))
    assert torch.equal(apart[every, shown], apart[:, seen].amin(1))


def test_tokens_that_never_occur_are_never_dreamt(tiny_world):
    free = torch.stack([state.tokens for state in dreamt(tiny_world)[1:]])
    often = free.unique()[::2]
    lawful = replace(tiny_world, laws=Laws(unseen_tokens=tuple(often.tolist())))
    bound = torch.stack([state.tokens for state in dreamt(lawful)[1:]])
    assert torch.isin(free, often).any() and not torch.isin(bound, often).any()


def test_a_slot_has_vanished_if_it_held_something_and_lost_most_of_it_wherever_it_went():
    before = torch.tensor([[0.9, 0.0, 0.0], [0.9, 0.3, 0.3], [0.1, 0.2, 0.4], [0.0, 0.6, 0.0]])
    after = torch.tensor([[0.0, 0.0, 0.5], [0.4, 0.4, 0.4], [0.0, 0.0, 0.0], [0.9, 0.9, 0.0]])
    assert vanished(before, after).tolist() == [False, True, False, False]


class Fading(Dream):
    """A dream in which slot 4 of row 1 loses its share where its action is bold; `hopeless` loses it at rest too."""

    hopeless = False

    def _advance(self, state, actions, chance):
        after = super()._advance(state, actions, chance)
        masks = torch.full_like(after.frame.masks, 0.8)
        bold = actions[:, 4].abs().amax(-1) > 1
        masks[bold | self.hopeless, :, 4] = 0
        return after._replace(frame=after.frame._replace(masks=masks))


@pytest.fixture
def lasting(tiny_world, monkeypatch) -> World:
    """The tiny world with permanence, in which who rests takes actions of size 1/2."""
    calm = LatentActions(torch.full((3, 1, SLOTS, 7), 0.5), torch.zeros(3, 1, SLOTS, 7))

    def infer(model, observed):
        return LatentActions(*(part[: len(observed.tokens)] for part in calm))

    monkeypatch.setattr(FactoredWorldModel, "infer", infer)
    return replace(tiny_world, laws=Laws(permanence=True), heads={"road": random_road()})


def steps_of(dream: Dream, world: World):
    state = dream.reset(world.starts.tokens[:3, :2])
    state = state._replace(frame=state.frame._replace(masks=torch.full_like(state.frame.masks, 0.8)))
    actions = torch.full((3, SLOTS, ACTIONS), 0.01)
    actions[1, 4] = 3.0
    return state, actions, dream.step(state, actions)[0]


def test_the_action_that_would_make_a_slot_vanish_is_refused(lasting):
    dream = Fading(lasting)
    state, actions, after = steps_of(dream, lasting)
    wanted = torch.zeros(3, SLOTS, dtype=torch.bool)
    wanted[1, 4] = True
    assert torch.equal(after.refused, wanted)
    own = dream.units.to_model(actions)
    own[1, 4] = 0.5
    rested = dream._advance(state, own, None)
    assert torch.equal(after.tokens, rested.tokens)
    torch.testing.assert_close(after.slots, rested.slots)
    torch.testing.assert_close(after.signs, rested.signs)  # of the step that was taken, once
    for new, expected in zip(after.frame.history, rested.frame.history, strict=True):
        torch.testing.assert_close(new, expected)


def test_everyone_rests_where_something_would_vanish_still(lasting):
    dream = Fading(lasting)
    dream.hopeless = True
    _, _, after = steps_of(dream, lasting)
    assert after.refused.all()


def test_a_dream_can_be_had_without_laws(lasting):
    world = replace(lasting, laws=replace(lasting.laws, unseen_tokens=(1, 2)))
    _, _, after = steps_of(Fading(world).without_laws(), world)
    assert not after.refused.any()
    assert torch.equal(after.tokens, steps_of(Dream(lasting), lasting)[2].tokens)


def test_without_permanence_nothing_is_refused(lasting):
    world = replace(lasting, laws=Laws())
    _, _, after = steps_of(Fading(world), world)
    assert not after.refused.any()


def test_infos_say_whether_a_slot_was_refused(lasting, monkeypatch):
    monkeypatch.setattr("flam_env.envs.episodes.Dream", Fading)
    env = FlamEnv(world=lasting)
    _, info = env.reset(seed=0)
    assert info["refused"] is False
    action = np.full((SLOTS, ACTIONS), 3.0, np.float32)
    env.step(np.zeros_like(action))
    assert env.step(action)[4]["refused"] is True
    assert env.step(np.zeros_like(action))[4]["refused"] is False
    envs = FlamVectorEnv(2, world=lasting)
    envs.reset(seed=0)
    envs.step(np.zeros((2, *action.shape), np.float32))
    info = envs.step(np.stack([0 * action, action]))[4]
    assert info["refused"].tolist() == [False, True]


def test_laws_are_saved_and_loaded(tiny_world, tmp_path):
    laws = Laws(unseen_tokens=(0, 3, 17), permanence=True)
    save_world(tmp_path, replace(tiny_world, laws=laws))
    assert load_world(tmp_path).laws == laws


@pytest.mark.parametrize("tokens", [(3, 1), (2, 2), (-1, 4), (5, 144)])
def test_tokens_that_cannot_be_are_refused(tiny_world, tmp_path, tokens):
    save_world(tmp_path, replace(tiny_world, laws=Laws(unseen_tokens=tokens)))
    with pytest.raises(ValueError, match=r"unseen_tokens in ascending order in \[0, 143\]"):
        load_world(tmp_path)


def test_laws_of_another_type_are_refused():
    with pytest.raises(ValueError, match="permanence of Laws to be bool, got 1"):
        Laws(permanence=1)  # type: ignore[arg-type]
