"""Two processes evaluate what one does, each with half the pictures; training is in `test_distributed_training.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_modules.adapter_file import write_adapter
from lightning_modules.lora import LoraOptions
from lightning_modules.lora_formats import adapter_of
from tests.small_run import picture_folder
from tests.tiny_adapters import learned_unet

OPTIONS = LoraOptions(rank=4, alpha=2.0)

PATIENCE = 120  # seconds after which two processes that wait for each other are given up


def test_two_processes_evaluate_what_one_evaluates(tmp_path: Path, tiny_base: Path) -> None:
    """The same pictures to 1/255 and the same numbers to 1e-4 with as many threads each, each painted once."""
    unet = learned_unet(tiny_base, OPTIONS)
    file = tmp_path / "lora.safetensors"
    write_adapter(file, adapter_of(unet), "diffusers", {})
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "girl {n}", "group": "g{n % 2}"}}\n' for n in range(5)))
    held_out = picture_folder(tmp_path / "held_out")
    found = {}
    for number in (1, 2):
        options = {
            "lora": file,
            "model.base_model": tiny_base,
            "prompts": prompts,
            "held_out": held_out,
            "clip": "demo/clip",
            "seeds": [0, 1],
            "strengths": [0.0, 0.5, 1.0],
            "steps": 2,
            "height": 64,
            "width": 64,
            "output": tmp_path / str(number),
            "trainer.devices": number,
            "trainer.accelerator": "cpu",
            "trainer.strategy": "ddp" if number == 2 else "auto",
        }
        command = [
            sys.executable,
            "train.py",
            "test",
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # the number of threads changes last bits
        subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, env=one_thread)
        found[number] = json.loads((tmp_path / str(number) / "metrics.json").read_text())
    files = [{path.name for path in (tmp_path / str(n) / "pictures").iterdir()} for n in found]
    assert files[0] == files[1]
    assert len(files[0]) == 5 * (2 * 4 + 1)
    for name in files[0]:
        one, two = (np.asarray(Image.open(tmp_path / str(n) / "pictures" / name)).astype(int) for n in found)
        assert np.abs(one - two).max() <= 1
    for row, other in zip(found[1]["pictures"], found[2]["pictures"], strict=True):
        assert row["file"] == other["file"]
        assert row["style_score"] == pytest.approx(other["style_score"], abs=1e-4)
    assert found[1]["style_score"]["overall"]["difference"] == pytest.approx(
        found[2]["style_score"]["overall"]["difference"], abs=1e-4
    )
