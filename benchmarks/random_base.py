"""A base of random weights that lies on no disk: a folder of configs, and weights made when `fit` asks for them.

For measuring at real size: wd-1-5-beta2's weights are gigabytes to write and to read, and their values don't change
what a step costs. They are made on the card where there is one, in a moment, as PyTorch initialises each layer.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.full_size import Shapes, text_config
from lightning_modules.base import loading as components
from lightning_modules.base.files import BaseSettings, read_json

SHIPPED = Path("demo/base")


def write_configs(folder: Path, shapes: Shapes) -> Path:
    """Write what a base's folder holds beside its weights: configs of these shapes, and the shipped tokenizer."""
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(SHIPPED / part, folder / part)
    shutil.copy(SHIPPED / "model_index.json", folder)
    with torch.device("meta"):
        UNet2DConditionModel(**shapes.unet).save_config(folder / "unet")
        AutoencoderKL(**shapes.vae).save_config(folder / "vae")
    text_config(shapes).save_pretrained(folder / "text_encoder")
    return folder


@contextmanager
def random_weights() -> Iterator[None]:
    """Inside, `fit` has a base's weights made by its configs instead of reading them; each time the same."""
    with patch.object(components, "_load_folder", random_networks):
        yield


def random_networks(settings: BaseSettings, weight_dtype: torch.dtype) -> dict[str, Any]:
    """The three networks of a folder of configs, on the CPU, as `load_components` wants them."""
    torch.manual_seed(0)  # caches go by the weights: the next run finds its pictures encoded
    folder = settings.folder
    configs = {part: read_json(folder / part / "config.json") for part in ("unet", "vae")}
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        unet = UNet2DConditionModel.from_config(configs["unet"]).to(weight_dtype)
        vae = AutoencoderKL.from_config(configs["vae"])
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder")).to(weight_dtype)
    return {"unet": unet.cpu(), "vae": vae.cpu(), "text_encoder": text_encoder.cpu()}
