"""A base kept in 8 bits against one whose weights were rounded and kept in 16, and against what diffusers rounds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.base.float8_storage import keep_in_float8
from lightning_modules.base.loading import load_components
from lightning_modules.lora.first_adapter import put_first_adapter
from lightning_modules.lora.layers import LoraOptions, lora_parameters
from tests.small_run import adapter, picture_folder, same, small_config
from train import main

FLOAT8 = ("--model.base_storage", "float8", "--trainer.precision", "bf16-mixed")
TARGETS = ["to_q", "to_v", "conv1", "time_emb_proj", "conv_in"]


def adapted(base: Path) -> Any:
    """The UNet in bf16 with adapters that act, on every kind of layer."""
    unet = load_components(str(base), weight_dtype=torch.bfloat16).unet
    put_first_adapter(unet, LoraOptions(rank=4, target_modules=TARGETS), None, seed=0)
    with torch.no_grad():
        for parameter in lora_parameters(unet).values():
            parameter.add_(0.01)
    return unet


def rounded(unet: Any) -> Any:
    """The reference: PyTorch's own rounding of the weights, which stay 16 bits wide."""
    for name, module in unet.named_modules():
        frozen = isinstance(module, nn.Linear | nn.Conv2d) and ".lora_" not in name
        if frozen and not name.startswith(("conv_in", "conv_out")):
            module.weight.data = module.weight.data.to(torch.float8_e4m3fn).to(torch.bfloat16)
    return unet


def step(unet: Any, checkpointing: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and gradients as in training: autocast around the forward pass alone, without its cache."""
    if checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    source = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 8, 8, generator=source).bfloat16()
    conditions: dict[str, Any] = {
        "encoder_hidden_states": torch.randn(2, 77, 80, generator=source).bfloat16()
    }
    conditions["added_cond_kwargs"] = {
        "text_embeds": torch.ones(2, 40).bfloat16(),
        "time_ids": torch.ones(2, 6),
    }
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        output = unet(x, torch.tensor([10, 900]), **conditions).sample.float()
    output.square().mean().backward()
    return output.detach(), {name: p.grad for name, p in lora_parameters(unet).items() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_is_that_of_the_rounded_weights_bit_for_bit(tiny_sdxl: Path, checkpointing: bool) -> None:
    unet = adapted(tiny_sdxl)
    keep_in_float8(unet)
    before = {name: p.detach().clone() for name, p in unet.named_parameters() if ".lora_" not in name}
    output, gradients = step(unet, checkpointing)
    expected, expected_gradients = step(rounded(adapted(tiny_sdxl)), checkpointing)
    assert torch.equal(output, expected)
    assert gradients.keys() == expected_gradients.keys() == lora_parameters(unet).keys()
    assert all(torch.equal(gradients[name], expected_gradients[name]) for name in gradients)
    assert unet.dtype == torch.bfloat16
    assert {p.dtype for p in lora_parameters(unet).values()} == {torch.float32}
    for name, parameter in unet.named_parameters():
        if name in before:
            assert torch.equal(parameter.float(), before[name].float())


def test_what_diffusers_would_cast_is_cast_but_for_biases_and_both_ends(tiny_sdxl: Path) -> None:
    ours, theirs = (load_components(str(tiny_sdxl), weight_dtype=torch.bfloat16).unet for _ in range(2))
    keep_in_float8(ours)
    theirs.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    cast = {
        name: p
        for name, p in theirs.named_parameters()
        if p.dtype == torch.float8_e4m3fn and name.endswith(".weight") and not name.startswith("conv_")
    }
    assert len(cast) > 100
    found = {name: p for name, p in ours.named_parameters() if p.dtype == torch.float8_e4m3fn}
    assert found.keys() == cast.keys()
    assert all(torch.equal(found[name].float(), cast[name].float()) for name in found)
    assert {p.dtype for name, p in ours.named_parameters() if name not in found} == {torch.bfloat16}


def test_numbers_beyond_its_range_are_its_largest() -> None:
    """PyTorch alone would make NaN of 1000."""
    layer = nn.Linear(2, 1, bias=False).requires_grad_(False)
    layer.weight.copy_(torch.tensor([[1000.0, -1000.0]]))
    keep_in_float8(nn.ModuleList([nn.Linear(1, 1), layer]))
    assert layer.weight.float().tolist() == [[448, -448]]


def test_a_run_learns_samples_exports_and_goes_on_exactly(
    tiny_sdxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The export is painted by a stock pipeline, whose second UNet shares the 8-bit weights."""
    config = small_config(tmp_path, tiny_sdxl, picture_folder(tmp_path / "pictures"))

    def fit(name: str, steps: int, *options: str) -> Path:
        runs = str(tmp_path / "runs")
        given = ("--name", name, "--trainer.max_steps", str(steps), *FLOAT8, *options)
        main(["fit", "--config", str(config), "--runs", runs, *given])
        return tmp_path / "runs" / name

    straight = fit("straight", 6, "--export.self_test", "true")
    fit("stopped", 3)
    stopped = fit("stopped", 6, "--ckpt_path", "last")
    assert same(adapter(straight, 6), adapter(stopped, 6))
    assert not same(adapter(straight, 3), adapter(straight, 6))
    assert all(torch.isfinite(tensor).all() for tensor in adapter(straight, 6).values())
    with pytest.raises(SystemExit):
        fit("stopped", 9, "--ckpt_path", "last", "--model.base_storage", "null")
    assert "base storage: the checkpoint has float8, this run nothing" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "plan"])
def test_in_32_bits_it_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [command, "--config", "configs/demo.yaml", "--model.base_storage", "float8"]
    with pytest.raises(SystemExit):
        main([*given, "--trainer.precision", "32-true"])
    assert (
        "--model.base_storage float8 rounds the base to 8 bits and computes in 16, but --trainer.precision is 32-true. "
        "Set it to bf16-mixed or 16-mixed, or leave --model.base_storage out."
    ) in capsys.readouterr().err
