"""Stable Diffusion XL against the stock pipeline and against arithmetic by hand: what the UNet reads, and pictures."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, StableDiffusionXLPipeline
from torch import Tensor
from torch.nn import functional

from lightning_modules.base.latents import picture_sizes
from lightning_modules.diffusion.held_out_loss import HeldOutLoss
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.painting.sampling import sample_images
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.conditioning import Pieces, caption_pieces, encode_texts, prompt_pieces
from lightning_modules.text.conditions import TextConditions, join_conditions
from tests.ldm_checkpoint import save_sdxl_checkpoint
from tests.tiny_adapters import acting_module
from tests.tiny_models import components_of

PROMPTS = ["a portrait of the girl with red hair", "landscape in watercolor style"]
NEGATIVES = ["", "blue sky"]
LONG = " ".join(["hills"] * 80)  # "hills" is one token of the tiny tokenizer


@pytest.fixture(scope="module")
def pipeline(tiny_sdxl: Path) -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tiny_sdxl, local_files_only=True, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read(pipeline: Any, texts: list[Pieces], long_captions: Any = "windows") -> list[TextConditions]:
    encoders = components_of(pipeline).text_encoders
    return encode_texts(texts, encoders, long_captions=long_captions, device="cpu")


@torch.no_grad()
def states(pipeline: Any, words: list[int]) -> tuple[Tensor, Tensor]:
    """By hand: the state before the last of both encoders, joined; and the projected last state at the end token."""
    joined = []
    for number, (tokenizer, encoder) in enumerate(
        ((pipeline.tokenizer, pipeline.text_encoder), (pipeline.tokenizer_2, pipeline.text_encoder_2))
    ):
        whole = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
        pad = tokenizer.eos_token_id if number == 0 else 0
        output = encoder(torch.tensor([whole + [pad] * (77 - len(whole))]), output_hidden_states=True)
        joined.append(output.hidden_states[-2][0])
    pooled = encoder.text_projection(output.last_hidden_state[0, len(whole) - 1])
    return torch.cat(joined, dim=-1), pooled


def tokens(pipeline: Any, text: str) -> list[int]:
    return list(pipeline.tokenizer(text, add_special_tokens=False).input_ids)


def pooled_of(text: TextConditions) -> Tensor:
    assert text.pooled is not None
    return text.pooled


def test_prompts_are_the_stock_pipelines_bit_for_bit(pipeline: Any) -> None:
    with torch.no_grad():
        context, negative, pooled, negative_pooled = pipeline.encode_prompt(
            PROMPTS, device="cpu", negative_prompt=NEGATIVES
        )
    found = [
        text
        for prompts in (PROMPTS, NEGATIVES)  # in batches of two, as the pipeline reads them
        for text in read(pipeline, [prompt_pieces(prompt) for prompt in prompts])
    ]
    assert torch.equal(torch.stack([text.context for text in found]), torch.cat([context, negative]))
    assert torch.equal(torch.stack(list(map(pooled_of, found))), torch.cat([pooled, negative_pooled]))
    assert found[0].context.shape == (77, 80)
    assert pooled_of(found[0]).shape == (40,)


def test_both_encoders_states_before_the_last_and_the_seconds_pooled_by_hand(pipeline: Any) -> None:
    context, pooled = states(pipeline, tokens(pipeline, "portrait of the sea"))
    (found,) = read(pipeline, [caption_pieces("portrait of the sea")])
    torch.testing.assert_close(found.context, context, rtol=0, atol=1e-6)
    torch.testing.assert_close(pooled_of(found), pooled, rtol=0, atol=1e-6)


def test_long_captions_break_at_one_word_and_pool_their_first_window(pipeline: Any) -> None:
    (hills,) = tokens(pipeline, "hills")
    first, pooled = states(pipeline, [hills] * 75)
    second, _ = states(pipeline, [hills] * 5)
    (found,) = read(pipeline, [caption_pieces(LONG)])
    torch.testing.assert_close(found.context, torch.cat([first, second]), rtol=0, atol=1e-6)
    torch.testing.assert_close(pooled_of(found), pooled, rtol=0, atol=1e-6)
    (cut,) = read(pipeline, [caption_pieces(LONG)], "truncate")
    assert torch.equal(cut.context, found.context[:77])


def test_weights_act_on_each_encoders_states_and_never_on_pooled(pipeline: Any) -> None:
    """z0 + w (z - z0) with each encoder's own empty text."""
    plain, _ = states(pipeline, tokens(pipeline, "red sea"))
    empty, _ = states(pipeline, [])
    (found,) = read(pipeline, [prompt_pieces("red (sea:1.5)")])
    expected = plain.clone()
    expected[2] = empty[2] + 1.5 * (plain[2] - empty[2])  # begin, red, sea
    torch.testing.assert_close(found.context, expected, rtol=0, atol=1e-6)
    assert torch.equal(pooled_of(found), pooled_of(read(pipeline, [prompt_pieces("red sea")])[0]))


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
def test_clip_skip_2_of_model_cards_is_what_is_read_anyway(pipeline: Any, clip_skip: int) -> None:
    encoders = components_of(pipeline).text_encoders
    texts = [prompt_pieces(PROMPTS[0])]
    found = encode_texts(texts, encoders, long_captions="windows", clip_skip=clip_skip, device="cpu")
    assert torch.equal(found[0].context, read(pipeline, texts)[0].context)
    with pytest.raises(ValueError, match="clip_skip is 3; with this base's text encoder it has to be 0 to 2"):
        encode_texts(texts, encoders, long_captions="windows", clip_skip=3, device="cpu")


@pytest.mark.parametrize(("guidance_scale", "guidance_rescale"), [(1.0, 0.0), (5.0, 0.0), (5.0, 0.7)])
def test_pictures_are_the_stock_pipelines(
    pipeline: Any, guidance_scale: float, guidance_rescale: float
) -> None:
    parts = components_of(pipeline)
    painted = sample_images(
        parts=parts,
        scheduler_config=parts.scheduler_config,
        prompts=PROMPTS,
        negative_prompts=NEGATIVES,
        seeds=[7, 8],
        height=64,
        width=48,
        steps=3,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        sampler="euler",
        clip_skip=0,
        long_captions="windows",
        device="cpu",
    )
    pipeline.scheduler = EulerDiscreteScheduler.from_config(parts.scheduler_config)
    array = pipeline(
        PROMPTS,
        negative_prompt=NEGATIVES,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)],
        height=64,
        width=48,
        num_inference_steps=3,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        output_type="np",
    ).images
    stock = torch.from_numpy(array).permute(0, 3, 1, 2)
    torch.testing.assert_close(painted, stock, rtol=0, atol=1e-4)


def test_the_size_is_told_and_has_an_effect(tiny_sdxl: Path) -> None:
    """Original height and width, crop, target height and width, in float32 whatever the UNet's dtype."""
    module = StableDiffusionLora(str(tiny_sdxl), lora=LoraOptions(rank=4))
    module.configure_model()
    seen: list[dict[str, Any]] = []
    module.unet.register_forward_pre_hook(lambda unet, args, kwargs: seen.append(kwargs), with_kwargs=True)
    with torch.no_grad():
        module.predict(torch.zeros(2, 4, 8, 6), torch.tensor([100, 100]), {"caption": ["a girl", "sea"]})
    added = seen[0]["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[64, 48, 0, 0, 64, 48]] * 2
    assert added["time_ids"].dtype == torch.float32
    texts = module.encode_text(["a girl", "sea"])
    expected = torch.stack(list(map(pooled_of, texts)))
    torch.testing.assert_close(added["text_embeds"], expected, rtol=0, atol=1e-5)
    family = module.parts.family  # type: ignore[union-attr]
    joined = join_conditions(texts)
    outputs = []
    for sizes in (picture_sizes(2, 64, 64), picture_sizes(2, 1537, 64)):
        conditions = family.unet_inputs(joined, sizes, torch.float32)
        with torch.no_grad():
            outputs.append(module.unet(torch.zeros(2, 4, 8, 8), 100, **conditions).sample)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("size_conditioning", "told"),
    [
        ("picture", [[64, 64, 0, 0, 64, 64], [32, 128, 0, 0, 32, 128], [64, 64, 0, 0, 64, 64]]),
        ("original", [[1537, 80, 4, 0, 64, 64], [90, 500, 0, 26, 32, 128], [70, 70, 0, 0, 64, 64]]),
    ],
)
def test_training_and_validation_are_told_the_sizes_that_the_option_says(
    tiny_sdxl: Path, size_conditioning: Any, told: list[list[float]]
) -> None:
    """A batch of two shapes; each picture is told its own, also where its latents come from the cache."""
    module = acting_module(tiny_sdxl, size_conditioning=size_conditioning, validation_noise_levels=1)
    module.held_out_loss = HeldOutLoss()
    seen: list[Tensor] = []
    module.unet.register_forward_pre_hook(
        lambda unet, args, kwargs: seen.append(kwargs["added_cond_kwargs"]["time_ids"]), with_kwargs=True
    )
    latents = [torch.zeros(4, 8, 8), torch.zeros(4, 4, 16), torch.zeros(4, 8, 8)]
    batch: dict[str, Any] = {
        "latent_mean": latents,
        "latent_std": latents,
        "caption": ["a girl", "sea", "hills"],
        "group": ["a"] * 3,
        "draw": torch.arange(3),
        "loss_weight": torch.ones(3),
        "original_size": torch.tensor([[1537.0, 80.0], [90.0, 500.0], [70.0, 70.0]]),
        "crop_top_left": torch.tensor([[4.0, 0.0], [0.0, 26.0], [0.0, 0.0]]),
    }
    module.training_step(batch, 0)
    module.validation_step(batch, 0)
    squares, wide = [told[0], told[2]], [told[1]]
    assert [sizes.tolist() for sizes in seen] == [squares, wide, squares, wide]
    assert {sizes.dtype for sizes in seen} == {torch.float32}
    seen.clear()
    module.generate(
        ["a girl"],
        negative_prompts=[""],
        seeds=[1],
        height=64,
        width=48,
        steps=1,
        guidance_scale=5.0,
        guidance_rescale=0.0,
        sampler="euler",
        clip_skip=0,
    )
    assert [sizes.tolist() for sizes in seen] == [
        [[64, 48, 0, 0, 64, 48]] * 2
    ]  # samples are told their own size


def test_another_size_conditioning_is_another_run(tiny_sdxl: Path) -> None:
    def fingerprint(**options: Any) -> dict[str, str]:
        return StableDiffusionLora(str(tiny_sdxl), **options).fingerprint()

    original = fingerprint(size_conditioning="original")
    assert original.items() - fingerprint().items() == {("size_conditioning", "original")}


@pytest.mark.parametrize(
    ("base", "said"), [("tiny_base", True), ("tiny_base_sd1", True), ("tiny_sdxl", False)]
)
def test_sizes_without_an_effect_are_said(base: str, said: bool, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(base)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        StableDiffusionLora(str(folder), size_conditioning="original").configure_model()
    told = [
        str(one.message) for one in caught if "size_conditioning original has no effect" in str(one.message)
    ]
    assert len(told) == said
    assert all("x isn't told the sizes of pictures. It can be left out." in one for one in told)


@pytest.mark.parametrize("marks", [(), ("v_pred", "ztsnr")], ids=["epsilon", "v, zero terminal"])
def test_the_error_is_that_of_the_stock_pipelines_unet_and_diffusers_own_noising(
    pipeline: Any, tiny_sdxl: Path, tmp_path: Path, marks: tuple[str, ...]
) -> None:
    """At the last timestep, where v of a zero terminal SNR is -x0, too."""
    path = save_sdxl_checkpoint(tiny_sdxl, tmp_path / "model.safetensors", *marks)
    module = StableDiffusionLora(str(path), str(tiny_sdxl), lora=LoraOptions(rank=4))
    module.configure_model()
    noising = DDPMScheduler.from_config(pipeline.scheduler.config, rescale_betas_zero_snr="ztsnr" in marks)
    noise = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, 4, 8, 8, generator=noise), torch.randn(2, 4, 8, 8, generator=noise)
    t = torch.tensor([100, 999])
    with torch.no_grad():
        context, _, pooled, _ = pipeline.encode_prompt(
            PROMPTS, device="cpu", do_classifier_free_guidance=False
        )
        added = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
        noisy = noising.add_noise(x0, eps, t)
        prediction = pipeline.unet(noisy, t, context, added_cond_kwargs=added).sample
        wanted = noising.get_velocity(x0, eps, t) if marks else eps
        expected = functional.mse_loss(prediction, wanted, reduction="none").mean((1, 2, 3))
        found = module.prediction_error(x0, eps, t, {"caption": PROMPTS})
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if marks:
        torch.testing.assert_close(wanted[1], -x0[1], rtol=0, atol=1e-5)


def test_a_v_base_with_zero_terminal_snr_begins_with_pure_noise(pipeline: Any) -> None:
    """Trailing spacing, as DDIM of diffusers has it for such a schedule."""
    parts = components_of(pipeline)
    config = {**parts.scheduler_config, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    painted = sample_images(
        parts=parts,
        scheduler_config=config,
        prompts=PROMPTS,
        negative_prompts=NEGATIVES,
        seeds=[7, 8],
        height=64,
        width=64,
        steps=3,
        guidance_scale=4.0,
        guidance_rescale=0.7,
        sampler="ddim",
        clip_skip=0,
        long_captions="windows",
        device="cpu",
    )
    pipeline.scheduler = DDIMScheduler.from_config(config, timestep_spacing="trailing", clip_sample=False)
    array = pipeline(
        PROMPTS,
        negative_prompt=NEGATIVES,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)],
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=4.0,
        guidance_rescale=0.7,
        output_type="np",
    ).images
    assert pipeline.scheduler.timesteps[0] == 999
    torch.testing.assert_close(painted, torch.from_numpy(array).permute(0, 3, 1, 2), rtol=0, atol=1e-4)
