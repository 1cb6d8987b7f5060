"""A fused optimizer takes gradients as fp16's scaler leaves them, so they can't be clipped before it."""

import pytest
import torch
from torch import nn

from lightning_modules.option_ranges import check_clipping


def adamw(*, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW([nn.Parameter(torch.zeros(2))], fused=fused)


def test_fused_with_fp16_and_clipping_is_refused() -> None:
    expected = r"a fused AdamW, which can't be joined with --trainer.precision 16-mixed and .*gradient_clip_val 0.5\."
    with pytest.raises(ValueError, match=expected):
        check_clipping(adamw(fused=True), "16-mixed", 0.5)


@pytest.mark.parametrize(
    ("fused", "precision", "clipped_at"),
    [(True, "16-mixed", None), (True, "bf16-mixed", 1.0), (True, "32-true", 1.0), (False, "16-mixed", 1.0)],
)
def test_anything_else_goes_together(fused: bool, precision: str, clipped_at: float | None) -> None:
    check_clipping(adamw(fused=fused), precision, clipped_at)
