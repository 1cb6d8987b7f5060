"""A written file is read back and compared: a whole one passes, any difference is told by its layer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from foundation.adapter_export import LoraFormat
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.read_back import verify_file
from lightning_modules.lora.writing import Dtype, write_adapter
from tests.tiny_adapters import EVERYWHERE, learned_unet
from tests.tiny_models import tiny_unet

FACTS = {"ss_v2": "True", "steps": "3"}


@pytest.fixture(scope="module")
def trained(tiny_base: Path) -> Any:
    return learned_unet(tiny_base, LoraOptions(rank=4, alpha=2.5, target_modules=EVERYWHERE))


@pytest.mark.parametrize("format", ["diffusers", "kohya"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_what_was_written_reads_back(trained: Any, tmp_path: Path, format: LoraFormat, dtype: Dtype) -> None:
    adapter = adapter_of(trained)
    path = write_adapter(tmp_path / "a.safetensors", adapter, format, FACTS, dtype)
    verify_file(path, adapter, tiny_unet(), dtype)
    verify_file(path, adapter, trained, dtype)  # a UNet with adapters has the same layers


def change(path: Path, end: str, by: float | None) -> str:
    """Add to the first tensor with this end (or take it out), and return its name."""
    tensors = load_file(path)
    name: str = min(name for name in tensors if name.endswith(end))
    if by is None:
        del tensors[name]
    else:
        tensors[name].view(-1)[0] += by
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file(tensors, path, header)
    return name


@pytest.mark.parametrize(
    ("end", "by", "said"),
    [
        ("lora_up.weight", 2**-20, r"another adapter, in .*\.lora_B\.weight$"),
        (".alpha", 0.01, r"another adapter, in the strength of "),
        ("lora_down.weight", None, r"can't be read back"),
    ],
)
def test_a_file_that_differs_is_told(trained: Any, tmp_path: Path, end: str, by: float, said: str) -> None:
    adapter = adapter_of(trained)
    path = write_adapter(tmp_path / "a.safetensors", adapter, "kohya", FACTS)
    change(path, end, by)
    with pytest.raises(OSError, match=rf"a\.safetensors was written but .*{said}"):
        verify_file(path, adapter, tiny_unet())


def test_a_file_that_was_cut_is_told(trained: Any, tmp_path: Path) -> None:
    adapter = adapter_of(trained)
    path = write_adapter(tmp_path / "a.safetensors", adapter, "diffusers", FACTS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(OSError, match=r"can't be read back .*no whole \.safetensors file"):
        verify_file(path, adapter, tiny_unet())


def test_a_layer_less_is_told(trained: Any, tmp_path: Path) -> None:
    adapter = adapter_of(trained)
    path = write_adapter(tmp_path / "a.safetensors", adapter, "diffusers", FACTS)
    layer = min(adapter.strengths)
    tensors = {name: t for name, t in load_file(path).items() if not name.startswith(f"unet.{layer}.")}
    with safe_open(path, framework="pt") as file:
        save_file({n: t.clone() for n, t in tensors.items()}, tmp_path / "less.safetensors", file.metadata())
    with pytest.raises(OSError, match=rf"another adapter, in {layer}\.lora_A\.weight, {layer}\.lora_B"):
        verify_file(tmp_path / "less.safetensors", adapter, tiny_unet())


def test_numbers_are_compared_bit_for_bit(trained: Any, tmp_path: Path) -> None:
    adapter = adapter_of(trained)
    path = write_adapter(tmp_path / "a.safetensors", adapter, "diffusers", FACTS)
    name = min(name for name in adapter.state if name.endswith("lora_B.weight"))
    value = adapter.state[name].view(-1)
    value[0] = torch.nextafter(value[0], torch.tensor(9.0))
    with pytest.raises(OSError, match=r"reads back as another adapter"):
        verify_file(path, adapter, tiny_unet())
