"""Which curves TensorBoard draws together, in its Custom Scalars tab: the story of a run, chart by chart.

The other tabs draw each tag by itself, where a difference between two can't be seen. Each start writes the layout, as a
resume may bring other prompts; TensorBoard takes a run's last one, and draws a chart that several runs have in common
once, with the lines of all.
"""

import re
from collections.abc import Collection, Sequence

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.about import about
from callbacks.clip_score import ClipScore
from callbacks.exposure_ledger import planned_data
from callbacks.sample_images import SampleImages
from callbacks.training_log import first_step, writers

Layout = dict[str, dict[str, list[object]]]
"""Categories of charts, as `SummaryWriter.add_custom_scalars` takes them."""


_DELTAS = ["clip_score/style/delta", "clip_score/prompt/delta"]


class Charts(Callback):
    """Writes the layout when training starts; it stands behind the callback that opens TensorBoard's files."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, for the groups of this run, and what the run is."""
        trained = sorted({picture.group for picture in planned_data(trainer).planned_visits(0)})
        held_out = {picture.group for picture in trainer.datamodule.held_out}  # type: ignore[attr-defined]
        for writer in writers(trainer):
            writer.add_custom_scalars(layout(scored_groups(trainer), trained, held_out))
            writer.add_text("about", about(trainer, pl_module), first_step(trainer))


def layout(scored: Sequence[str], trained: Sequence[str], held_out: Collection[str]) -> Layout:
    """The charts in their order.

    Args:
        scored: groups of the samples that CLIP scores; none leaves its charts out.
        trained: groups of the training pictures.
        held_out: groups of the held-out pictures.
    """
    categories = {
        "CLIP score of the samples (higher matches better). Open Matches below a chart to see which line is which": (
            {**_base_and_lora(), "LoRA minus base: style prompt, own prompts": _DELTAS} if scored else {}
        ),
        "CLIP score by group": {
            title: tags for group in scored for title, tags in _base_and_lora(group).items()
        },
        "Denoising error (lower is better): of training pictures, noisy; of held-out pictures, the one to judge by": {
            **_errors("", "unweighted", held_out=bool(held_out)),
            **{
                title: tags
                for group in trained
                for title, tags in _errors(f", {group}", f"group/{group}", held_out=group in held_out).items()
            },
        },
        "Times each picture was trained on, on average: planned and realised (one line where they agree)": {
            f"Planned and realised, {group}": [f"exposure/planned/{group}", f"exposure/realised/{group}"]
            for group in trained
        },
        "Optimizer": {"Learning rate": ["lr"], "Gradient norm, before clipping": ["train/grad_norm"]},
    }
    return {
        category: {title: ["Multiline", [_exactly(tag) for tag in tags]] for title, tags in charts.items()}
        for category, charts in categories.items()
        if charts
    }


def scored_groups(trainer: Trainer) -> list[str]:
    """Groups of the samples, in the order of their first prompt; none without CLIP."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if not any(isinstance(callback, ClipScore) and callback.model is not None for callback in callbacks):
        return []
    prompts = [
        prompt for callback in callbacks if isinstance(callback, SampleImages) for prompt in callback.prompts
    ]
    return list(dict.fromkeys(prompt.group for prompt in prompts))


def _base_and_lora(group: str = "") -> dict[str, list[str]]:
    return {
        f"{name}{group and ', '}{group}: LoRA and the base (flat)": [
            f"reference/clip_score/{question}/base{group and '/'}{group}",
            f"clip_score/{question}/lora{group and '/'}{group}",
        ]
        for question, name in (("style", "Style prompt"), ("prompt", "Own prompts"))
    }


def _errors(end: str, tag: str, *, held_out: bool) -> dict[str, list[str]]:
    """One chart, of all pictures or of one group."""
    if not held_out:
        return {f"Training pictures{end}": [f"train/loss_{tag}"]}
    of_held_out = "val/loss" if tag == "unweighted" else f"val/loss_{tag}"
    return {f"Training and held-out pictures{end}": [f"train/loss_{tag}", of_held_out]}


def _exactly(tag: str) -> str:
    """TensorBoard reads a regular expression, from the start of a tag on."""
    return re.escape(tag) + "$"
