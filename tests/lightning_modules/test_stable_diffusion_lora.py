"""The training module against diffusers and hand arithmetic; whole runs are in tests/test_fit.py."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn import functional

from lightning_modules.base import pictures_at_once
from lightning_modules.diffusion.noise import draw_noise
from lightning_modules.lora.layers import LoraOptions, lora_parameters
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.caption_dropout import drop_captions
from lightning_modules.text.conditioning import LongCaptions
from tests.tiny_models import on_each_family


@pytest.fixture
def module(tiny_base: Path) -> StableDiffusionLora:
    module = StableDiffusionLora(str(tiny_base), lora=LoraOptions(rank=4), resolution=64)
    module.configure_model()
    return module


def test_only_the_adapter_is_trainable(module: StableDiffusionLora) -> None:
    trainable = {id(p) for p in module.parameters() if p.requires_grad}
    assert (
        trainable
        == {id(p) for p in module.trainable}
        == {id(p) for p in lora_parameters(module.unet).values()}
    )


def test_the_error_is_that_of_diffusers_own_noising_and_velocity(module: StableDiffusionLora) -> None:
    assert module.parts is not None
    reference = DDPMScheduler.from_config(module.parts.scheduler_config)
    x0 = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    eps = draw_noise(x0.shape[1:], seed=3, draws=torch.tensor([5, 6]), device="cpu")
    t = torch.tensor([100, 900])
    captions = ["a portrait", ""]
    tokenizer = module.parts.text_encoders.tokenizer
    ids = tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        text = module.text_encoders["text_encoder"](ids).last_hidden_state
        noisy = reference.add_noise(x0, eps, t)
        prediction = module.unet(noisy, t, encoder_hidden_states=text).sample
        expected = functional.mse_loss(prediction, reference.get_velocity(x0, eps, t), reduction="none").mean(
            (1, 2, 3)
        )
        assert torch.allclose(module.prediction_error(x0, eps, t, {"caption": captions}), expected, atol=1e-6)


def test_latents_are_scaled_by_the_vaes_own_factor(module: StableDiffusionLora) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws = torch.tensor([0, 1])
    with torch.no_grad():
        mean = module.vae.encode(images).latent_dist.mean
    expected = mean * module.vae.config.scaling_factor
    got = module.latents({"image": images, "draw": draws}, sample=False)
    assert torch.allclose(got, expected, atol=1e-6)
    cached_mean, cached_std = module.encode_images(images)
    cached = {"latent_mean": cached_mean, "latent_std": cached_std, "draw": draws}
    assert torch.equal(module.latents(cached), module.latents({"image": images, "draw": draws}))
    assert not torch.equal(module.latents(cached), module.latents({**cached, "draw": draws + 2}))


@pytest.mark.parametrize("base", ["tiny_base", "tiny_sdxl"])
def test_without_gradients_a_few_are_predicted_at_a_time(
    base: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two latents of 8 x 8: base check and validation take a batch of three in two pieces."""
    module = StableDiffusionLora(str(request.getfixturevalue(base)), lora=LoraOptions(rank=4))
    module.configure_model()
    x_t, t = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 500, 999])
    batch = {"caption": ["a portrait", "", "sea"]}
    expected = module.predict(x_t, t, batch)
    seen: list[int] = []
    module.unet.register_forward_pre_hook(lambda unet, args: seen.append(len(args[0])))
    monkeypatch.setattr(pictures_at_once, "CELLS", 2 * 8 * 8)
    with torch.no_grad():
        found = module.predict(x_t, t, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    module.predict(x_t, t, batch)
    assert seen == [2, 1, 3]


def test_at_step_0_the_adapter_changes_nothing(module: StableDiffusionLora) -> None:
    def paint(scale: float) -> torch.Tensor:
        return module.generate(
            ["a portrait"],
            negative_prompts=[""],
            seeds=[1],
            height=None,
            width=None,
            steps=2,
            guidance_scale=3.0,
            guidance_rescale=0.0,
            sampler="ddim",
            clip_skip=0,
            lora_scale=scale,
        )

    assert paint(1.0).shape == (1, 3, 64, 64)
    assert torch.equal(paint(1.0), paint(0.0))
    for name, parameter in lora_parameters(module.unet).items():
        if "lora_B" in name:
            parameter.data.fill_(0.05)
    assert not torch.equal(paint(1.0), paint(0.0))


def test_the_fingerprint_is_plain_text_and_names_the_rank(module: StableDiffusionLora) -> None:
    fingerprint = module.fingerprint()
    assert fingerprint["lora rank"] == "4"
    assert fingerprint["prediction type"] == "v_prediction"
    assert all(isinstance(value, str) for value in fingerprint.values())


def test_loading_works_inside_an_accelerators_device_context(tiny_base: Path) -> None:
    """Lightning calls `configure_model` inside one; there a CPU generator can't draw for another device."""
    module = StableDiffusionLora(str(tiny_base), lora=LoraOptions(rank=4))
    with torch.device("meta"):
        module.configure_model()
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}


LONG = " ".join(["hills"] * 80)  # "hills" is one token of the tiny tokenizer


@on_each_family
def test_in_windows_a_pictures_error_does_not_depend_on_its_neighbours_caption(base: Path) -> None:
    module = StableDiffusionLora(str(base), lora=LoraOptions(rank=4), long_captions="windows")
    module.configure_model()
    noise = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, 4, 8, 8, generator=noise), torch.randn(2, 4, 8, 8, generator=noise)
    t = torch.tensor([100, 900])

    def errors(captions: list[str]) -> torch.Tensor:
        with torch.no_grad():
            return module.prediction_error(x0, eps, t, {"caption": captions})

    beside_long, beside_short = errors(["a girl", LONG]), errors(["a girl", "sea"])
    assert torch.allclose(beside_long[0], beside_short[0], atol=1e-6)
    assert not torch.allclose(beside_long[1], beside_short[1], atol=1e-6)
    other_end = LONG.removesuffix("hills") + "girl"
    assert not torch.equal(errors(["a girl", other_end])[1], beside_long[1])


@on_each_family
@pytest.mark.parametrize("long_captions", ["truncate", "windows"])
@pytest.mark.parametrize(
    ("negative", "prompt"), [("sea", "a girl"), ("sea", LONG), (LONG, "sea"), (LONG, LONG)]
)
@pytest.mark.filterwarnings("ignore:The prompt")
def test_the_unet_reads_the_same_in_training_and_in_sampling(
    base: Path, long_captions: LongCaptions, negative: str, prompt: str
) -> None:
    module = StableDiffusionLora(str(base), resolution=64, long_captions=long_captions)
    module.configure_model()
    read: list[dict[str, Any]] = []
    module.unet.register_forward_pre_hook(lambda unet, args, kwargs: read.append(kwargs), with_kwargs=True)

    with torch.no_grad():
        module.predict(torch.zeros(2, 4, 8, 8), torch.tensor([100, 100]), {"caption": [negative, prompt]})
    module.generate(
        [prompt],
        negative_prompts=[negative],
        seeds=[1],
        height=None,
        width=None,
        steps=1,
        guidance_scale=5.0,
        guidance_rescale=0.0,
        sampler="ddim",
        clip_skip=0,
    )

    trained, sampled = read
    assert torch.equal(trained["encoder_hidden_states"], sampled["encoder_hidden_states"])
    added = [read.get("added_cond_kwargs") or {} for read in (trained, sampled)]
    assert same_values(*added)
    assert bool(added[0]) is (base.name == "tiny_sdxl")
    mask = trained.get("encoder_attention_mask")
    if long_captions == "windows" and (negative == LONG) != (prompt == LONG):
        assert mask is not None
        assert torch.equal(mask, sampled["encoder_attention_mask"])
    else:
        assert mask is sampled.get("encoder_attention_mask") is None


def same_values(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@on_each_family
def test_a_dropped_caption_is_the_empty_text_with_all_that_belongs_to_it(base: Path) -> None:
    module = StableDiffusionLora(str(base), resolution=64, caption_dropout=0.5)
    module.configure_model()
    module.text.fill(["a girl"], progress=False)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    read: list[dict[str, Any]] = []
    module.unet.register_forward_pre_hook(lambda unet, args, kwargs: read.append(kwargs), with_kwargs=True)
    latents, draws = torch.zeros(8, 4, 8, 8), torch.arange(8)
    batch = {"latent_mean": latents, "latent_std": latents, "draw": draws, "caption": ["a girl"] * 8}
    module.training_step({**batch, "loss_weight": torch.ones(8)}, 0)
    captions = drop_captions(["a girl"] * 8, 0.5, seed=module.seed, draws=draws)
    assert set(captions) == {"", "a girl"}
    texts = {caption: module.encode_text([caption])[0] for caption in captions}
    for row, caption in enumerate(captions):
        assert torch.equal(read[0]["encoder_hidden_states"][row], texts[caption].context)
        if base.name == "tiny_sdxl":
            pooled = texts[caption].pooled
            assert pooled is not None
            assert torch.equal(read[0]["added_cond_kwargs"]["text_embeds"][row], pooled)


@pytest.mark.parametrize("long_captions", ["truncate", "windows"])
def test_samples_read_long_prompts_as_training_does(
    tiny_base: Path, long_captions: LongCaptions, recwarn: pytest.WarningsRecorder
) -> None:
    module = StableDiffusionLora(str(tiny_base), resolution=64, long_captions=long_captions)
    module.configure_model()

    def paint(prompt: str) -> torch.Tensor:
        return module.generate(
            [prompt],
            negative_prompts=[""],
            seeds=[1],
            height=None,
            width=None,
            steps=1,
            guidance_scale=1.0,
            guidance_rescale=0.0,
            sampler="ddim",
            clip_skip=0,
        )

    same = torch.equal(paint(LONG), paint(LONG.removesuffix("hills") + "girl"))
    assert same == (long_captions == "truncate")
    cut = [str(warning.message) for warning in recwarn if "longer than" in str(warning.message)]
    assert len(cut) == (2 if long_captions == "truncate" else 0)
    assert all("Shorten it, or train with --model.long_captions windows." in text for text in cut)
    assert all("lost: 'hills hills hills hills " in text for text in cut)
