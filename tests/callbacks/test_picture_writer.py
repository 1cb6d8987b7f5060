"""Pictures on disk: their colours, their text, and nothing half-written."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from callbacks.picture_writer import PictureWriter, write_png
from datamodules.painting.prompt_entries import PictureJob
from tests.callbacks.tiny_painter import TinyPainter
from tests.evaluation.a1111_reader import read

JOB = PictureJob(
    "a girl, 夕焼け",
    8,
    16,
    seed=3,
    negative_prompt="blurry",
    lora_scale=0.5,
    clip_skip=2,
    guidance_rescale=0.7,
)


def write(batch: dict[str, Any], pictures: torch.Tensor) -> None:
    """As Lightning calls it."""
    writer = PictureWriter("wd", "ghibli_kohya", "a" * 64, lambda clip_skip: clip_skip + 1)
    writer.on_predict_batch_end(Trainer(logger=False, accelerator="cpu"), TinyPainter(), pictures, batch, 0)


def test_each_picture_is_written_with_its_own_text(tmp_path: Path) -> None:
    base = PictureJob("hills", 8, 16, lora_scale=0.0)
    paths = [tmp_path / "new" / "a.png", tmp_path / "b.png"]
    colours = torch.tensor([[1.0, 0.0, 0.2], [0.0, 1.0, 0.4]])[:, :, None, None].expand(-1, -1, 8, 16)
    write({"jobs": [JOB, base], "path": paths}, colours)
    first, second = (Image.open(path) for path in paths)
    assert first.size == (16, 8)
    assert [first.getpixel((5, 5)), second.getpixel((5, 5))] == [(255, 0, 51), (0, 255, 102)]
    fields = read(first.text["parameters"])  # type: ignore[attr-defined]
    assert fields["Prompt"] == "a girl, 夕焼け <lora:ghibli_kohya:0.5>"
    assert (fields["Seed"], fields["Size-1"], fields["Size-2"]) == ("3", "16", "8")
    assert (fields["Clip skip"], fields["CFG Rescale"]) == ("3", "0.7")
    assert (fields["Model"], fields["Lora hashes"]) == ("wd", "ghibli_kohya: aaaaaaaaaaaa")
    assert "lora" not in second.text["parameters"].lower()  # type: ignore[attr-defined]


def test_a_stop_while_writing_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_png(Image.new("RGB", (4, 4), "red"), path, "old")

    class Stops(Image.Image):
        """Stops halfway."""

        def save(self, fp: Any, *args: Any, **options: Any) -> None:
            """Write a little, then stop."""
            Path(fp).write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_png(Stops(), path, "new")
    with Image.open(path) as picture:
        assert picture.text["parameters"] == "old"  # type: ignore[attr-defined]
    assert [p.name for p in tmp_path.glob("*.png")] == ["a.png"]
