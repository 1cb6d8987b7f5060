"""The self-test of exports tells a right file from a wrong one, whatever the adapter's size."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foundation.adapter_export import TOLERANCE, ExportCheck, LoraFormat
from lightning_modules.base.float8_storage import keep_in_float8
from lightning_modules.base.loading import Components, load_components
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.export_check import check_export
from lightning_modules.lora.layers import LoraOptions, add_lora, lora_layers, lora_state
from lightning_modules.lora.writing import Dtype, write_adapter, write_safetensors
from tests.ldm_checkpoint import save_ldm_checkpoint
from tests.tiny_adapters import fill
from tests.tiny_models import on_each_family

OPTIONS = LoraOptions(rank=4, alpha=2.5, target_modules=["to_q", "conv1"])


def trained(base: Path, amount: float, dtype: torch.dtype = torch.float32) -> Components:
    float8 = dtype == torch.float8_e4m3fn
    parts = load_components(str(base), weight_dtype=torch.bfloat16 if float8 else dtype)
    add_lora(parts.unet, OPTIONS, seed=0)
    fill(parts.unet, amount)
    if float8:
        keep_in_float8(parts.unet)
    return parts


def export(parts: Components, folder: Path) -> Path:
    return write_adapter(folder / "lora.safetensors", adapter_of(parts.unet), "diffusers", {})


@on_each_family
@pytest.mark.parametrize(
    ("amount", "dtype"),
    [(0.3, torch.float32), (1e-5, torch.float32), (1e-5, torch.bfloat16), (1e-5, torch.float8_e4m3fn)],
)
def test_the_right_file_passes_however_weak_the_adapter(
    base: Path, tmp_path: Path, amount: float, dtype: torch.dtype
) -> None:
    parts = trained(base, amount, dtype)
    before, random = lora_state(parts.unet), torch.get_rng_state()
    check = check_export(export(parts, tmp_path), parts)
    assert check.passed
    assert check.max_difference <= 1 / 255
    assert check.effect >= 100 / 255
    assert (check.scale == 1) is (amount == 0.3)
    after = lora_state(parts.unet)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {p.dtype for n, p in parts.unet.named_parameters() if ".lora_" in n} == {torch.float32}
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("base", "format", "dtype"),
    [
        *(
            ("tiny_base", format, dtype)
            for format in ("diffusers", "kohya")
            for dtype in ("fp32", "bf16", "fp16")
        ),
        ("tiny_sdxl", "kohya", "fp16"),
    ],
    indirect=["base"],
)
def test_both_formats_pass_in_every_dtype(
    base: Path, tmp_path: Path, format: LoraFormat, dtype: Dtype
) -> None:
    parts = trained(base, 1e-3)
    path = write_adapter(tmp_path / "lora.safetensors", adapter_of(parts.unet), format, {}, dtype)
    check = check_export(path, parts)
    assert check.scale > 1
    assert check.passed


def test_a_kohya_file_whose_alphas_differ_is_read_as_web_uis_do(tiny_base: Path, tmp_path: Path) -> None:
    parts = trained(tiny_base, 0.3)
    for name, layer in lora_layers(parts.unet).items():
        layer.scaling["default"] *= 2.0 if name.endswith("to_q") else 1.0
    path = write_adapter(tmp_path / "lora.safetensors", adapter_of(parts.unet), "kohya", {})
    assert check_export(path, parts).passed
    tensors = load_file(path)
    wrong = {name: torch.tensor(2.5) if name.endswith(".alpha") else t for name, t in tensors.items()}
    write_safetensors(path, wrong, {"format": "pt"})
    assert not check_export(path, parts).passed


@pytest.mark.parametrize("amount", [0.3, 1e-5])
def test_a_file_without_its_alpha_fails(tiny_base: Path, tmp_path: Path, amount: float) -> None:
    parts = trained(tiny_base, amount)
    path = export(parts, tmp_path)
    write_safetensors(path, load_file(path), {"format": "pt"})
    check = check_export(path, parts)
    assert not check.passed
    assert check.max_difference > 10 / 255


def test_an_adapter_without_effect_does_not_pass(tiny_base: Path, tmp_path: Path) -> None:
    parts = trained(tiny_base, 0.0)
    check = check_export(export(parts, tmp_path), parts)
    assert (check.effect, check.max_difference) == (0, 0)
    assert not check.passed


def test_a_single_file_base_is_checked_likewise(tiny_base_sd1: Path, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(tiny_base_sd1, configs, ignore=shutil.ignore_patterns("*.safetensors"))
    base = save_ldm_checkpoint(tiny_base_sd1, tmp_path / "model.safetensors")
    parts = load_components(str(base), str(configs))
    add_lora(parts.unet, OPTIONS, seed=0)
    fill(parts.unet, 0.3)
    assert check_export(export(parts, tmp_path), parts).passed


@pytest.mark.parametrize(
    ("difference", "effect", "passed"),
    [(1 / 255, 100 / 255, True), (1.1 / 255, 0.9, False), (0.0, 99 / 255, False), (float("nan"), 0.9, False)],
)
def test_what_passes(difference: float, effect: float, passed: bool) -> None:
    assert TOLERANCE == 1 / 255
    assert ExportCheck(difference, effect, scale=1).passed is passed
