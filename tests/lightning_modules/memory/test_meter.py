"""Live bytes by hand: what comes, what goes, what is shared."""

import torch

from lightning_modules.memory.meter import LiveBytes, byte_count


def test_bytes_come_and_go_with_their_tensors() -> None:
    for device in ("cpu", "meta"):
        with LiveBytes() as meter:
            one = torch.zeros(1000, device=device)  # 4000 bytes
            two = one + one
            assert meter.live == 8000
            del two
            assert meter.live == 4000
            one.view(10, 100).t()  # a view is no new memory
            assert meter.live == 4000
        assert meter.peak == 8000


def test_what_was_there_is_counted_once_and_when_it_goes() -> None:
    before = torch.zeros(100)
    view = before.view(10, 10)
    with LiveBytes() as meter:
        assert meter.watch([before, view]) == 400
        kept = before.view(50, 2) + 1
        assert meter.live == 800
        del before, view
        assert meter.live == 400
    assert meter.peak == 800
    assert kept.shape == (50, 2)


def test_backward_keeps_what_autograd_saved() -> None:
    """Of y = sum(exp(x)) autograd keeps exp(x); the gradient comes in the backward pass."""
    x = torch.zeros(1000, requires_grad=True)
    with LiveBytes() as meter:
        y = x.exp().sum()
        assert meter.live == 4000 + 4  # exp(x), held by the graph, and y
        y.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert meter.live == 4000 + 4  # exp(x) has gone, the gradient has come


def test_byte_count_counts_shared_storage_once() -> None:
    weight = torch.zeros(4, 4, dtype=torch.float16)
    assert byte_count([weight, weight.t(), torch.zeros(2)]) == 32 + 8
