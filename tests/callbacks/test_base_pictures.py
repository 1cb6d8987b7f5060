"""The base is painted once a run, in however many processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.base_pictures import keep, kept
from callbacks.sample_images import SampleImages, SamplePrompt
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer

PROMPTS = [SamplePrompt("red hair", seed=10), SamplePrompt("green hills", seed=20)]


def fit(run: Path, prompts: list[SamplePrompt], **options: Any) -> tuple[TinyPainter, SampleImages]:
    ckpt_path = options.pop("ckpt_path", None)
    painter, samples = TinyPainter(), SampleImages(prompts)
    saving = ModelCheckpoint(run / "checkpoints", filename="{step}", every_n_train_steps=2)
    tiny_trainer(run, [samples, saving], enable_checkpointing=True, **options).fit(
        painter, TinyData(), ckpt_path=ckpt_path
    )
    return painter, samples


def base_paintings(painter: TinyPainter) -> int:
    return sum(call["lora_scale"] == 0.0 for call in painter.calls)


def test_a_picture_comes_back_to_eight_bits_if_its_settings_are_the_same(tmp_path: Path) -> None:
    picture = torch.linspace(0, 1, 3 * 4 * 6).view(3, 4, 6)
    keep(tmp_path, 3, picture, {"seed": 1})
    again = kept(tmp_path, 3, {"seed": 1})
    assert again is not None
    assert torch.equal(again * 255, (picture * 255).round())
    assert kept(tmp_path, 3, {"seed": 2}) is None
    assert kept(tmp_path, 4, {"seed": 1}) is None
    (tmp_path / "03.png").write_bytes((tmp_path / "03.png").read_bytes()[:60])
    assert kept(tmp_path, 3, {"seed": 1}) is None


def test_a_folder_that_cant_be_written_to_is_survived(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("a file where the folder should be")
    keep(tmp_path / "base", 0, torch.zeros(3, 2, 2), {})
    assert kept(tmp_path / "base", 0, {}) is None


def test_a_resumed_run_shows_the_base_without_painting_it(tmp_path: Path) -> None:
    painter, first = fit(tmp_path, PROMPTS, max_steps=2)
    assert base_paintings(painter) == 1
    painter, second = fit(tmp_path, PROMPTS, max_steps=4, ckpt_path=tmp_path / "checkpoints/step=2.ckpt")
    assert base_paintings(painter) == 0
    assert first.latest is not None
    assert second.latest is not None
    for before, after in zip(first.latest.base, second.latest.base, strict=True):
        assert torch.equal((before * 255).round(), (after * 255).round())


@pytest.mark.parametrize(
    "prompts", [[PROMPTS[0], SamplePrompt("green hills", seed=21)], [*PROMPTS, *PROMPTS]]
)
def test_other_prompts_are_painted(prompts: list[SamplePrompt], tmp_path: Path) -> None:
    fit(tmp_path, PROMPTS, max_steps=2)
    painter, _ = fit(tmp_path, prompts, max_steps=4, ckpt_path=tmp_path / "checkpoints/step=2.ckpt")
    assert base_paintings(painter) == 1


def test_a_fresh_run_paints_whatever_lies_there(tmp_path: Path) -> None:
    fit(tmp_path, PROMPTS, max_steps=2)
    painter, _ = fit(tmp_path, PROMPTS, max_steps=2)
    assert base_paintings(painter) == 1
