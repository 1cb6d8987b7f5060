"""Does every adapter tensor receive a gradient?

With gradient checkpointing or a wrong graph, adapters can stay untrained in silence. While B is zero, A has
no gradient; after two updates with a learning rate above zero each tensor must have had one. Updates that are left
out don't count: it stands behind the loss guard, which has dropped their gradients.
"""

import lightning as L
import torch
from torch.optim import Optimizer

PATIENCE = 2
"""Updates until every tensor has had a gradient: A's comes with the second, when B has moved."""

PATIENCE_FP16 = 50
"""In fp16 the first gradients of A can underflow to zero, as B is still tiny then."""


class AdapterLearns(L.Callback):
    """Stops a run in which some trainable tensor gets no gradient in its first updates."""

    def __init__(self) -> None:
        self._updates = 0
        self._silent: set[str] | None = None

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Look at the gradients until each tensor has had one.

        Raises:
            RuntimeError: naming the tensors that had none.
        """
        if self._silent == set():
            return
        named = {name: p for name, p in pl_module.named_parameters() if p.requires_grad}
        gradients = {name: p.grad for name, p in named.items() if p.grad is not None}
        if not gradients or optimizer.param_groups[0]["lr"] <= 0:
            return
        # read together: a GPU is waited for once
        moves = torch.stack([gradient.any() for gradient in gradients.values()]).tolist()
        learning = {name for name, moved in zip(gradients, moves, strict=True) if moved}
        self._silent = (named.keys() if self._silent is None else self._silent) - learning
        self._updates += 1
        patience = PATIENCE_FP16 if trainer.precision == "16-mixed" else PATIENCE
        if self._silent and self._updates >= patience:
            some = ", ".join(sorted(self._silent)[:3])
            raise RuntimeError(
                f"{len(self._silent)} of {len(named)} adapter tensors have had no gradient after {patience} updates: "
                f"{some}. They would stay untrained. Try --model.gradient_checkpointing false."
            )
