"""The same run with other settings: what each would need, so that one can be chosen that fits.

Looked at only where the run doesn't fit as it is, since each takes as long as the plan itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from lightning_modules.memory.plan import MemoryPlan, RunShape, plan_memory
from lightning_modules.memory.work import Precision, Setting


@dataclass(frozen=True)
class Variant:
    """Other settings.

    Attributes:
        options: what to type, or "" for the run as it is but for gradient checkpointing.
        needed: bytes, without and with gradient checkpointing.
        largest: name of the phase that needs the most with gradient checkpointing.
    """

    options: str
    needed: dict[bool, int]
    largest: str


def chosen_checkpointing(
    planned: MemoryPlan, asked: bool | Literal["auto"], device: str, memory: int | None
) -> bool:
    """Whether the run has gradient checkpointing; `auto` goes by the training step, as in `fit`."""
    if asked != "auto":
        return asked
    return memory is None or planned.needed_by_step(False, device) > memory


def variants(shape: RunShape, planned: MemoryPlan, *, fits: bool) -> list[Variant]:
    """The run as it is; where that doesn't fit also with batch 1, in 16 bits, with both."""
    as_it_is = _variant("", shape, planned)
    return [as_it_is, *([] if fits else [_variant(*other) for other in _others(shape)])]


def _variant(options: str, shape: RunShape, planned: MemoryPlan | None = None) -> Variant:
    plan = planned or plan_memory(shape)
    needed = {on: plan.needed(on, shape.setting.device) for on in (False, True)}
    return Variant(options, needed, plan.largest(True).name)


def _others(shape: RunShape) -> Iterator[tuple[str, RunShape]]:
    """What they are, as far as they are other settings."""
    small = replace(shape, batch=1, validation_batch=1)
    accumulated = f"--data.batch_size 1 --trainer.accumulate_grad_batches {shape.batch * shape.accumulate}"
    if shape.batch > 1:
        yield accumulated, small
    if shape.setting.precision != "32-true":
        if shape.base_storage is None:
            yield "--model.base_storage float8", replace(shape, base_storage="float8")
        return
    low: Precision = "16-mixed" if shape.setting.device == "cuda" else "bf16-mixed"
    setting = Setting(shape.setting.device, low)
    yield f"--trainer.precision {low}", replace(shape, setting=setting)
    if shape.batch > 1:
        yield f"--trainer.precision {low} {accumulated}", replace(small, setting=setting)
