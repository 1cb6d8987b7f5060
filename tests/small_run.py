"""A small real run through the command line: the tiny base, twelve pictures of plain colour, a few steps."""

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import lightning as L
import pytest
import torch
from PIL import Image

from callbacks.ckpt_path import step_file
from callbacks.lora_export import LoraExport
from datamodules.picture_folder import PictureFolder


class InterruptAtBatch(L.Callback):
    """Presses Ctrl-C in the seventh batch: with accumulation 2, inside the window of step 4."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Press it once."""
        if batch_idx == 6 and trainer.global_step == 3:
            signal.raise_signal(signal.SIGINT)


class LosePictures(L.Callback):
    """Deletes the dataset and the caches when training has begun."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Once."""
        data = cast(PictureFolder, trainer.datamodule)  # type: ignore[attr-defined]
        for folder in (data.folder, cast(Path, data.cache_folder)):
            shutil.rmtree(folder, ignore_errors=True)


def picture_folder(
    folder: Path,
    *,
    portraits: int = 8,
    landscapes: int = 4,
    size: int = 64,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> Path:
    """Pictures with known answers: picture i has colour (20 i, 255 - 20 i, 128), and the sizes go round."""
    sizes = sizes or [(size, size)]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(portraits + landscapes):
        name, group = f"{i:02}.png", "portrait" if i < portraits else "landscape"
        Image.new("RGB", sizes[i % len(sizes)], (20 * i % 256, 255 - 20 * i % 256, 128)).save(folder / name)
        rows.append({"file_name": name, "text": f"{group} of colour {i}", "group": group})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def small_config(folder: Path, base: Path, pictures: Path) -> Path:
    """The settings that the small runs share, as a YAML file named `small.yaml`; their exports aren't painted."""
    path = folder / "small.yaml"
    path.write_text(
        f"""
seed_everything: 7
data: {{folder: "{pictures}", resolution: 64, batch_size: 2, num_workers: 0, shares: {{portrait: 2, landscape: 1}},
  cache_folder: "{folder / "cache"}"}}
model:
  base_model: "{base}"
  lora: {{rank: 4}}
  optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 0.001}}}}
samples:
  prompts: [{{prompt: "portrait of the sea", group: portrait, seed: 1, steps: 2}}]
clip_score: {{model: null}}
trainer: {{max_steps: 12, val_check_interval: 4, accelerator: cpu}}
checkpoints: {{every_n_steps: 3, keep: 20}}
export: {{self_test: false}}
"""
    )
    return path


@contextmanager
def without_exports() -> Iterator[None]:
    """Inside, checkpoints are written without the LoRA files beside them, which take longer than a tiny step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoraExport, "on_save_checkpoint", lambda *_: None)
        yield


def adapter(run: Path, step: int) -> dict[str, torch.Tensor]:
    """The adapter's tensors in a run's checkpoint."""
    checkpoint = torch.load(step_file(run / "checkpoints", step), weights_only=True)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """The same names and, bit for bit, the same values."""
    return a.keys() == b.keys() and len(a) > 0 and all(torch.equal(a[name], b[name]) for name in a)
