"""A linear probe that tells from a slot in which cell its agent stands (paper C.2).

One probe serves all slots, and which slot is asked about which agent is found anew in every frame: the matching of
least negative log-likelihood.

Where there are more slots than agents this alone would mean little: each spare slot comes to name one cell at all times
and takes whatever agent stands there (12 spare slots that hold nothing then have 42 % of the agents). So there the
probe has one class more, "no agent", for the slots that are left over, the matching is that of least loss, and in the
first half of the epochs, which learn the cells only, an agent keeps its slot for the whole episode.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

RESTARTS, EPOCHS, BATCH, LEARNING_RATE = 3, 20, 128, 1e-3
WEIGHT_DECAY = 0.01  # that of AdamW; more makes random slots score less: D .22, .16, .02 with .01, 1 and 10
HELD_OUT = 0.2  # share of the episodes on which a probe is scored
CHUNK = 4096  # frames at once when a probe is scored


class Probe(NamedTuple):
    """A softmax over M classes, linear in slots of S values that are standardised with the mean and the spread.

    The classes are cells, and "no agent" comes last if there is such a class. weight: (S, M); bias: (M,); mean,
    spread: (S,).
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    spread: Tensor


class Judgement(NamedTuple):
    """What a probe says of F frames.

    cost: (F, K, agents), negative log-likelihood of each agent's cell by each slot; correct: bool (F, K, agents),
    whether that cell is the slot's likeliest; pairs: bool (F, K, agents), the matching of least loss.
    """

    cost: Tensor
    correct: Tensor
    pairs: Tensor


class Split(NamedTuple):
    """Indices of episodes that probes are fitted on, and of those on which they are scored."""

    train: Tensor
    held_out: Tensor


def split_episodes(count: int, seed: int = 0) -> Split:
    """Four fifths of the episodes and the rest, at random; at least one each.

    Raises:
        ValueError: fewer than two episodes.
    """
    if count < 2:
        raise ValueError(f"expected at least 2 episodes for a probe, got {count}; collect more, or take another split")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = max(round(HELD_OUT * count), 1)
    return Split(order[held_out:].sort().values, order[:held_out].sort().values)


def fit_probe(slots: Tensor, cells: Tensor, count: int, seed: int = 0) -> Probe:
    """Fits RESTARTS probes side by side and returns that of the lowest loss in the last epoch.

    Agents are matched anew in every minibatch, on likelihoods that carry no gradient.

    Args:
        slots: (E, T, K, S).
        cells: int64 (E, T, agents), 0 to count - 1.
        count: number of cells.
        seed: of the first weights and of the order of frames.
    """
    random = torch.Generator().manual_seed(seed)
    mean, spread = slots.mean((0, 1, 2)), slots.std((0, 1, 2)).clamp(min=1e-6)
    slots = (slots - mean) / spread
    size, spare = slots.shape[-1], slots.shape[2] > cells.shape[2]
    weight = nn.Parameter((2 * torch.rand(RESTARTS, size, count + spare, generator=random) - 1) * size**-0.5)
    bias = nn.Parameter(torch.zeros(RESTARTS, count + spare))
    optimizer = torch.optim.AdamW([weight, bias], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for epoch in range(EPOCHS):
        losses, used, pairs = torch.zeros(RESTARTS), slice(None), None
        if spare and epoch < EPOCHS // 2:
            used = slice(count)
            pairs = _match_episodes(slots, cells, weight[..., used], bias[..., used])
        for batch in torch.randperm(cells[..., 0].numel(), generator=random).split(BATCH):
            place = batch // cells.shape[1], batch % cells.shape[1]
            log_likelihood = _log_softmax(slots[place], weight[..., used], bias[..., used])
            loss = _matched_loss(log_likelihood, cells[place], count, None if pairs is None else pairs[:, place[0]])
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            losses += loss.detach() * len(batch)
    best = int(losses.argmin())
    return Probe(weight.detach()[best], bias.detach()[best], mean, spread)


@torch.inference_mode()
def judge(probe: Probe, slots: Tensor, cells: Tensor) -> Judgement:
    """What the probe says of slots (F, K, S) and agents in cells int64 (F, agents)."""
    count, parts = probe.bias.shape[0] - (slots.shape[1] > cells.shape[1]), []
    for some, where in zip(slots.split(CHUNK), cells.split(CHUNK), strict=True):
        log_likelihood = _log_softmax((some - probe.mean) / probe.spread, probe.weight[None], probe.bias[None])
        cost, idle = _agents_cost(log_likelihood, where)[0], _idle_cost(log_likelihood, count)[0]
        correct = log_likelihood[0, ..., :count].argmax(-1)[:, :, None] == where[:, None]
        parts.append(Judgement(cost, correct, match(cost - idle[..., None])))
    return Judgement(*(torch.cat(part) for part in zip(*parts, strict=True)))


def match(cost: Tensor) -> Tensor:
    """The one-to-one pairs of least total cost (..., K, agents): bool of that shape, min(K, agents) pairs each."""
    assign = import_assignment()
    matrices = rearrange(cost.numpy(), "... k n -> (...) k n")
    pairs = np.zeros(matrices.shape, bool)
    for pair, matrix in zip(pairs, matrices, strict=True):
        pair[assign(matrix)] = True
    return torch.from_numpy(pairs).view(cost.shape)


def matched_slots(pairs: Tensor) -> Tensor:
    """Pairs bool (..., K, agents) -> the slot of each agent, int64 (..., agents), -1 for none."""
    return torch.where(pairs.any(-2), pairs.int().argmax(-2), -1)


def import_assignment() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """SciPy's Hungarian algorithm.

    Raises:
        ImportError: the package is missing; the message names the remedy.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError(
            f"matching slots with agents needs scipy ({error}); install it with: pip install 'flam-env[eval]'"
        ) from error
    return linear_sum_assignment


def _log_softmax(slots: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Standardised slots (F, K, S), weights (R, S, M), biases (R, M) of R probes -> (R, F, K, M)."""
    return (torch.einsum("fks,rsm->rfkm", slots, weight) + bias[:, None, None]).log_softmax(-1)


def _agents_cost(log_likelihood: Tensor, cells: Tensor) -> Tensor:
    """Log-likelihood (R, F, K, M) of classes, agents' cells (F, agents) -> its negative for them (R, F, K, agents)."""
    probes, _, slots, _ = log_likelihood.shape
    return -log_likelihood.gather(-1, repeat(cells, "f n -> r f k n", r=probes, k=slots))


def _idle_cost(log_likelihood: Tensor, count: int) -> Tensor:
    """What "no agent" costs each slot, (R, F, K); 0 where the classes are the cells alone."""
    return -log_likelihood[..., count:].sum(-1)


def _matched_loss(log_likelihood: Tensor, cells: Tensor, count: int, pairs: Tensor | None) -> Tensor:
    """Cross-entropy of each probe, (R,), a mean over slots that are matched or may be idle; finds the pairs if none."""
    cost, idle = _agents_cost(log_likelihood, cells), _idle_cost(log_likelihood, count)
    pairs = match((cost - idle[..., None]).detach()) if pairs is None else pairs
    return torch.where(pairs.any(-1), (cost * pairs).sum(-1), idle).mean((1, 2))


@torch.no_grad()
def _match_episodes(slots: Tensor, cells: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Matches slots (E, T, K, S) and agents (E, T, agents) for whole episodes: pairs bool (R, E, K, agents)."""
    episodes = zip(slots, cells, strict=True)
    return match(torch.stack([_agents_cost(_log_softmax(s, weight, bias), c).sum(1) for s, c in episodes], 1))
