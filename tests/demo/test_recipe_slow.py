"""Runs the first 20 steps of each stage again and compares the losses with those recorded beside the weights.

Losses agree to 1e-3, not to the bit, since sums over threads come in another order on another machine.
"""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from demo.recipe import BASE, CLIP, autoencoder, clip, unet
from demo.recipe.autoencoder import pick
from demo.recipe.loop import dice, train
from demo.recipe.pictures import Pictures, paint_pictures
from demo.recipe.record import FIRST, read_record
from demo.recipe.tokenizer import new_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe")


@pytest.fixture(scope="module")
def pictures(work: Path) -> Pictures:
    return paint_pictures(work)


def recorded(folder: Path, stage: str) -> list[float]:
    losses: list[float] = read_record(folder)["stages"][stage]["first_losses"]
    return losses


def test_autoencoder(pictures: Pictures, work: Path) -> None:
    model, vision = autoencoder.new_autoencoder(), autoencoder.frozen_vision(CLIP)
    model.train()

    def loss(step: int, dice: torch.Generator) -> torch.Tensor:
        return autoencoder.batch_loss(model, vision, pictures, step, dice)

    losses = train(autoencoder.PLAN, model, loss, work, until=FIRST).losses
    assert losses == pytest.approx(recorded(BASE, "autoencoder"), rel=1e-3)


def test_clip(pictures: Pictures, work: Path) -> None:
    tokenizer = new_tokenizer()
    student = clip.ClipStudent(clip.new_clip(tokenizer))
    student.train()

    def loss(step: int, dice: torch.Generator) -> torch.Tensor:
        return clip.batch_loss(student, tokenizer, pictures, dice)

    losses = train(clip.PLAN, student, loss, work, until=FIRST).losses
    assert losses == pytest.approx(recorded(CLIP, "clip"), rel=1e-3)


def test_unet(pictures: Pictures, work: Path) -> None:
    text = CLIPTextModel.from_pretrained(BASE / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    vae = AutoencoderKL.from_pretrained(BASE / "vae").eval()
    latents = torch.zeros(len(pictures.pixels), 8, 16, 16)
    drawn = [pick(dice("unet", step), unet.BATCH, unet.WATERCOLOUR_SHARE) for step in range(FIRST)]
    needed = torch.tensor(sorted(set(torch.cat(drawn).tolist())))
    latents[needed] = unet.encode(pictures, vae, needed)
    model = unet.new_unet()
    model.train()

    def loss(step: int, generator: torch.Generator) -> torch.Tensor:
        return unet.batch_loss(model, text, tokenizer, latents, pictures.scenes, generator)

    losses = train(unet.PLAN, model, loss, work, until=FIRST).losses
    assert losses == pytest.approx(recorded(BASE, "unet"), rel=1e-3)
