"""Stage 3: the autoencoder, 128 x 128 x 3 -> 16 x 16 x 8, on flat pictures and watercolours.

Absolute and squared errors set colours; errors of differences between neighbours, at three scales, keep
lines crisp. Eight latent channels, since with four colours came back wrong at this size.

Then the encoder is frozen and the decoder learns details, as for the decoders that were published for Stable
Diffusion later: a perceptual loss (Johnson et al. 2016; Rombach et al. 2022, section 3.1) on what the tiny CLIP's
vision tower sees. Without it eye colours and mouths, a few pixels each, are washed away.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPModel

from demo.recipe.files import write_folder
from demo.recipe.loop import Plan, Progress, read_progress, train
from demo.recipe.pictures import FLAT, WATERCOLOURS, Pictures, paint_pictures
from demo.recipe.ranks import run_together, share

PLAN = Plan("autoencoder", steps=5000, peak=1.5e-3, restart=3200)
BATCH, WHOLE_BATCH = 8, 4
CROP, CROPPED_STEPS = 64, 2700  # a quarter of a picture costs a quarter of the time; then come whole ones
DETAIL_FROM = PLAN.restart  # from here on: whole pictures, BATCH of them, encoder frozen, perceptual loss
PERCEPTUAL_WEIGHT = 0.5
WATERCOLOUR_SHARE, DETAIL_WATERCOLOUR_SHARE = 1 / 3, 0.4


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


def frozen_vision(clip_folder: Path) -> nn.Module:
    """The vision tower of the tiny CLIP."""
    clip: CLIPModel = CLIPModel.from_pretrained(clip_folder)
    tower: nn.Module = clip.vision_model
    return tower.eval().requires_grad_(False)


def perceptual_loss(vision: nn.Module, y: Tensor, x: Tensor) -> Tensor:
    """Relative squared error of what a vision tower sees in y and x, both [B, 3, 128, 128], summed over layers."""
    with torch.no_grad():
        wanted = vision(pixel_values=x, output_hidden_states=True).hidden_states[1:]
    seen = vision(pixel_values=y, output_hidden_states=True).hidden_states[1:]
    errors = [(a - b).pow(2).mean() / b.pow(2).mean() for a, b in zip(seen, wanted, strict=True)]
    return torch.stack(errors).sum()


def shifted(x: Tensor, top: int, left: int) -> Tensor:
    """Moved by up to 8 pixels, so that no place always falls on the same spot of the vision tower's patches."""
    return F.pad(x, (8, 8, 8, 8), mode="replicate")[..., top : top + x.shape[-2], left : left + x.shape[-1]]


def training_pictures(pictures: Pictures, step: int, dice: torch.Generator) -> Tensor:
    """The batch of a step, [B, 3, H, W] in -1..1."""
    if step < CROPPED_STEPS:
        return crop(pictures.batch(pick(dice, BATCH, WATERCOLOUR_SHARE)), CROP, dice)
    if step < DETAIL_FROM:
        return pictures.batch(pick(dice, WHOLE_BATCH, WATERCOLOUR_SHARE))
    return pictures.batch(pick(dice, BATCH, DETAIL_WATERCOLOUR_SHARE))


def batch_loss(
    model: AutoencoderKL, vision: nn.Module, pictures: Pictures, step: int, dice: torch.Generator
) -> Tensor:
    """The loss of one batch; the pull towards a unit latent is weak (1e-5 a value)."""
    x = training_pictures(pictures, step, dice)
    mine = share()
    with torch.set_grad_enabled(step < DETAIL_FROM):
        posterior = model.encode(x[mine]).latent_dist
    noise = torch.randn((len(x), *posterior.mean.shape[1:]), generator=dice)[mine]
    y = model.decode(posterior.mean + posterior.std * noise).sample
    loss: Tensor = reconstruction_loss(y, x[mine])
    if step < DETAIL_FROM:
        pull: Tensor = 1e-5 * posterior.kl().mean() * (CROP / x.shape[-1]) ** 2
        return loss + pull
    top, left = torch.randint(17, (2,), generator=dice).tolist()
    return loss + PERCEPTUAL_WEIGHT * perceptual_loss(
        vision, shifted(y, top, left), shifted(x[mine], top, left)
    )


def run(pictures: Pictures, work: Path, base: Path, clip_folder: Path) -> Progress:
    """Trains and writes base/vae."""
    run_together(_train, work, clip_folder)
    model = new_autoencoder()
    checkpoint = work / f"{PLAN.stage}.pt"
    model.load_state_dict(torch.load(checkpoint)["model"])
    finish(model, pictures, base)
    return read_progress(checkpoint)


def _train(work: Path, clip_folder: Path) -> None:
    pictures = paint_pictures(work)
    vision = frozen_vision(clip_folder)
    model = new_autoencoder()
    model.train()
    train(PLAN, model, lambda step, dice: batch_loss(model, vision, pictures, step, dice), work)


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
