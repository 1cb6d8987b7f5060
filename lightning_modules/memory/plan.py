"""What training and validation will hold at their peaks, by part, before anything is loaded.

A run is a sequence of phases, each with its own peak. Text encoders and VAE come when it is their turn, and for large
ones the UNet leaves (`base/offload.py`). What the work itself adds is found by doing it on the meta device (`work.py`).
The sum is of live tensor bytes; what the allocator and CUDA take beside is a stated allowance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from lightning_modules.base.float8_storage import BaseStorage, keep_in_float8
from lightning_modules.base.latents import vae_factor, vae_room
from lightning_modules.base.loading import WEIGHT_DTYPES
from lightning_modules.base.offload import unet_leaves
from lightning_modules.base.pictures_at_once import painted_together, predicted_together
from lightning_modules.base.stock_pipeline import LARGEST_LATENT
from lightning_modules.lora.layers import LoraOptions, add_lora
from lightning_modules.lora.reading import place_adapter, read_adapter
from lightning_modules.memory.meter import byte_count
from lightning_modules.memory.shapes import Shapes, shapes_of
from lightning_modules.memory.work import (
    Pictures,
    Setting,
    decoding,
    encoding,
    optimizer_bytes,
    prediction,
    reading,
    training_step,
)

CONTEXT = 800_000_000
"""Bytes that CUDA takes before the first tensor: its context, kernels and cuBLAS' workspace. People report 0.7 to
0.8 GB (discuss.pytorch.org, topics 73021 and 81330)."""

SLACK = 0.1
"""Part of the tensors that the allocator's rounding and fragmentation and cuDNN's workspaces may add."""

EXPORT_CHECK = "export check"
"""Name of the phase that paints pictures of a size of its own, after the training."""

CHECKED = 8
"""Pictures that the base check looks at."""


@dataclass(frozen=True)
class RunShape:
    """Everything about a run that its memory depends on.

    Attributes:
        base_model: folder, hub id or file.
        base_config: of a file.
        lora: of a fresh adapter.
        init_lora: file of the adapter to start from; null is a fresh one.
        optimizer: makes the optimizer of a list of parameters.
        batch: pictures of one training step.
        sizes: height and width that pictures are trained at, the largest of them, pixels.
        setting: device and precision.
        validation_batch: pictures of one validation step; null is those of a training step.
        samples: pictures that samples paint together: how many, height, width, whether with guidance.
        ema: keeps a moving average of the adapter.
        text_encoder_stays: captions vary from draw to draw, so that each is encoded when it is drawn.
        self_test: exported files are compared with memory at the end.
        accumulate: batches of one optimizer step; gradients are there either way.
        base_storage: of the frozen UNet; null is by the precision.
    """

    base_model: str
    base_config: str | None
    lora: LoraOptions
    init_lora: str | None
    optimizer: Callable[[Any], Any]
    batch: int
    sizes: Sequence[tuple[int, int]]
    setting: Setting
    validation_batch: int | None = None
    samples: Sequence[tuple[int, int, int, bool]] = ()
    ema: bool = False
    text_encoder_stays: bool = False
    self_test: bool = True
    accumulate: int = 1
    base_storage: BaseStorage | None = None


@dataclass(frozen=True)
class Phase:
    """A piece of the run with a peak of its own; bytes.

    Attributes:
        name: what is done.
        unet: frozen weights of the UNet, of both where there are two.
        adapter: trained tensors, and their moving average.
        gradients: of the adapter.
        optimizer: what it keeps.
        visitors: encoders that are there.
        work: activations and all that comes and goes.
        who: the visitors, in words.
    """

    name: str
    unet: int
    adapter: int = 0
    gradients: int = 0
    optimizer: int = 0
    visitors: int = 0
    work: int = 0
    who: str = ""

    @property
    def tensors(self) -> int:
        """All live tensors."""
        return self.unet + self.adapter + self.gradients + self.optimizer + self.visitors + self.work


@dataclass(frozen=True)
class MemoryPlan:
    """The phases of a run.

    Attributes:
        source: where the shapes are from.
        start: before the first step.
        training: the step without and with gradient checkpointing.
        validation: between steps.
        end: after the last step.
        trained: numbers that are trained.
        networks: bytes of the base in the dtypes that it is loaded in: what main memory holds of it at most.
        notes: what had to be assumed.
    """

    source: str
    start: Sequence[Phase]
    training: dict[bool, Phase]
    validation: Sequence[Phase]
    end: Sequence[Phase]
    trained: int
    networks: int
    notes: Sequence[str] = field(default=())

    def largest(self, checkpointing: bool) -> Phase:
        """The phase that holds most."""
        phases = [*self.start, self.training[checkpointing], *self.validation, *self.end]
        return max(phases, key=lambda phase: phase.tensors)

    def needed_by_step(self, checkpointing: bool, device: str) -> int:
        """Bytes that a device needs for the training step."""
        return with_allowance(self.training[checkpointing].tensors, device)

    def needed(self, checkpointing: bool, device: str) -> int:
        """Bytes that a device needs for the whole run."""
        return with_allowance(self.largest(checkpointing).tensors, device)


def with_allowance(tensors: int, device: str) -> int:
    """Bytes that a card needs to hold tensors: with allocator and, on CUDA, its context."""
    return int(tensors * (1 + SLACK)) + (CONTEXT if device == "cuda" else 0)


def plan_memory(shape: RunShape) -> MemoryPlan:
    """Plan a run.

    Raises:
        ValueError: the base or the adapter can't be trained, or isn't there.
    """
    return _Planner(shape).plan()


def plan_step(shape: RunShape, *, checkpointing: bool) -> Phase:
    """Plan the training step alone.

    Raises:
        ValueError: as `plan_memory`.
    """
    return _Planner(shape).step(checkpointing)


class _Planner:
    """The networks of a run on the meta device, and what of them stays."""

    def __init__(self, shape: RunShape) -> None:
        self.shape = shape
        self.base: Shapes = shapes_of(
            shape.base_model, shape.base_config, WEIGHT_DTYPES[shape.setting.precision]
        )
        self.factor = vae_factor(self.base.vae.config)
        self.networks = sum(map(_bytes_of, (self.base.unet, self.base.vae, self.base.text_encoders)))
        self.trained = self._adapter()
        if shape.base_storage is not None:
            keep_in_float8(self.base.unet)
        self.unet_bytes = _bytes_of(self.base.unet) - byte_count(self.trained)
        self.notes: list[str] = []
        adapter = byte_count(self.trained)
        self.resting = {"unet": self.unet_bytes, "adapter": adapter * (2 if shape.ema else 1)}
        self.learning = {**self.resting, "gradients": adapter, "optimizer": self._optimizer(adapter)}

    def plan(self) -> MemoryPlan:
        return MemoryPlan(
            source=self.base.source,
            start=self._start(),
            training={checkpointing: self.step(checkpointing) for checkpointing in (False, True)},
            validation=self._validation(),
            end=self._end(),
            networks=self.networks,
            trained=sum(parameter.numel() for parameter in self.trained),
            notes=self.notes,
        )

    def step(self, checkpointing: bool) -> Phase:
        shape = self.shape
        work = max(
            training_step(
                self.base.unet,
                self.base.family.unet_inputs,
                Pictures(shape.batch, *size),
                self.factor,
                shape.setting,
                checkpointing=checkpointing,
            )
            for size in shape.sizes
        )
        name = "training step, checkpointing" if checkpointing else "training step"
        return self._phase(name, self.learning, work)

    def _start(self) -> list[Phase]:
        setting = self.shape.setting
        encoded = max(encoding(self.base.vae, Pictures(1, *size), setting) for size in self.shape.sizes)
        checked = self._predicted(self._together(CHECKED))
        largest = max(self.shape.sizes, key=lambda size: size[0] * size[1])
        return [
            self._phase("start: the networks are loaded", self.resting, 0),
            self._phase("start: pictures to latents, one by one", self.resting, encoded, vae=largest),
            self._phase("start: captions, one by one", self.resting, self._read(), text=True),
            self._phase("start: base check", self.resting, checked),
        ]

    def _validation(self) -> list[Phase]:
        shape = self.shape
        batch = shape.validation_batch or shape.batch
        held_out = self._predicted(self._together(batch))
        phases = [self._phase(f"held-out loss, batch {batch}", self.learning, held_out)]
        if not shape.samples:
            return phases
        at_once = [
            min(count, painted_together(*self._cells(height, width), guided=guided))
            for count, height, width, guided in shape.samples
        ]
        together = [
            (count * (2 if guided else 1), height, width)
            for count, (_, height, width, guided) in zip(at_once, shape.samples, strict=True)
        ]
        sizes = [(height, width) for _, height, width, _ in shape.samples]
        drawn = max(decoding(self.base.vae, Pictures(1, *size), self.factor, shape.setting) for size in sizes)
        largest = max(sizes, key=lambda size: size[0] * size[1])
        painted = self._predicted(together)
        return [
            *phases,
            self._phase("samples: prompts, one by one", self.learning, self._read(), text=True),
            self._phase(f"samples: UNet, {max(at_once)} at a time", self.learning, painted),
            self._phase("samples: VAE decode, one by one", self.learning, drawn, vae=largest),
        ]

    def _end(self) -> list[Phase]:
        """The export check paints a small picture with guidance, by a stock pipeline around these networks.

        The second UNet shares the weights of the first; only its adapter, of the weight dtype, comes on top.
        """
        if not self.shape.self_test:
            return []
        side = min(self.base.unet.config.sample_size, LARGEST_LATENT) * self.factor
        drawn = decoding(self.base.vae, Pictures(1, side, side), self.factor, self.shape.setting)
        copy = self.resting["adapter"]
        return [
            self._phase(f"end: {EXPORT_CHECK}, prompts", self.learning, self._read() + copy, text=True),
            self._phase(
                f"end: {EXPORT_CHECK}, UNet, {side}x{side}",
                self.learning,
                self._predicted([(2, side, side)]) + copy,
            ),
            self._phase(f"end: {EXPORT_CHECK}, VAE decode", self.learning, drawn + copy, vae=(side, side)),
        ]

    def _phase(
        self,
        name: str,
        held: dict[str, int],
        work: int,
        *,
        text: bool = False,
        vae: tuple[int, int] | None = None,
    ) -> Phase:
        """A phase with text encoders, or with the VAE at a picture of a height and width, or with neither."""
        here = self.shape.setting.device == "cpu"  # what leaves an accelerator goes there
        stays = self.shape.text_encoder_stays and held is self.learning
        there = {"text encoder": self.base.text_encoders} if text or stays or here else {}
        there |= {"VAE": self.base.vae} if vae or here else {}
        visitors = sum(_bytes_of(network) for network in there.values())
        needed = vae_room(self.base.vae, *vae) if vae else _bytes_of(self.base.text_encoders) if text else 0
        if not here and unet_leaves(needed):
            held = {**held, "unet": 0}
        return Phase(name, **held, visitors=visitors, work=work, who=", ".join(there))

    def _cells(self, height: int, width: int) -> tuple[int, int]:
        return height // self.factor, width // self.factor

    def _together(self, count: int) -> list[tuple[int, int, int]]:
        """Of pictures of the run's sizes, those that the UNet takes at once without gradients."""
        return [(min(count, predicted_together(*self._cells(*size))), *size) for size in self.shape.sizes]

    def _read(self) -> int:
        return reading(self.base.text_encoders, self.base.family.read_states, 1, self.shape.setting)

    def _predicted(self, pictures: Sequence[tuple[int, int, int]]) -> int:
        return max(
            prediction(
                self.base.unet,
                self.base.family.unet_inputs,
                Pictures(*these),
                self.factor,
                self.shape.setting,
            )
            for these in dict.fromkeys(pictures)
        )

    def _adapter(self) -> list[nn.Parameter]:
        shape = self.shape
        if shape.init_lora is None:
            return add_lora(self.base.unet, shape.lora, 0)
        saved = read_adapter(Path(shape.init_lora), "--model.init_lora")
        return place_adapter(self.base.unet, saved, dropout=shape.lora.dropout)

    def _optimizer(self, adapter: int) -> int:
        try:
            return optimizer_bytes(self.shape.optimizer, self.trained)
        except Exception as error:  # each optimizer says in its own way what it can't do without a GPU
            self.notes.append(
                f"The optimizer makes no step on the CPU ({type(error).__name__}); counted as AdamW, with two float32 "
                "numbers for each trained one."
            )
            return 2 * adapter


def _bytes_of(network: nn.Module) -> int:
    return byte_count([*network.parameters(), *network.buffers()])
