"""Which optimizers can train: asked before anything is loaded."""

import pytest
import torch
from torch import nn

from lightning_modules.model_options import check_fused, make, try_optimizer_and_schedule


def adamw(*, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW([nn.Parameter(torch.zeros(2))], fused=fused)


def test_fused_with_fp16_is_refused() -> None:
    """It takes gradients as fp16's scaler leaves them, so nobody can look at them before it."""
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


def test_an_optimizer_of_matrices_is_taken_and_says_itself_what_it_does_not_take() -> None:
    """Muon's matrices are what a LoRA of linear layers has; one of convolutions has four dimensions."""
    try_optimizer_and_schedule(
        torch.optim.Muon, lambda optimizer: torch.optim.lr_scheduler.ConstantLR(optimizer)
    )
    with pytest.raises(
        ValueError, match=r"--model\.optimizer can't be made .*Muon only supports 2D parameters"
    ):
        make("model.optimizer", torch.optim.Muon, [nn.Parameter(torch.zeros(4, 2, 1, 1))])
