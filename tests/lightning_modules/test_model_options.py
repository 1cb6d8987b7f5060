"""A fused optimizer takes gradients as fp16's scaler leaves them, so nobody can look at them before it."""

import pytest
import torch
from torch import nn

from lightning_modules.model_options import check_fused


def adamw(*, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW([nn.Parameter(torch.zeros(2))], fused=fused)


def test_fused_with_fp16_is_refused() -> None:
    expected = (
        r"a fused AdamW, which can't be joined with --trainer.precision 16-mixed\. Leave .*fused out, or"
    )
    with pytest.raises(ValueError, match=expected):
        check_fused(adamw(fused=True), "16-mixed")


@pytest.mark.parametrize(
    ("fused", "precision"), [(True, "bf16-mixed"), (True, "32-true"), (False, "16-mixed")]
)
def test_anything_else_goes_together(fused: bool, precision: str) -> None:
    check_fused(adamw(fused=fused), precision)
