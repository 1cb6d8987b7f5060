"""Two processes evaluate what one does, each with half the pictures; training is in `test_distributed_training.py`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.writing import write_adapter
from tests.distributed_run import run
from tests.small_run import picture_folder
from tests.tiny_adapters import learned_unet

pytestmark = pytest.mark.processes

OPTIONS = LoraOptions(rank=4, alpha=2.0)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """An adapter that changes pictures."""
    file = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    write_adapter(file, adapter_of(learned_unet(tiny_base, OPTIONS)), "diffusers", {})
    return file


def run_in(number: int, command: str, options: dict[str, object]) -> str:
    """Run a command in so many processes, which has to end well; returns what it says."""
    everywhere = {
        "steps": 2,
        "height": 64,
        "width": 64,
        "trainer.devices": number,
        "trainer.accelerator": "cpu",
        "trainer.strategy": "ddp" if number == 2 else "auto",
    }
    given = [f"--{name}={value}" for name, value in (options | everywhere).items()]
    ended = run([sys.executable, "train.py", command, *given])
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_two_processes_evaluate_what_one_evaluates(tmp_path: Path, tiny_base: Path, lora: Path) -> None:
    """The same pictures to 1/255 and the same numbers to 1e-4 with as many threads each, each painted once."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "girl {n}", "group": "g{n % 2}"}}\n' for n in range(5)))
    options = {
        "lora": lora,
        "model.base_model": tiny_base,
        "prompts": prompts,
        "held_out": picture_folder(tmp_path / "held_out"),
        "clip": "demo/clip",
        "seeds": [0, 1],
        "strengths": [0.0, 0.5, 1.0],
    }
    found = {}
    for number in (1, 2):
        run_in(number, "test", options | {"output": tmp_path / str(number)})
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
    report = tmp_path / "2" / "metrics.json"
    report.unlink()
    sorted((tmp_path / "2" / "pictures").iterdir())[0].unlink()
    run_in(2, "test", options | {"output": tmp_path / "2"})  # one process has nothing to paint
    for row, again in zip(found[2]["pictures"], json.loads(report.read_text())["pictures"], strict=True):
        assert again["file"] == row["file"]
        assert again["style_score"] == pytest.approx(row["style_score"], rel=1e-3)  # painted in another batch


def test_two_processes_paint_what_is_left(tmp_path: Path, tiny_base: Path, lora: Path) -> None:
    """All pictures are there when the first process says so, whoever painted them, and whoever had nothing to do."""
    (tmp_path / "p.txt").write_text("girl\nsea\nhills\n")
    options: dict[str, object] = {
        "lora": lora,
        "model.base_model": tiny_base,
        "prompts": tmp_path / "p.txt",
        "output": tmp_path / "out",
        "batch_size": 1,
    }
    run_in(1, "predict", options)
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == 3
    for left in (2, 1):
        for picture in pictures[:left]:
            picture.unlink()
        said = run_in(2, "predict", options)
        assert f"{3 - left} of 3 pictures there already" in said
        assert sorted((tmp_path / "out").glob("*.png")) == pictures
        assert "Done: 3 pictures" in said
        assert "is gone" not in said
