"""The plan as text: every phase of the run with its parts, the verdict, and what other settings would need."""

import textwrap
from collections.abc import Sequence

from commands.plan.planned_run import PlannedRun
from commands.plan.variants import Variant
from lightning_modules.memory.kernels import KERNELS
from lightning_modules.memory.plan import CONTEXT, EXPORT_CHECK, SLACK, MemoryPlan, Phase, with_allowance

WIDTH = 110
PHASE = 40  # signs of the first column
SETTINGS = 82  # likewise, of the second table
COLUMNS = ("UNet", "adapter", "gradients", "optimizer", "encoders", "work", "tensors", "needs")
COMPILED = (
    "Compiled blocks choose for themselves what they keep; counted is the run without --model.compile_blocks."
)
LONG = (
    "Captions and prompts are counted at 75 tokens; longer ones (--model.long_captions windows) need more, which "
    "isn't counted."
)
GB = 1e9
MB = 1e6


def plan_text(run: PlannedRun, planned: MemoryPlan, checkpointing: bool, memory: int | None) -> str:
    """What the run is, its phases, the verdict.

    Args:
        run: as its options describe it.
        planned: its phases.
        checkpointing: whether it has gradient checkpointing.
        memory: bytes of the card; null for none.
    """
    parts = [
        _wrapped(_head(run, planned)),
        _wrapped(f"Shapes: {planned.source}."),
        _table(planned, run.shape.setting.device),
        *(_wrapped(note) for note in _notes(run, planned)),
        _wrapped(_verdict(run, planned, checkpointing, memory)),
    ]
    return "\n\n".join(parts)


def variants_text(found: Sequence[Variant], memory: int | None) -> str:
    """What to set, what it would need, and whether that fits."""
    lines = ["", f"{'The whole run with gradient checkpointing':<{SETTINGS}}{'off':>14}{'on':>14}"]
    for variant in found:
        cells = (f"{_fit(variant.needed[on], memory):>14}" for on in (False, True))
        lines.append(f"{variant.options or 'as it is':<{SETTINGS}}{''.join(cells)}")
    if memory is not None and not any(n <= memory for variant in found for n in variant.needed.values()):
        least = min(found, key=lambda variant: variant.needed[True])
        # the export check has a size of its own
        smaller = (
            "--export.self_test false" if EXPORT_CHECK in least.largest else "a smaller --data.resolution"
        )
        lines += ["", f"None of these fits: take {smaller}, or a smaller base."]
    return "\n".join(lines)


def _head(run: PlannedRun, planned: MemoryPlan) -> str:
    shape, side = run.shape, run.datamodule.resolution
    buckets = " (and buckets of about that area)" if run.datamodule.buckets else ""
    where = "a CUDA card" if shape.setting.device == "cuda" else "the CPU"
    return (
        f"Plan of a run: batch {shape.batch} at {side}x{side}{buckets}, {shape.setting.precision}, "
        f"{planned.trained:,} numbers trained, on {where}"
    )


def _table(planned: MemoryPlan, device: str) -> str:
    phases = (*planned.start, *planned.training.values(), *planned.validation, *planned.end)
    unit = GB if max(phase.tensors for phase in phases) >= GB else MB
    name = "GB" if unit == GB else "MB"
    head = f"{name + ' at the peak':<{PHASE}}" + "".join(f"{column:>{_width(column)}}" for column in COLUMNS)
    return "\n".join([head, *(_row(phase, device, unit) for phase in phases)])


def _row(phase: Phase, device: str, unit: float) -> str:
    values = (
        phase.unet,
        phase.adapter,
        phase.gradients,
        phase.optimizer,
        phase.visitors,
        phase.work,
        phase.tensors,
        with_allowance(phase.tensors, device),
    )
    shown = (f"{value / unit:.2f}" if value else "-" for value in values)
    cells = (f"{cell:>{_width(column)}}" for column, cell in zip(COLUMNS, shown, strict=True))
    return f"{phase.name:<{PHASE}}" + "".join(cells)


def _width(column: str) -> int:
    return max(len(column), 6) + 2


def _notes(run: PlannedRun, planned: MemoryPlan) -> list[str]:
    device = run.shape.setting.device
    context = f", and {CONTEXT / GB:.1f} GB for CUDA's context" if device == "cuda" else ""
    clip = " CLIP scores on the CPU." if device == "cuda" and run.options.clip_score.model else ""
    return [
        f"Tensors are counted; needs = tensors + {SLACK:.0%} for the allocator and cuDNN{context}. Assumed: "
        f"{KERNELS[device]}.{clip}",
        *([_main_memory(planned)] if device == "cuda" else []),
        *([COMPILED] if run.model.compile_blocks else []),
        *([LONG] if run.model.long_captions == "windows" else []),
        *([_buckets(planned)] if device == "cuda" and str(run.options.trainer.devices) != "1" else []),
        *planned.notes,
    ]


def _main_memory(planned: MemoryPlan) -> str:
    """What is there beside the card."""
    return (
        f"Main memory holds the base's networks, once, {_amount(planned.networks)} at most: when they are loaded, and "
        "while the UNet waits there for text encoders or VAE (- above). Beside them are this program with PyTorch and "
        "CUDA, 2 to 3 GB, and the latents."
    )


def _buckets(planned: MemoryPlan) -> str:
    """What distributed training adds on each card, by PyTorch's `DistributedDataParallel`."""
    gradients = planned.training[False].gradients
    return (
        f"Counted is one process. With several, distributed training holds the gradients once more on each card, "
        f"{_amount(gradients)}."
    )


def _verdict(run: PlannedRun, planned: MemoryPlan, checkpointing: bool, memory: int | None) -> str:
    device, asked = run.shape.setting.device, run.model.gradient_checkpointing
    needed = planned.needed(checkpointing, device)
    how = f"{'with' if checkpointing else 'without'} gradient checkpointing"
    most = (
        f"{how} (--model.gradient_checkpointing {str(asked).lower()}) it needs {_amount(needed)}, the most in: "
        f"{planned.largest(checkpointing).name}."
    )
    if memory is None:
        return f"As it is, {most} Name a card to compare with, such as --memory 16GB."
    return f"{_amount(memory)}: {'FITS' if needed <= memory else 'DOES NOT FIT'}. As it is, {most}"


def _fit(needed: int, memory: int | None) -> str:
    verdict = "" if memory is None else " fits" if needed <= memory else " no"
    return f"{_amount(needed)}{verdict}"


def _amount(size: int) -> str:
    return f"{size / GB:.1f} GB" if size >= GB / 10 else f"{size / MB:.0f} MB"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))
