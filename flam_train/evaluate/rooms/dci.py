"""Disentanglement, completeness and informativeness (paper C.2): does each slot hold one agent, and all of it?"""

import math
from itertools import combinations

import torch
from torch import Tensor

from flam_train.evaluate.rooms.cell_probe import Judgement, Split, fit_probe, judge, matched_slots


def dci_scores(
    slots: Tensor, cells: Tensor, count: int, split: Split, seed: int = 0
) -> tuple[dict[str, float], Tensor]:
    """Fits a probe on the training episodes and scores it on the others.

    Args:
        slots: (E, T, K, S) of E episodes, K >= 2.
        cells: int64 (E, T, agents), the cell that each agent stands in, 0 to count - 1; at least 2 agents.
        count: number of cells.
        split: of the episodes.
        seed: of the probe.

    Returns:
        `disentanglement`, `completeness`, `informativeness` and `matched_disentanglement` as `dci` has them;
        `match_consistency`, the share of consecutive frames in which all agents keep their slot; and the slot that is
        matched with each agent in all episodes, int64 (E, T, agents), -1 where it has none.

    Raises:
        ValueError: sizes that do not fit, cells out of range, or slots that are not finite.
        ImportError: SciPy is missing.
    """
    _check(slots, cells, count)
    probe = fit_probe(slots[split.train], cells[split.train], count, seed)
    judged = judge(probe, slots.flatten(0, 1), cells.flatten(0, 1))
    matched = matched_slots(judged.pairs).unflatten(0, cells.shape[:2])
    held_out = Judgement(*(part.unflatten(0, cells.shape[:2])[split.held_out].flatten(0, 1) for part in judged))
    kept = consistency(matched[split.held_out], too_few=slots.shape[2] < cells.shape[2])
    return dci(held_out) | {"match_consistency": kept}, matched


def random_scores(slots: Tensor, cells: Tensor, count: int, split: Split, seed: int = 0) -> dict[str, float]:
    """What `dci_scores` gives for slots of the same shape that are random numbers."""
    noise = torch.randn(slots.shape, generator=torch.Generator().manual_seed(seed))
    return dci_scores(noise, cells, count, split, seed)[0]


def dci(judged: Judgement) -> dict[str, float]:
    """Means over frames, from 0 to 1.

    Returns:
        disentanglement: how little the likelihoods of a slot spread over agents; completeness: how little those of an
        agent spread over slots; informativeness: accuracy of the matched pairs; matched_disentanglement: of the slots
        that are matched only, which differs where there are more slots than agents.
    """
    cost, correct, pairs = judged
    of_slots, of_agents = concentration(-cost, 2), concentration(-cost, 1)
    return {
        "disentanglement": of_slots.mean().item(),
        "completeness": of_agents.mean().item(),
        "informativeness": (correct & pairs).sum().item() / pairs.sum().item(),
        "matched_disentanglement": of_slots[pairs.any(2)].mean().item(),
    }


def concentration(log_likelihood: Tensor, dim: int) -> Tensor:
    """One minus the entropy of the shares along an axis over that of equal shares: 1 for one of them, 0 for all."""
    shares = log_likelihood.double().softmax(dim)
    return 1 - torch.special.entr(shares).sum(dim) / math.log(shares.shape[dim])


def consistency(slots: Tensor, too_few: bool = False) -> float:
    """Share of consecutive frames in which every agent keeps its slot.

    Args:
        slots: int64 (E, T, agents), T >= 2, -1 for an agent that has no slot and so keeps none.
        too_few: there are fewer slots than agents, so some must do without: then staying without one counts as keeping.
    """
    kept = (slots[:, 1:] == slots[:, :-1]) & ((slots[:, 1:] >= 0) | too_few)
    return kept.all(-1).double().mean().item()


def own_slots(owners: Tensor) -> Tensor:
    """Which agents have a slot of their own: owners (..., agents), the slot that owns each one's cell -> bool.

    An agent has a slot of its own if the slot that owns its cell owns the cell of no other agent. That slot may hold
    the background as well. An agent that no slot owns, -1, has none.
    """
    return ((owners[..., :, None] == owners[..., None, :]).sum(-1) == 1) & (owners >= 0)


def shared_slots(owners: Tensor) -> dict[str, float]:
    """Share of the frames in which two agents are in one slot, for every pair of agents, by `pair_name`.

    Args:
        owners: int64 (..., agents), the slot that owns each agent's cell; -1, none, is shared by nobody.
    """
    pairs = combinations(range(owners.shape[-1]), 2)
    of_agents = owners.unbind(-1)
    return {
        pair_name(i, j): ((of_agents[i] == of_agents[j]) & (of_agents[i] >= 0)).double().mean().item() for i, j in pairs
    }


def pair_name(first: int, second: int) -> str:
    """What `shared_slots` calls a pair of agents, the smaller number first."""
    return f"same_slot_of_{first}_and_{second}"


def _check(slots: Tensor, cells: Tensor, count: int) -> None:
    fits = slots.ndim == 4 and cells.ndim == 3 and slots.shape[:2] == cells.shape[:2]
    if not fits or slots.shape[2] < 2 or cells.shape[2] < 2 or cells.shape[1] < 2:
        raise ValueError(
            "expected slots (E, T, K, S) and cells (E, T, agents) with T, K and agents of 2 or more, "
            f"got {tuple(slots.shape)} and {tuple(cells.shape)}; disentanglement needs several of each"
        )
    if cells.min() < 0 or cells.max() >= count:
        raise ValueError(f"expected cells from 0 to {count - 1}, got {cells.min()} to {cells.max()}; count walls out")
    if not slots.isfinite().all():
        raise ValueError("expected finite slots, got NaN or infinity; the world is damaged, train it again")
