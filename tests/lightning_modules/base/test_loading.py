"""What is loaded, in which dtype, frozen; the reference is the stock pipeline."""

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from lightning_modules.base.families.known import family_of
from lightning_modules.base.families.sd_1 import SD_1
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.loading import (
    Components,
    base_name,
    load_components,
    load_tokenizer,
)
from tests.ldm_checkpoint import save_ldm_checkpoint

PARTS = ("unet", "vae", "text_encoder")


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def network(parts: Components, name: str) -> Any:
    return parts.text_encoders[name] if name == "text_encoder" else getattr(parts, name)


def stock(folder: Path) -> Any:
    return StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)


def test_weights_are_the_stock_pipelines(tiny_base: Path) -> None:
    parts, pipeline = load_components(str(tiny_base)), stock(tiny_base)
    for name in PARTS:
        assert same_weights(network(parts, name), getattr(pipeline, name)), name
    caption = "watercolor portrait, xyz"
    assert parts.text_encoders.tokenizer(caption).input_ids == pipeline.tokenizer(caption).input_ids
    assert (
        load_tokenizer(str(tiny_base))(caption).input_ids == parts.text_encoders.tokenizer(caption).input_ids
    )


def test_everything_is_frozen_and_in_eval_mode(tiny_base: Path) -> None:
    parts = load_components(str(tiny_base))
    for name in PARTS:
        model = network(parts, name)
        assert not any(p.requires_grad for p in model.parameters())
        assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_vae_is_float32_whatever_the_weight_dtype(tiny_base: Path, dtype: torch.dtype) -> None:
    parts = load_components(str(tiny_base), weight_dtype=dtype)
    dtypes = {name: {p.dtype for p in network(parts, name).parameters()} for name in PARTS}
    assert dtypes == {"unet": {dtype}, "vae": {torch.float32}, "text_encoder": {dtype}}


def test_facts_come_from_the_configs(tiny_base: Path, tiny_base_sd1: Path) -> None:
    two, one = load_components(str(tiny_base)), load_components(str(tiny_base_sd1))
    assert (two.prediction_type, two.family) == ("v_prediction", SD_2)
    assert (one.prediction_type, one.family) == ("epsilon", SD_1)
    assert load_components(str(tiny_base), prediction_type="sample").prediction_type == "sample"
    assert two.scheduler_config["steps_offset"] == 1
    assert two.name == tiny_base.name  # of an absolute path the last part


def test_the_schedule_is_the_published_one(tiny_base: Path) -> None:
    alphas = load_components(str(tiny_base)).alphas_cumprod
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    assert alphas.dtype == torch.float32
    torch.testing.assert_close(alphas, torch.cumprod(1 - betas, 0).float(), rtol=1e-5, atol=1e-7)


def test_a_zero_terminal_config_leaves_the_rescale_to_the_schedule(tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    scheduler = DDPMScheduler.from_pretrained(base, subfolder="scheduler", rescale_betas_zero_snr=True)
    scheduler.save_pretrained(base / "scheduler")
    parts = load_components(str(base))
    assert scheduler.alphas_cumprod[-1] == 0
    assert parts.scheduler_config["rescale_betas_zero_snr"] is True
    assert torch.equal(parts.alphas_cumprod, load_components(str(tiny_base)).alphas_cumprod)


@pytest.mark.parametrize(
    ("config", "sd2"),
    [
        ({"cross_attention_dim": 768}, False),
        ({"cross_attention_dim": 1024}, True),
        ({"cross_attention_dim": 96, "use_linear_projection": True}, True),
        ({"cross_attention_dim": 96, "use_linear_projection": False}, False),
    ],
)
def test_what_makes_a_stable_diffusion_2(config: dict[str, Any], sd2: bool) -> None:
    assert family_of(config) is (SD_2 if sd2 else SD_1)


def test_names_hold_no_machine_path() -> None:
    assert base_name("/home/somebody/models/wd") == "wd"
    assert base_name("demo/base") == "demo/base"
    assert base_name("waifu-diffusion/wd-1-5-beta2") == "waifu-diffusion/wd-1-5-beta2"


def test_loading_a_folder_asks_no_network_and_says_nothing(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_components(str(tiny_base))
    assert capfd.readouterr() == ("", "")


def test_a_full_memory_is_not_taken_for_a_broken_file(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3463642896 bytes"
        )

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", full)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_components(str(tiny_base))


def test_pickled_weights_load_without_running_code(tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    for part in PARTS:
        safe = next((base / part).glob("*.safetensors"))
        name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
        torch.save(load_file(safe), base / part / name)
        safe.unlink()
    parts, pipeline = load_components(str(base)), stock(tiny_base)
    assert all(same_weights(network(parts, name), getattr(pipeline, name)) for name in PARTS)

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"payload": Payload()}, base / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(Exception, match=r"pickle that holds more than tensors"):
        load_components(str(base))
    assert not (tmp_path / "ran").exists()


def test_a_single_file_with_configs_equals_its_folder(tiny_base_sd1: Path, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(tiny_base_sd1, configs, ignore=shutil.ignore_patterns("*.safetensors"))
    path = save_ldm_checkpoint(tiny_base_sd1, tmp_path / "model.safetensors")
    parts = load_components(str(path), str(configs), weight_dtype=torch.bfloat16)
    folder = load_components(str(tiny_base_sd1), weight_dtype=torch.bfloat16)
    for name in PARTS:
        assert same_weights(network(parts, name), network(folder, name)), name
        assert network(parts, name).dtype == network(folder, name).dtype
    assert parts.prediction_type == "epsilon"
