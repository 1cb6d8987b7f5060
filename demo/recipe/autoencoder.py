"""Stage 2: the autoencoder, 128 x 128 x 3 -> 16 x 16 x 8, on flat pictures and one third watercolours.

Absolute and squared errors set colours; errors of differences between neighbours, at three scales, keep
lines and eyes crisp. Eight latent channels, since with four colours came back wrong at this size.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from demo.recipe.files import write_folder
from demo.recipe.loop import Plan, Progress, train
from demo.recipe.pictures import FLAT, WATERCOLOURS, Pictures

PLAN = Plan("autoencoder", steps=3200, peak=1.5e-3)
BATCH, WHOLE_BATCH = 8, 4
CROP, CROPPED_STEPS = (
    64,
    2700,
)  # a quarter of a picture costs a quarter of the time; the last steps see whole ones


def new_autoencoder() -> AutoencoderKL:
    """The untrained model, 1.0 million parameters."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=128,
        latent_channels=8,
    )


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours, across and down."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
    """How far y is from x, both [B, 3, H, W] in -1..1."""
    error = y - x
    loss = error.abs().mean() + 2 * error.pow(2).mean()
    for scale in (1, 2, 4):
        small = F.avg_pool2d(error, scale) if scale > 1 else error
        loss = loss + 0.5 * small.abs().mean() + sum(d.abs().mean() for d in differences(small))
    return loss


def pick(dice: torch.Generator, batch: int, share: float) -> Tensor:
    """Numbers of pictures, `share` of them watercolours."""
    flat = torch.randint(FLAT, (batch,), generator=dice)
    wet = FLAT + torch.randint(WATERCOLOURS, (batch,), generator=dice)
    return torch.where(torch.rand(batch, generator=dice) < share, wet, flat)


def crop(x: Tensor, size: int, dice: torch.Generator) -> Tensor:
    """The same random square of every picture."""
    top, left = torch.randint(x.shape[-1] - size + 1, (2,), generator=dice).tolist()
    return x[..., top : top + size, left : left + size]


def batch_loss(model: AutoencoderKL, pictures: Pictures, step: int, dice: torch.Generator) -> Tensor:
    """The loss of one batch; the pull towards a unit latent is weak (1e-5 a value)."""
    if step < CROPPED_STEPS:
        x = crop(pictures.batch(pick(dice, BATCH, 1 / 3)), CROP, dice)
    else:
        x = pictures.batch(pick(dice, WHOLE_BATCH, 1 / 3))
    posterior = model.encode(x).latent_dist
    y = model.decode(posterior.sample(generator=dice)).sample
    loss: Tensor = reconstruction_loss(y, x) + 1e-5 * posterior.kl().mean() * (CROP / x.shape[-1]) ** 2
    return loss


def run(pictures: Pictures, work: Path, base: Path) -> Progress:
    """Trains and writes base/vae."""
    model = new_autoencoder()
    model.train()
    progress = train(PLAN, model, lambda step, dice: batch_loss(model, pictures, step, dice), work)
    finish(model, pictures, base)
    return progress


@torch.no_grad()
def finish(model: AutoencoderKL, pictures: Pictures, base: Path) -> None:
    """Sets the scale that gives latents unit variance and writes the model in 16 bit."""
    model.eval()
    index = torch.arange(0, FLAT + WATERCOLOURS, 97)
    latents = torch.cat(
        [model.encode(pictures.batch(part)).latent_dist.mode() for part in torch.split(index, 16)]
    )
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    write_folder(lambda folder: model.half().save_pretrained(folder), base / "vae")


@torch.no_grad()
def reconstruct(model: AutoencoderKL, x: Tensor) -> Tensor:
    """The pictures that come back, in -1..1."""
    y: Tensor = model.decode(model.encode(x).latent_dist.mode()).sample
    return y.clamp(-1, 1)
