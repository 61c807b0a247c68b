"""Muon in stacks is torch's Muon, matrix by matrix."""

import pytest
import torch
from torch import nn

from flam_train.engine import muon
from flam_train.engine.muon import Muon

SHAPES = ((12, 8), (8, 12), (12, 8), (5, 5), (12, 8), (3, 7), (8, 12))
SETTINGS = {"lr": 0.02, "weight_decay": 0.1}


def matrices() -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES]


def train(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], steps: int = 6) -> None:
    random = torch.Generator().manual_seed(4)
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=random).to(weight.device)
        optimizer.step()


def test_stacks_give_what_torch_gives_one_by_one():
    ours, theirs, start = matrices(), matrices(), matrices()
    stacked = Muon(ours, **SETTINGS)
    one_by_one = torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **SETTINGS)
    train(stacked, ours), train(one_by_one, theirs)
    for mine, its, before in zip(ours, theirs, start, strict=True):
        assert not torch.allclose(mine, before, atol=0.01)
        torch.testing.assert_close(mine, its, atol=2e-6, rtol=0)
        assert stacked.state[mine].keys() == one_by_one.state[its].keys(), "either goes on where the other stopped"
        assert torch.equal(stacked.state[mine]["momentum_buffer"], one_by_one.state[its]["momentum_buffer"])


def test_each_shape_is_one_stack(monkeypatch):
    seen, orthogonalized = [], muon.orthogonalized

    def noted(stack):
        seen.append(tuple(stack.shape))
        return orthogonalized(stack)

    monkeypatch.setattr(muon, "orthogonalized", noted)
    weights = matrices()
    train(Muon(weights, **SETTINGS), weights, steps=1)
    assert sorted(seen) == [(1, 3, 7), (1, 5, 5), (2, 8, 12), (3, 12, 8)]


def test_a_rate_may_be_a_tensor_which_is_read_in_the_step():
    numbers, tensors = matrices(), matrices()
    rate = torch.tensor(0.5, dtype=torch.float64)
    stacked = Muon(tensors, lr=rate, weight_decay=0.1)
    rate.fill_(0.02)
    train(Muon(numbers, **SETTINGS), numbers), train(stacked, tensors)
    for one, other in zip(numbers, tensors, strict=True):
        assert torch.equal(one, other)


def test_matrices_without_a_gradient_stay_and_have_no_state():
    weights = matrices()
    before = weights[0].detach().clone()
    optimizer = Muon(weights, **SETTINGS)
    weights[1].grad = torch.ones_like(weights[1])
    optimizer.step()
    assert torch.equal(weights[0], before) and [*optimizer.state] == [weights[1]]


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"expected matrices, got a tensor of shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], **SETTINGS)


@pytest.mark.gpu
def test_a_gpu_gives_what_a_cpu_gives():
    here, there = matrices(), [nn.Parameter(weight.detach().cuda()) for weight in matrices()]
    train(Muon(here, **SETTINGS), here), train(Muon(there, **SETTINGS), there)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other.cpu(), atol=5e-3, rtol=0)  # products in bfloat16
