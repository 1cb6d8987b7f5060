"""What a validation found, in one line: what changed, and whether it is still getting better.

    step 150 | style +25.1 ± 3.0 (last +1.2 ± 0.9, rising) | prompts -3.1 ± 1.8 | loss 0.3712 (-0.0041) | best

Style and prompts are changes of the CLIP score by the LoRA, mean over the samples, with the half of their 95 % interval
over prompts; what stands in brackets is the change since the validation before.
"""

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.checkpoints import Checkpoints
from callbacks.clip_score import ClipScore, ClipScores
from callbacks.progress import RunProgress
from evaluation.bootstrap import Array, Estimate, mean

SEED = 0  # of the resampling
LEGEND = (
    "CLIP score gained by the LoRA, ± its 95 % interval over prompts; (last ...) since the validation before."
)


class ValidationLine(Checkpoint):
    """Prints the line, behind the callbacks that score and that keep the best.

    Lightning calls callbacks of the kind Checkpoint last, so this is one.
    """

    def __init__(self) -> None:
        self._before: ClipScores | None = None
        self._loss: float | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it, in the first process."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        parts = [*self._scores(trainer), *self._held_out(trainer), *_best(trainer)]
        if parts and trainer.is_global_zero:
            say(trainer, " | ".join([f"step {trainer.global_step}", *parts]))

    def _scores(self, trainer: Trainer) -> list[str]:
        """Style and prompts, of the scores of this validation."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        latest = next((one.latest for one in callbacks if isinstance(one, ClipScore)), None)
        if latest is None or latest.step != trainer.global_step:
            return []
        before, self._before = self._before, latest
        if before is None and trainer.is_global_zero:
            say(trainer, LEGEND)
        return score_parts(latest, before)

    def _held_out(self, trainer: Trainer) -> list[str]:
        if "val/loss" not in trainer.callback_metrics:
            return []
        loss = float(trainer.callback_metrics["val/loss"])
        before, self._loss = self._loss, loss
        return [f"loss {loss:.4f}" + ("" if before is None else f" ({loss - before:+.4f})")]


def score_parts(scores: ClipScores, before: ClipScores | None) -> list[str]:
    """What the scores of a validation say, with those of the one before it, if there was one."""
    parts = []
    for question, name in (("style", "style"), ("prompt", "prompts")):
        part = f"{name} {plus_minus(mean(_column(scores.deltas(question)), SEED))}"
        if before is not None and question == "style":
            pairs = zip(before.scores[question]["lora"], scores.scores[question]["lora"], strict=True)
            since = mean(_column([now - then for then, now in pairs]), SEED)
            part += f" (last {plus_minus(since)}{trend(since)})"
        parts.append(part)
    return parts


def plus_minus(estimate: Estimate) -> str:
    """Such as "+4.1 ± 1.9"; of one prompt there is no interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.1f}"
    return f"{estimate.value:+.1f} ± {(estimate.high - estimate.low) / 2:.1f}"


def trend(change: Estimate) -> str:
    """Whether a score still rises, by the interval of its change."""
    if change.low is None:
        return ""
    if change.holds_zero:
        return ", not shown to rise"
    return ", rising" if change.value > 0 else ", falling"


def say(trainer: Trainer, line: str) -> None:
    """Print a line without breaking the run's bar."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, RunProgress):
        bar.print(line)
    else:
        print(line, flush=True)


def _column(values: list[float]) -> Array:
    """One picture a prompt: [P, 1]."""
    return np.asarray(values, np.float64)[:, None]


def _best(trainer: Trainer) -> list[str]:
    kept = (one for one in trainer.checkpoint_callbacks if isinstance(one, Checkpoints))
    return ["best" for one in kept if one.best_step == trainer.global_step]
