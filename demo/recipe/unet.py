"""Stage 4: the UNet, v-prediction on latents of flat pictures; one in 25 is a watercolour, captioned as
such.

Like the real base it has heard of watercolour, and paints flat unless pushed. The text tower is frozen.
What is written is the running average of the weights.
"""

from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from demo.prompts import Style, join, style_words
from demo.recipe.autoencoder import pick
from demo.recipe.clip import HIDDEN
from demo.recipe.files import write_folder, write_torch
from demo.recipe.loop import Plan, Progress, read_progress, train
from demo.recipe.pictures import FLAT, Pictures
from demo.recipe.ranks import run_together, share
from demo.scenes import Scene

PLAN = Plan("unet", steps=2400, peak=1.5e-3, weight_decay=0.01, average=0.995, save_every=300)
BATCH = 16
WATERCOLOUR_SHARE, PLAIN, NO_CAPTION = 0.04, 0.5, 0.1

NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def new_unet() -> UNet2DConditionModel:
    """The untrained model, 6.4 million parameters."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 112, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=HIDDEN,
        attention_head_dim=4,
        norm_num_groups=16,
        use_linear_projection=True,
    )


@torch.no_grad()
def encode(pictures: Pictures, vae: AutoencoderKL, index: Tensor) -> Tensor:
    """Scaled latents [B, 8, 16, 16] of the pictures with these numbers."""
    parts = torch.split(index, 32)
    rows = [vae.encode(pictures.batch(part)).latent_dist.mode() for part in parts]
    scaled: Tensor = torch.cat(rows) * vae.config.scaling_factor
    return scaled


def encode_pictures(pictures: Pictures, vae: AutoencoderKL, work: Path) -> None:
    """Writes the latents of all pictures to the work folder, if they aren't there."""
    path = work / "latents.pt"
    if not path.exists():
        write_torch(encode(pictures, vae, torch.arange(len(pictures.pixels))), path)


def describe(scene: Scene, style: Style, random: Random) -> str:
    """The caption for the diffusion model: flat is the default, so half of the time nobody says so."""
    draw = random.random()
    if draw < NO_CAPTION:
        return ""
    if style == "flat" and draw < NO_CAPTION + PLAIN * (1 - NO_CAPTION):
        return scene.caption()
    before, after = style_words(style, random)
    return join(before, scene.caption(), after)


def batch_loss(
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    latents: Tensor,
    scenes: list[Scene],
    dice: torch.Generator,
) -> Tensor:
    """The v-prediction loss of one batch."""
    index = pick(dice, BATCH, WATERCOLOUR_SHARE)
    random = Random(int(torch.randint(2**31, (), generator=dice)))
    captions = [describe(scenes[i], "flat" if i < FLAT else "watercolor", random) for i in index.tolist()]
    mine = share()
    ids = tokenizer(captions[mine], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        context = text(ids).last_hidden_state
    x = latents[index][mine]
    noise = torch.randn((BATCH, *x.shape[1:]), generator=dice)[mine]
    t = torch.randint(1000, (BATCH,), generator=dice)[mine]
    schedule = DDPMScheduler(**NOISE)
    prediction = unet(schedule.add_noise(x, noise, t), t, context).sample
    return F.mse_loss(prediction, schedule.get_velocity(x, noise, t))


def write_unet(unet: UNet2DConditionModel, averaged: dict[str, Tensor], base: Path) -> None:
    """Writes the averaged weights in 16 bit."""
    kept = new_unet()
    kept.load_state_dict({**unet.state_dict(), **averaged})
    write_folder(kept.half().save_pretrained, base / "unet")


def write_index(base: Path) -> None:
    """Writes scheduler and model_index.json, which make the folder a StableDiffusionPipeline."""
    scheduler = DDIMScheduler(
        **NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
    )
    write_folder(scheduler.save_pretrained, base / "scheduler")
    index = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(base / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(base / "unet"),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    index.save_config(base)


def run(pictures: Pictures, work: Path, base: Path) -> Progress:
    """Trains and writes base/unet, base/scheduler and base/model_index.json, also at every checkpoint."""
    encode_pictures(pictures, AutoencoderKL.from_pretrained(base / "vae").eval(), work)
    run_together(_train, pictures.scenes, work, base)
    return read_progress(work / f"{PLAN.stage}.pt")


def _train(scenes: list[Scene], work: Path, base: Path) -> None:
    text = CLIPTextModel.from_pretrained(base / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    latents = torch.load(work / "latents.pt")
    unet = new_unet()
    unet.train()

    def after_save(progress: Progress) -> None:
        write_unet(unet, progress.averaged, base)
        write_index(base)

    def loss(step: int, dice: torch.Generator) -> Tensor:
        return batch_loss(unet, text, tokenizer, latents, scenes, dice)

    train(PLAN, unet, loss, work, after_save=after_save)
