"""Fixed-seed samples: the same prompts with the same noise at every validation, base beside LoRA.

The base is painted once, before step 1, with the adapter switched off (`lora_scale=0`); at step 0 the
adapter still equals it, so the first grid shows the base in both columns and the step slider starts from
there. A resumed run finds the base's pictures (`base_pictures.py`). Grids go to TensorBoard, one image a group, and to
`<run>/samples/step_000100.png`. Of several processes each paints its part of the prompts.

Painting leaves no trace in training: it runs without gradients, in eval mode, under its own random state.
When it fails this is said once, then counted, and training goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    restricted_number_type,
)
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor

from callbacks.base_pictures import keep, kept
from callbacks.failures import Failures, in_words
from callbacks.markdown import cell
from callbacks.progress import announce
from callbacks.protocols import KnowsItsLimits, TextToImage
from callbacks.time_shares import spent
from callbacks.training_log import first_step, writers
from evaluation.foreign_syntax import foreign_syntax
from evaluation.grids import GridRow, comparison_grid, stack_right
from foundation.atomic_file import atomic_file
from foundation.picture_settings import (
    MOST_STEPS,
    SamplerName,
    grouped_by_settings,
    painting_settings,
    shared_settings,
)
from foundation.processes import in_first_process, undealt

MEMORY_IS_FULL = (
    "Give --samples.prompts a smaller height and width: pictures of the same settings are painted a few at a time; "
    "python train.py plan says what they take."
)
Steps = restricted_number_type("Steps", int, [(">", 0), ("<=", MOST_STEPS)])


@dataclass(frozen=True)
class SamplePrompt:
    """One picture to paint at every validation.

    Args:
        prompt: what to paint; A1111 weights such as (watercolor:1.2) are honoured.
        group: which grid and which mean the picture belongs to.
        seed: of the starting noise; the same number gives the same noise whatever the other prompts are.
        negative_prompt: what to move away from.
        height: pixels; null is `--data.resolution`.
        width: pixels; null is `--data.resolution`.
        guidance_scale: weight of the prompt in classifier-free guidance; 1 is none.
        guidance_rescale: how far guidance is kept from raising the contrast, 0 (not at all) to 1; v-prediction bases
            with zero-terminal SNR burn without, 0.7 is usual.
        steps: of the sampler.
        sampler: the scheme that takes those steps.
        clip_skip: layers left out at the end of the text encoder. Stable Diffusion XL leaves out one in any case, which
            its model cards call 2: there 0, 1 and 2 are the same.
    """

    prompt: str
    group: str = "samples"
    seed: NonNegativeInt = 0
    negative_prompt: str = ""
    height: PositiveInt | None = None
    width: PositiveInt | None = None
    guidance_scale: PositiveFloat = 7.5
    guidance_rescale: ClosedUnitInterval = 0.0
    steps: Steps = 25  # type: ignore[valid-type]
    sampler: SamplerName = "ddim"
    clip_skip: NonNegativeInt = 0

    def settings(self) -> tuple[object, ...]:
        """What pictures of one batch must share."""
        return shared_settings(self)


@dataclass(frozen=True)
class SampleSet:
    """The pictures of one step; `base[i]` and `lora[i]` are float32 [3, H, W] in [0, 1] for `prompts[i]`."""

    step: int
    prompts: Sequence[SamplePrompt]
    base: Sequence[Tensor]
    lora: Sequence[Tensor]


class SampleImages(Callback):
    """Paints the prompts before step 1 and at every validation.

    Args:
        prompts: what to paint; null paints nothing.

    Raises:
        ValueError: a prompt holds other programs' syntax.

    Attributes:
        latest: the pictures of the last painting, in the first process; None before it, or if it failed.
        own: this process's part of them: every prompt where there is one process.
        painted: pictures of all paintings that succeeded, in the first process.
        failures: paintings that failed.
    """

    def __init__(self, prompts: list[SamplePrompt] | None = None) -> None:
        self.prompts = prompts or []
        texts = [text for one in self.prompts for text in (one.prompt, one.negative_prompt)]
        if problems := [f"{text!r}: {said}" for text in texts for said in foreign_syntax(text)]:
            listed = "\n  ".join(dict.fromkeys(problems))
            raise ValueError(f"--samples.prompts holds what isn't read here:\n  {listed}")
        self.latest: SampleSet | None = None
        self.own: SampleSet | None = None
        self.painted = 0
        self._base: list[Tensor] | None = None
        self.failures = Failures("Samples could not be painted", when_memory_is_full=MEMORY_IS_FULL)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what this base can't paint.

        Raises:
            ValueError: with each prompt that asks for it.
        """
        if not isinstance(pl_module, KnowsItsLimits):
            return
        problems = [
            f"{one.prompt!r}: {problem}"
            for one in self.prompts
            if (problem := pl_module.unpaintable(one.height, one.width, one.clip_skip))
        ]
        if problems:
            listed = "\n  ".join(problems)
            raise ValueError(f"--samples.prompts has pictures that this base can't paint:\n  {listed}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the prompts as text and paint the base; on a fresh run its grid is that of step 0."""
        for writer in writers(trainer):
            writer.add_text("prompts", prompt_table(self.prompts), first_step(trainer))
        self._base = None
        self._paint(trainer, pl_module, with_lora=False, publish=trainer.global_step == 0)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Paint with the adapter, before the validation loss: `self.log` is still allowed after it."""
        if trainer.sanity_checking:
            return
        self._paint(trainer, pl_module, with_lora=True, publish=True)

    def _paint(self, trainer: Trainer, pl_module: LightningModule, *, with_lora: bool, publish: bool) -> None:
        """Paint this process's part; set `latest` and show it on the first."""
        self.latest = self.own = None
        if not self.prompts:
            return
        announce(trainer, "painting samples")
        error = ""
        with spent(trainer, "painting"):
            try:
                self.own = self._own_part(trainer, pl_module, with_lora)
            except Exception as raised:  # any kind: the others wait to hear of it
                error = in_words(raised)
            parts = in_first_process((self.own, error))
            if trainer.is_global_zero:
                self._gather(trainer, parts, publish)
        announce(trainer, "")

    def _own_part(self, trainer: Trainer, pl_module: LightningModule, with_lora: bool) -> SampleSet:
        model = cast(TextToImage, pl_module)
        prompts = self.prompts[trainer.global_rank :: trainer.world_size]
        with _no_trace(pl_module):
            if self._base is None:
                self._base = self._kept_base(trainer) or self._painted_base(trainer, model, prompts)
            lora = paint(model, prompts, lora_scale=1.0) if with_lora else self._base
        return SampleSet(trainer.global_step, prompts, self._base, lora)

    def _kept_base(self, trainer: Trainer) -> list[Tensor] | None:
        """What an earlier process of this run painted of this process's part; None if something is missing."""
        if trainer.ckpt_path is None:
            return None
        found = [kept(folder, number, settings) for folder, number, settings in self._places(trainer)]
        whole = [picture for picture in found if picture is not None]
        return whole if len(whole) == len(found) else None

    def _painted_base(
        self, trainer: Trainer, model: TextToImage, prompts: Sequence[SamplePrompt]
    ) -> list[Tensor]:
        pictures = paint(model, prompts, lora_scale=0.0)
        for (folder, number, settings), picture in zip(self._places(trainer), pictures, strict=True):
            keep(folder, number, picture, settings)
        return pictures

    def _places(self, trainer: Trainer) -> list[tuple[Path, int, dict[str, object]]]:
        """Folder, number and settings of each base picture of this process's part, as `base_pictures` takes them."""
        folder = Path(trainer.default_root_dir) / "samples" / "base"
        machine = {"precision": str(trainer.precision), "device": trainer.strategy.root_device.type}
        numbers = range(len(self.prompts))[trainer.global_rank :: trainer.world_size]
        return [(folder, number, {**asdict(self.prompts[number]), **machine}) for number in numbers]

    def _gather(self, trainer: Trainer, parts: Sequence[tuple[SampleSet | None, str]], publish: bool) -> None:
        """Put the parts of all processes together, or say why one is missing."""
        found = [part for part, _ in parts if part is not None]
        if len(found) < len(parts):
            return self.failures.happened(next(error for part, error in parts if part is None))
        base, lora = undealt([part.base for part in found]), undealt([part.lora for part in found])
        self.latest = SampleSet(trainer.global_step, self.prompts, base, lora)
        self.painted += len(self.prompts)
        if publish:
            with self.failures.survived():
                _publish(trainer, self.latest)


def paint(model: TextToImage, prompts: Sequence[SamplePrompt], *, lora_scale: float) -> list[Tensor]:
    """One picture a prompt, in their order; prompts that share their settings are painted in one call.

    Returns:
        float32 [3, H, W] in [0, 1] each, in memory of its own.
    """
    pictures: dict[int, Tensor] = {}
    for indices in grouped_by_settings(prompts):
        chosen = [prompts[index] for index in indices]
        first = chosen[0]
        images = model.generate(
            [p.prompt for p in chosen],
            height=first.height,
            width=first.width,
            lora_scale=lora_scale,
            **painting_settings(chosen),
        )
        # copies: a view would send all pictures of its batch along when it is told to another process
        pictures.update(zip(indices, (image.clone() for image in images), strict=True))
    return [pictures[index] for index in range(len(prompts))]


def grids(samples: SampleSet) -> dict[str, Image.Image]:
    """One grid a group, groups in the order of their first prompt: rows are prompts, columns Base | LoRA."""
    rows: dict[str, list[GridRow]] = {}
    for prompt, base, lora in zip(samples.prompts, samples.base, samples.lora, strict=True):
        rows.setdefault(prompt.group, []).append(GridRow(prompt.prompt, [base, lora]))
    return {
        group: comparison_grid(f"{group}, step {samples.step}", ["Base", "LoRA"], of_group)
        for group, of_group in rows.items()
    }


def prompt_table(prompts: Sequence[SamplePrompt]) -> str:
    """The prompts with all their settings as a markdown table, one line a prompt."""
    names = list(asdict(SamplePrompt("")))
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for prompt in prompts:
        values = ("" if value is None else str(value) for value in asdict(prompt).values())
        lines.append("| " + " | ".join(cell(value) for value in values) + " |")
    return "\n".join(lines)


def _publish(trainer: Trainer, samples: SampleSet) -> None:
    by_group = grids(samples)
    for writer in writers(trainer):
        for group, grid in by_group.items():
            writer.add_image(f"samples/{group}", np.asarray(grid), samples.step, dataformats="HWC")
        writer.flush()
    folder = Path(trainer.default_root_dir) / "samples"
    with atomic_file(folder / f"step_{samples.step:06d}.png") as partial:
        stack_right(list(by_group.values())).save(partial, format="PNG")


@contextmanager
def _no_trace(pl_module: LightningModule) -> Iterator[None]:
    """Eval mode, no gradients, and a random state of its own; afterwards everything is as it was."""
    modes = [(module, module.training) for module in pl_module.modules()]
    pl_module.eval()
    try:
        with torch.no_grad(), isolate_rng():
            yield
    finally:
        for module, training in modes:
            module.training = training
