"""Which checkpoint is the best of a run: by what it learned of the style at what cost, or by held-out loss.

`style` is the style score gained plus the own-prompt score gained, which is mostly below zero:

    (style, LoRA - style, base) + (prompt, LoRA - prompt, base)

Both are CLIP scores of the same pictures on one scale, 100 x cosine, so a point of style is worth a point of prompt.
The held-out loss knows neither: in the run of docs/tensorboard.png it is flat from step 60 on, where the style score
still rises from 46 to 56.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import Callback, Trainer

from callbacks.clip_score import ClipScore
from callbacks.sample_images import SampleImages

BestBy = Literal["style", "loss"]
STYLE, PROMPT, LOSS = "clip_score/style/delta", "clip_score/prompt/delta", "val/loss"


def measured(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Of a trainer's metrics those that say how good a checkpoint is, as far as they were measured."""
    return {name: float(metrics[name]) for name in (STYLE, PROMPT, LOSS) if name in metrics}


def merit(found: Mapping[str, float], by: BestBy) -> float:
    """How good a checkpoint is, more is better; NaN where that wasn't measured."""
    if by == "loss":
        return -found.get(LOSS, math.nan)
    return found.get(STYLE, math.nan) + found.get(PROMPT, math.nan)


def default_for(trainer: Trainer) -> BestBy:
    """By style where samples are scored, else by loss."""
    return "style" if is_scored(trainer) else "loss"


def is_scored(trainer: Trainer) -> bool:
    """Whether samples are painted at validations and scored against a style prompt."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    scored = any(isinstance(one, ClipScore) and one.model and one.style_prompt.strip() for one in callbacks)
    painted = any(isinstance(one, SampleImages) and one.prompts for one in callbacks)
    return scored and painted and bool(trainer.enable_validation)


def check_best_by(by: BestBy | None, trainer: Trainer) -> None:
    """Refuse what this run doesn't measure.

    Raises:
        ValueError: with the options to set.
    """
    if by == "style" and not is_scored(trainer):
        raise ValueError(
            "--checkpoints.best_by is style, and no samples are scored. Set --clip_score.model and .style_prompt,"
            " --samples.prompts and --trainer.limit_val_batches, or --checkpoints.best_by loss."
        )
    held_out = getattr(getattr(trainer, "datamodule", None), "held_out", True)
    if by == "loss" and not (held_out and trainer.enable_validation):
        raise ValueError(
            "--checkpoints.best_by is loss, and no pictures are held out to measure it. Set --data.holdout_fraction or"
            " --data.holdout_folder, or --checkpoints.best_by style."
        )


def in_words(found: Mapping[str, float]) -> str:
    """Such as "style +24.1, own prompts -3.2, held-out loss 0.3712"."""
    names = {STYLE: "style {:+.1f}", PROMPT: "own prompts {:+.1f}", LOSS: "held-out loss {:.4f}"}
    return ", ".join(names[name].format(found[name]) for name in names if name in found)
