"""The plan against live tensor bytes of the real thing, measured on the CPU."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from lightning_modules.base import offload
from lightning_modules.base.float8_storage import BaseStorage
from lightning_modules.base.latents import VAE_WORK, picture_sizes
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.memory.meter import LiveBytes
from lightning_modules.memory.plan import RunShape, plan_memory, plan_step, with_allowance
from lightning_modules.memory.work import Precision, Setting
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.conditions import TextConditions, join_conditions
from tests.small_run import picture_folder
from tests.step_memory import peak_of_a_step

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bases(tiny_base: Path, tiny_sdxl: Path) -> dict[str, Path]:
    return {"tiny": tiny_base, "tiny XL": tiny_sdxl, "demo/base": ROOT / "demo/base"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("memory") / "pictures", portraits=5, landscapes=0, size=128)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4)


def run_shape(base: Path, side: int, *, batch: int = 2, rank: int = 4, **changes: Any) -> RunShape:
    setting = Setting("cpu", changes.pop("precision", "32-true"))
    options: dict[str, Any] = {
        "lora": LoraOptions(rank=rank),
        "optimizer": adamw,
        "batch": batch,
        "validation_batch": batch,
        "sizes": [(side, side)],
        "samples": [(3, side, side, True)],
        "setting": setting,
    }
    return RunShape(str(base), None, init_lora=None, **{**options, **changes})


STEPS = [
    (base, side, precision, batch, rank, checkpointing)
    for base, side, precision in (
        ("tiny", 64, "32-true"),
        ("tiny", 64, "bf16-mixed"),
        ("demo/base", 128, "32-true"),
        ("tiny XL", 64, "32-true"),
        ("tiny XL", 64, "bf16-mixed"),
        ("tiny XL", 64, "float8"),
    )
    for batch in (1, 4)
    for rank in (4, 16)
    for checkpointing in (False, True)
]
QUICK = [step for step in STEPS if (step[3] == 4) == (step[4] == 16)]  # every value, not every combination
SLOW = [pytest.param(*step, marks=pytest.mark.slow) for step in STEPS if step not in QUICK]


@pytest.mark.parametrize(
    ("base", "side", "precision", "batch", "rank", "checkpointing"),
    [*QUICK, *SLOW],
    ids=lambda value: str(value).replace("/", "-"),
)
def test_the_planned_step_is_the_measured_one(
    base: str,
    side: int,
    precision: Precision | Literal["float8"],
    batch: int,
    rank: int,
    checkpointing: bool,
    bases: dict[str, Path],
    pictures: Path,
) -> None:
    folder = bases[base]
    storage: BaseStorage | None = None
    if precision == "float8":
        precision, storage = "bf16-mixed", "float8"
    module = StableDiffusionLora(
        str(folder),
        lora=LoraOptions(rank=rank),
        optimizer=adamw,
        resolution=side,
        gradient_checkpointing=checkpointing,
        base_storage=storage,
    )
    measured = peak_of_a_step(module, pictures, batch=batch, precision=precision)
    shape = run_shape(folder, side, batch=batch, rank=rank, precision=precision, base_storage=storage)
    planned = plan_step(shape, checkpointing=checkpointing)
    assert planned.tensors - planned.visitors == pytest.approx(measured, rel=0.1)


def measured_work(held: Iterable[torch.Tensor], work: Callable[[], object]) -> int:
    """Bytes at the peak beyond what was there."""
    with torch.no_grad(), LiveBytes() as meter:
        before = meter.watch(held)
        work()
    return int(meter.peak - before)


@pytest.mark.parametrize("base", ["tiny", "demo/base", "tiny XL"])
def test_the_planned_phases_are_the_measured_ones(base: str, bases: dict[str, Path]) -> None:
    """Decoding, encoding, reading and predicting without gradients, with the loaded networks."""
    folder, side = bases[base], 128 if base == "demo/base" else 64
    plan = plan_memory(run_shape(folder, side, samples=[(4, side, side, True)]))
    work = {phase.name: phase.work for phase in (*plan.start, *plan.validation)}
    module = StableDiffusionLora(str(folder), lora=LoraOptions(rank=4), resolution=side)
    module.configure_model()
    vae, unet, channels = module.vae, module.unet, module.unet.config.in_channels
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    latents = torch.zeros(8, channels, side // factor, side // factor)
    ids = torch.zeros(1, 77, dtype=torch.long)
    text = TextConditions(torch.zeros(77, unet.config.cross_attention_dim), torch.zeros(40))
    parts = module.parts
    assert parts is not None
    conditions = parts.family.unet_inputs(
        join_conditions([text] * 8), picture_sizes(8, side, side), torch.float32
    )

    encoders = parts.text_encoders
    decoded = measured_work(vae.parameters(), lambda: vae.decode(latents[:1]).sample)
    encoded = measured_work(vae.parameters(), lambda: module.encode_images(torch.zeros(1, 3, side, side)))
    read = measured_work(
        encoders.parameters(), lambda: [encoders.read_states(one, ids, 0) for one in encoders.values()]
    )
    predicted = measured_work(unet.parameters(), lambda: unet(latents, torch.zeros(8), **conditions).sample)
    assert work["samples: VAE decode, one by one"] == pytest.approx(decoded, rel=0.1)
    assert work["start: pictures to latents, one by one"] == pytest.approx(encoded, rel=0.1)
    assert work["samples: prompts, one by one"] == pytest.approx(read, rel=0.1)
    assert work["samples: UNet, 4 at a time"] == pytest.approx(predicted, rel=0.1)
    assert work["start: base check"] == work["samples: UNet, 4 at a time"]


def test_weights_adapter_and_optimizer_are_counted_by_hand(tiny_base: Path) -> None:
    """AdamW keeps two numbers and a step count for each tensor; the average is a copy of the adapter."""
    plan = plan_memory(run_shape(tiny_base, 64, precision="16-mixed", ema=True))
    module = StableDiffusionLora(str(tiny_base), lora=LoraOptions(rank=4))
    module.configure_model()
    trained = sum(p.numel() for p in module.trainable)
    frozen = sum(p.numel() for p in module.unet.parameters()) - trained
    step = plan.training[True]
    assert plan.trained == trained
    assert step.unet == 2 * frozen
    assert (step.adapter, step.gradients) == (2 * 4 * trained, 4 * trained)
    assert step.optimizer == 2 * 4 * trained + 4 * len(module.trainable)
    encoders = sum(p.numel() * 2 for p in module.text_encoders.parameters())
    encoders += sum(p.numel() * 4 for p in module.vae.parameters())
    assert step.visitors == pytest.approx(
        encoders, rel=0.01
    )  # on the CPU they stay; beside them some buffers
    held = step.unet + step.adapter + step.gradients + step.optimizer
    assert step.tensors == held + step.visitors + step.work
    assert plan.validation[0].optimizer == step.optimizer  # they stay while samples are painted


def test_text_encoder_vae_and_unet_are_there_one_at_a_time(tiny_base: Path) -> None:
    card = replace(run_shape(tiny_base, 64), setting=Setting("cuda", "16-mixed"))
    plan = plan_memory(card)
    there = {phase.name.partition(",")[0]: phase.who for phase in (*plan.start, *plan.validation)}
    assert there == {
        "start: the networks are loaded": "",
        "start: pictures to latents": "VAE",
        "start: captions": "text encoder",
        "start: base check": "",
        "held-out loss": "",
        "samples: prompts": "text encoder",
        "samples: UNet": "",
        "samples: VAE decode": "VAE",
    }
    varying = plan_memory(replace(card, text_encoder_stays=True))
    assert varying.training[False].who == "text encoder"
    assert varying.training[False].tensors > plan.training[False].tensors


def test_an_optimizer_that_needs_a_gpu_is_counted_as_adamw(tiny_base: Path) -> None:
    def picky(parameters: Any) -> torch.optim.Optimizer:
        raise RuntimeError("only on CUDA")

    plan = plan_memory(run_shape(tiny_base, 64, optimizer=picky))
    assert plan.training[True].optimizer == 2 * plan.training[True].adapter
    assert "makes no step on the CPU (RuntimeError); counted as AdamW" in plan.notes[0]


def test_an_adapter_to_start_from_has_its_own_rank(tiny_base: Path, tmp_path: Path) -> None:
    module = StableDiffusionLora(str(tiny_base), lora=LoraOptions(rank=8))
    module.configure_model()
    file = module.export_lora(tmp_path / "lora.safetensors", "diffusers", {})
    fresh, placed = (run_shape(tiny_base, 64, rank=8), run_shape(tiny_base, 64, rank=4))
    from_file = plan_memory(replace(placed, init_lora=str(file)))
    assert from_file.trained == plan_memory(fresh).trained


def test_ghibli_fits_six_gigabytes_by_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's run: the base isn't here, its shapes are those of Stable Diffusion 2."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shape = run_shape(
        Path("waifu-diffusion/wd-1-5-beta2"), 512, batch=4, rank=16, samples=[(5, 512, 512, True)]
    )
    plan = plan_memory(replace(shape, setting=Setting("cuda", "16-mixed")))
    assert plan.training[True].unet == 2 * 865_910_724  # the UNet's parameters, two bytes each
    assert plan.trained == 3_319_808  # what benchmarks/full_size.py measured
    assert with_allowance(plan.largest(checkpointing=True).tensors, "cuda") <= 6e9
    assert plan.training[False].work > 4 * plan.training[True].work
    assert "assumed: the shapes of Stable Diffusion 2.x" in plan.source


XL = "OnomaAIResearch/Illustrious-xl-early-release-v0"


@pytest.mark.parametrize(("storage", "most"), [(None, 8e9), ("float8", 6e9)], ids=["16 bit", "float8"])
def test_xl_trains_validates_and_ends_on_small_cards(
    storage: BaseStorage | None, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 1024 x 1024 with 8 guided samples, by its family: 16-bit weights within 8 GB, 8-bit ones within 6."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shape = run_shape(Path(XL), 1024, batch=1, rank=16, samples=[(8, 1024, 1024, True)], base_storage=storage)
    plan = plan_memory(replace(shape, setting=Setting("cuda", "16-mixed")))
    step, samples = plan.training[True], {phase.name: phase for phase in plan.validation}
    parameters = 2_567_463_684  # of the UNet, as its model file has
    assert step.unet == 2 * parameters if storage is None else parameters < step.unet < 1.002 * parameters
    needed = {phase.name: with_allowance(phase.tensors, "cuda") for phase in (*plan.start, step, *plan.end)}
    needed |= {name: with_allowance(phase.tensors, "cuda") for name, phase in samples.items()}
    assert max(needed.values()) <= most, needed
    assert samples["samples: UNet, 2 at a time"].unet == step.unet
    decoded, read = samples["samples: VAE decode, one by one"], samples["samples: prompts, one by one"]
    assert (decoded.unet, read.unet) == (0, 0)  # it waits in main memory
    assert decoded.work == pytest.approx(VAE_WORK * 1024 * 1024, rel=0.05)
    assert plan.networks == pytest.approx(
        2 * (parameters + 123_060_480 + 694_659_840) + 4 * 83_653_863, rel=0.001
    )


def test_the_unet_is_there_in_each_step_whoever_stays(
    tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves for large visitors; text encoders that stay for captions that vary are beside it in the step."""
    monkeypatch.setattr(offload, "ROOM", 0)
    cuda = Setting("cuda", "16-mixed")
    there, away = (
        plan_memory(run_shape(tiny_sdxl, 64, setting=cuda, text_encoder_stays=stays))
        for stays in (True, False)
    )
    for checkpointing in (False, True):
        step, alone = there.training[checkpointing], away.training[checkpointing]
        assert step.unet == alone.unet > 0
        assert (step.visitors > 0, alone.visitors) == (True, 0)
    unet = {phase.name: phase.unet for phase in there.validation}
    assert unet["samples: prompts, one by one"] == 0
    assert unet["samples: UNet, 3 at a time"] > 0
