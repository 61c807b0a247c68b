"""Promise: attention means the same whether it is written out or runs in one kernel."""

import pytest
import torch

from flam_env.models import layers


def attended(*, long: int, queries: int, monkeypatch) -> list[torch.Tensor]:
    """What comes of attention, and its gradients, where one kernel serves from `long` tokens on."""
    monkeypatch.setattr(layers, "LONG", long)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, tokens, 8, generator=generator, requires_grad=True) for tokens in (queries, 20, 20)]
    output = layers.attend(*inputs)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), inputs)]


@pytest.mark.parametrize("queries", [20, 33])
def test_attention_and_its_gradients_are_the_same_in_one_kernel_and_written_out(monkeypatch, queries):
    called = []
    kernel = layers.scaled_dot_product_attention
    monkeypatch.setattr(layers, "scaled_dot_product_attention", lambda *args: called.append(1) or kernel(*args))
    one, written = (attended(long=long, queries=queries, monkeypatch=monkeypatch) for long in (20, 34))
    assert called == [1], "each way was taken once"
    for fast, plain in zip(one, written, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


def test_what_is_hidden_is_attended_to_by_nothing_however_long(monkeypatch):
    monkeypatch.setattr(layers, "LONG", 1)
    query, key, value = (torch.randn(2, 5, 8) for _ in range(3))
    hidden = torch.tensor([False, True, False, False, True])
    other = torch.where(hidden[:, None], value + 1, value)
    assert torch.equal(layers.attend(query, key, value, hidden), layers.attend(query, key, other, hidden))
