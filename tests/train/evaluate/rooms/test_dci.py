"""Slots with a known answer: perfect ones, uninformed ones, merged ones, and more or fewer than agents."""

import sys

import pytest
import torch
from torch import Tensor

from flam_train.evaluate.rooms import cell_probe
from flam_train.evaluate.rooms.action_probe import action_scores, visible_actions
from flam_train.evaluate.rooms.cell_probe import Judgement, fit_probe, judge, match, matched_slots, split_episodes
from flam_train.evaluate.rooms.clips import Seen
from flam_train.evaluate.rooms.dci import (
    consistency,
    dci,
    dci_scores,
    own_slots,
    pair_name,
    random_scores,
    shared_slots,
)
from flam_train.evaluate.rooms.factorization import probe_scores
from flam_train.sources.multigrid import FORWARD, LEFT, RIGHT, STILL

CELLS, SIZE = 9, 13  # places of agents; values of a slot
EPISODES, FRAMES = 11, 60


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def places(agents: int, episodes: int = EPISODES, frames: int = FRAMES, cells: int = CELLS) -> Tensor:
    """Cells of agents, no two in one, at each frame anew: int64 (episodes, frames, agents)."""
    return draw(episodes, frames, cells, seed=5).argsort(-1)[..., :agents]


def slots_of(cells: Tensor, slots: int, noise: float = 0.1) -> Tensor:
    """Slot k holds the place of agent k; all slots have a mark of their own, and those beyond the agents only that."""
    values = 2 * draw(slots, SIZE, seed=1) + noise * draw(*cells.shape[:2], slots, SIZE, seed=2)
    holding = min(slots, cells.shape[-1])
    values[:, :, :holding] += 3 * draw(CELLS, SIZE, seed=3)[cells[..., :holding]]
    return values


def judged(cost: Tensor) -> Judgement:
    return Judgement(cost, torch.ones_like(cost).bool(), match(cost))


@pytest.fixture
def quick(monkeypatch):
    """Few frames need larger steps."""
    monkeypatch.setattr(cell_probe, "LEARNING_RATE", 3e-2)
    monkeypatch.setattr(cell_probe, "BATCH", 60)


# --- closed forms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agents", [3, 5])
def test_perfect_likelihoods_score_one_and_equal_ones_zero(agents):
    perfect = dci(judged(100 * (1 - torch.eye(agents)).expand(7, -1, -1)))
    assert list(perfect.values()) == pytest.approx([1] * 4)
    uniform = dci(judged(torch.full((7, 4, agents), 3.58)))
    assert [uniform[name] for name in ("disentanglement", "completeness")] == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("cells", [17, 36])
def test_random_logits_score_what_metrics_md_measured(cells):
    """D = C = .33 for logits with a spread of 1.5, however many cells; I is about 3.3 / cells."""
    log_likelihood = (1.5 * draw(5000, 4, cells)).log_softmax(-1)
    where = draw(5000, cells, seed=1).argsort(-1)[:, :4]
    cost = -log_likelihood.gather(-1, where[:, None].expand(-1, 4, -1))
    scores = dci(Judgement(cost, log_likelihood.argmax(-1)[..., None] == where[:, None], match(cost)))
    assert scores["disentanglement"] == pytest.approx(0.33, abs=0.02)
    assert scores["completeness"] == pytest.approx(0.33, abs=0.02)
    assert scores["informativeness"] == pytest.approx(3.3 / cells, abs=0.02)


def test_scores_of_a_case_counted_by_hand():
    """Slot 0 knows agent 0, slot 1 cannot tell the agents apart, and slot 2 is for neither."""
    likelihood = torch.tensor([[[0.9, 0.0], [0.3, 0.3], [0.0, 0.1]]])
    correct = torch.tensor([[[True, False], [False, False], [False, True]]])
    scores = dci(Judgement(-likelihood.log(), correct, match(-likelihood.clamp(min=1e-9).log())))
    quarter = (0.25 * torch.tensor(4.0).log() + 0.75 * torch.tensor(4 / 3).log()).item() / torch.tensor(3.0).log()
    assert scores["disentanglement"] == pytest.approx(2 / 3)
    assert scores["matched_disentanglement"] == pytest.approx(1 / 2)
    assert scores["completeness"] == pytest.approx(1 - float(quarter))
    assert scores["informativeness"] == 1 / 2  # pairs: slot 0 with agent 0, slot 1 with agent 1


# --- matching ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots, agents", [(3, 3), (5, 3), (3, 5)])
def test_the_cheapest_pairs_are_found(slots, agents):
    cost = torch.full((2, 7, slots, agents), 5.0)
    order = draw(2, 7, max(slots, agents)).argsort(-1)
    small = min(slots, agents)
    for place in torch.cartesian_prod(torch.arange(2), torch.arange(7)).tolist():
        other = order[*place][:small]
        rows, columns = (torch.arange(small), other) if slots <= agents else (other, torch.arange(small))
        cost[*place][rows, columns] = 1
    pairs = match(cost)
    assert torch.equal(pairs, cost == 1)
    found = matched_slots(pairs)
    assert found.shape == (2, 7, agents) and (found >= 0).sum() == 14 * small
    assert torch.equal(found[..., None, :] == torch.arange(slots)[:, None], pairs)


def test_consistency_counts_frames_in_which_all_agents_keep_their_slot():
    slots = torch.tensor([[[0, 1, 2], [0, 1, 2], [1, 0, 2], [1, 0, 2]], [[2, 1, 0], [2, 1, -1], [2, 1, -1], [2, 1, 0]]])
    assert consistency(slots) == pytest.approx(2 / 6)  # an agent without a slot keeps none
    assert consistency(slots, too_few=True) == pytest.approx(3 / 6)


def test_agents_that_share_a_slot_have_none_of_their_own():
    owners = torch.tensor([[[0, 1, 2, 4, 3], [0, 1, 1, 4, 3]], [[0, 0, 0, 0, 0], [5, 5, 1, 2, 2]]])
    assert own_slots(owners).sum(-1).tolist() == [[5, 3], [0, 1]]
    assert own_slots(owners)[1, 1].tolist() == [False, False, True, False, False]


def test_an_agent_that_the_sink_owns_has_no_slot_of_its_own():
    owners = torch.tensor([[-1, 0, 2], [-1, -1, 2], [-1, -1, -1]])
    assert own_slots(owners).sum(-1).tolist() == [2, 1, 0]
    assert consistency(owners[None, :1].expand(1, 4, 3)) == 0
    assert consistency(owners[None, :1, 1:].expand(1, 4, 2)) == 1


def test_pairs_of_agents_share_a_slot_in_some_frames():
    owners = torch.tensor([[[0, 0, 2], [1, 0, 1]], [[2, 2, 2], [-1, 3, -1]]])  # the sink's agents share no slot
    assert shared_slots(owners) == {pair_name(0, 1): 0.5, pair_name(0, 2): 0.5, pair_name(1, 2): 0.25}
    assert shared_slots(torch.full((2, 3, 2), -1)) == {pair_name(0, 1): 0}


# --- the probe --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots, agents", [(3, 3), (7, 3), (3, 4)])
def test_slots_that_hold_an_agent_each_are_found(quick, slots, agents):
    cells, split = places(agents), split_episodes(EPISODES)
    scores, matched = dci_scores(slots_of(cells, slots), cells, CELLS, split)
    assert scores["matched_disentanglement"] > 0.97 and scores["informativeness"] > 0.97
    assert matched.shape == cells.shape
    holding = min(slots, agents)
    assert (matched[..., :holding] == torch.arange(holding)).float().mean() > 0.97
    assert (matched[..., holding:] == -1).float().mean() > 0.97 or slots >= agents
    if slots >= agents:
        assert scores["completeness"] > 0.9 and scores["match_consistency"] > 0.95
    if slots > agents:  # what spare slots say of agents does not count as theirs, but is no better than chance
        assert scores["disentanglement"] < scores["matched_disentanglement"]


def test_two_agents_in_one_slot_cost_completeness_and_information(quick):
    cells, split = places(3), split_episodes(EPISODES)
    merged = slots_of(cells, 3)
    merged[:, :, 1] += 3 * draw(CELLS, SIZE, seed=3)[cells[..., 2]]
    merged[:, :, 2] = draw(SIZE)
    apart, together = (dci_scores(slots, cells, CELLS, split)[0] for slots in (slots_of(cells, 3), merged))
    for name in ("disentanglement", "informativeness"):
        assert together[name] < apart[name] - 0.1


def test_the_order_of_slots_and_of_agents_changes_nothing(quick):
    cells, split = places(4), split_episodes(EPISODES)
    slots = slots_of(cells, 5, noise=2.0)
    scores, matched = dci_scores(slots, cells, CELLS, split)
    of_slots, of_agents = torch.tensor([2, 0, 4, 1, 3]), torch.tensor([3, 1, 0, 2])
    moved, moved_matched = dci_scores(slots[:, :, of_slots], cells[..., of_agents], CELLS, split)
    assert moved == pytest.approx(scores, abs=0.01)
    back = torch.where(moved_matched < 0, -1, of_slots[moved_matched])
    assert (back == matched[..., of_agents]).float().mean() > 0.99


def test_random_slots_are_the_floor_and_the_same_for_the_same_seed(quick):
    cells, split = places(3), split_episodes(EPISODES)
    slots = slots_of(cells, 4)
    one, same, other = (random_scores(slots, cells, CELLS, split, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert one["informativeness"] < 0.6 and one["match_consistency"] < 0.5
    assert one["matched_disentanglement"] < 0.8


def test_the_probe_is_scored_on_episodes_that_it_has_not_seen(quick):
    split = split_episodes(EPISODES, seed=4)
    assert len(split.held_out) == 2 and sorted(torch.cat(split).tolist()) == list(range(EPISODES))
    assert split_episodes(2).held_out.numel() == split_episodes(2).train.numel() == 1
    cells = places(3)
    slots = slots_of(cells, 3)
    slots[split.held_out] = draw(2, FRAMES, 3, SIZE)
    assert dci_scores(slots, cells, CELLS, split)[0]["informativeness"] < 0.6


def test_units_of_slots_do_not_matter(quick):
    cells = places(3)
    slots = slots_of(cells, 3)
    scaled = slots * torch.linspace(0.1, 40, SIZE) + torch.linspace(-9, 5, SIZE)
    costs = [judge(fit_probe(s, cells, CELLS), s[0], cells[0]).cost for s in (slots, scaled)]
    assert torch.allclose(*costs, atol=0.02)


@pytest.mark.parametrize(
    "slots, cells, message",
    [
        (torch.zeros(5, 6, 3, 7), torch.zeros(5, 4, 2).long(), "expected slots .* got .5, 6, 3, 7. and .5, 4, 2."),
        (torch.zeros(5, 6, 1, 7), torch.zeros(5, 6, 2).long(), "T, K and agents of 2 or more"),
        (torch.zeros(5, 6, 3, 7), torch.zeros(5, 6, 1).long(), "T, K and agents of 2 or more"),
        (torch.zeros(5, 6, 3, 7), torch.full((5, 6, 2), 9), "expected cells from 0 to 8, got 9 to 9"),
        (torch.full((5, 6, 3, 7), torch.nan), torch.zeros(5, 6, 2).long(), "expected finite slots"),
    ],
)
def test_slots_and_cells_that_do_not_fit_are_refused(slots, cells, message):
    with pytest.raises(ValueError, match=message):
        dci_scores(slots, cells, CELLS, split_episodes(5))


def test_one_episode_is_not_enough():
    with pytest.raises(ValueError, match="expected at least 2 episodes for a probe, got 1"):
        split_episodes(1)


def test_scipy_that_is_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[eval\]'"):
        match(torch.zeros(1, 2, 3))


# --- actions ----------------------------------------------------------------------------------------------------


def test_a_blocked_move_is_none():
    actions = torch.tensor([[FORWARD, LEFT], [FORWARD, FORWARD], [STILL, RIGHT], [FORWARD, FORWARD]])
    positions = torch.tensor([[[1, 1], [3, 2]], [[1, 1], [3, 2]], [[2, 1], [3, 2]], [[2, 1], [3, 2]]])
    assert visible_actions(actions, positions).tolist() == [[STILL, LEFT], [FORWARD, STILL], [STILL, RIGHT]]
    assert visible_actions(actions.expand(3, 5, 4, 2), positions.expand(3, 5, 4, 2, 2)).shape == (3, 5, 3, 2)


def acting(agents: int, slots: int, size: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Latent actions that tell the action of the agent in the slot, the slot of each agent, and the actions."""
    actions = torch.randint(4, (EPISODES, FRAMES - 1, agents), generator=torch.Generator().manual_seed(0))
    slot_of_agent = draw(EPISODES, FRAMES, slots, seed=6).argsort(-1)[..., :agents]
    latent_actions = 5 * draw(EPISODES, FRAMES - 1, slots, size, seed=7)
    told = 10 * draw(4, size, seed=8)[actions] + draw(EPISODES, FRAMES - 1, agents, size, seed=9)
    latent_actions.scatter_(2, slot_of_agent[:, :-1, :, None].expand(-1, -1, -1, size), told)
    return latent_actions, slot_of_agent, actions


HEADING = torch.zeros(EPISODES, FRAMES - 1, 3, dtype=torch.long)


def test_actions_are_read_from_the_slot_of_each_agent():
    latent_actions, slot_of_agent, actions = acting(agents=3, slots=5)
    split = split_episodes(EPISODES)
    scores = action_scores(latent_actions, slot_of_agent, actions, HEADING, split)
    assert scores["accuracy"] > 0.99 and scores["agents_left_out"] == 0
    assert 0.25 <= scores["floor"] < 0.35
    mixed = action_scores(latent_actions, slot_of_agent.roll(1, 0), actions, HEADING, split)
    assert mixed["accuracy"] < 0.6


def test_actions_that_each_heading_calls_differently_are_told_once_the_heading_is_known():
    latent_actions, slot_of_agent, actions = acting(agents=3, slots=5)
    heading = torch.randint(4, actions.shape, generator=torch.Generator().manual_seed(1))
    scores = action_scores(latent_actions, slot_of_agent, (actions + heading) % 4, heading, split_episodes(EPISODES))
    assert scores["accuracy"] < 0.4 and scores["accuracy_heading_known"] > 0.98


def test_agents_without_a_slot_are_left_out():
    latent_actions, slot_of_agent, actions = acting(agents=3, slots=5)
    slot_of_agent[..., 2], actions[..., 2] = -1, 0
    scores = action_scores(latent_actions, slot_of_agent, actions, HEADING, split_episodes(EPISODES))
    assert scores["accuracy"] > 0.99 and scores["agents_left_out"] == pytest.approx(1 / 3)
    assert scores["floor"] < 0.35


# --- all that probes and masks say ------------------------------------------------------------------------------


def test_perfect_slots_of_agents_that_walk(quick):
    """Agents in a room of 3 x 3 cells inside the walls, whose slots hold places and whose latent actions hold steps."""
    cells = places(3, cells=9)
    positions = torch.stack([cells % 3, cells // 3], -1) + 1
    latent_actions, _, actions = acting(agents=3, slots=3)
    every = torch.arange(3).expand_as(cells)
    latent_actions = 10 * draw(4, 6, seed=8)[visible_actions(torch.cat([actions, actions[:, :1]], 1), positions)]
    seen = Seen(
        slots_of(cells, 3), every, latent_actions, positions, cells % 4, torch.cat([actions, actions[:, :1]], 1)
    )
    scores = probe_scores(seen, 3)
    assert scores["actions"]["accuracy"] > 0.97
    assert scores["dci"]["agents_with_own_slot"] == 3
    assert scores["dci"]["all_with_own_slot"] == scores["dci"]["owner_consistency"] == 1
    for name in ("disentanglement", "completeness", "informativeness"):
        assert scores["dci"][name] > 0.97 > scores["dci"][f"random_{name}"]


def test_merged_masks_leave_fewer_agents_with_a_slot_of_their_own(quick):
    cells = places(3)
    owners = torch.arange(3).expand_as(cells).clone()
    owners[:, ::2, 2] = 1  # in half of the frames
    positions = torch.stack([cells % 3, cells // 3], -1) + 1
    seen = Seen(slots_of(cells, 3), owners, draw(EPISODES, FRAMES - 1, 3, 2), positions, cells % 4, cells % 4)
    scores = probe_scores(seen, 3)["dci"]
    assert scores["agents_with_own_slot"] == 2 and scores["all_with_own_slot"] == 0.5
    assert scores["owner_consistency"] == 0
    assert [scores[pair_name(*pair)] for pair in ((0, 1), (0, 2), (1, 2))] == [0, 0, 0.5]
