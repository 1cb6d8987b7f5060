"""Sampling, against the stock pipeline, and without side effects."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from peft import LoraConfig
from torch import Tensor

from foundation.picture_settings import SamplerName
from lightning_modules.base import pictures_at_once
from lightning_modules.base.pictures_at_once import painted_together
from lightning_modules.painting import sampling
from lightning_modules.painting.sampling import make_scheduler, rescaled, sample_images, starting_noise
from lightning_modules.text.conditioning import encode_texts, prompt_pieces
from lightning_modules.text.prompt_cache import PromptCache
from tests.tiny_models import components_of

STOCK = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
SAMPLERS = get_args(SamplerName)
PROMPTS = ["a portrait of the girl", "landscape, sea in watercolor style"]
LONG = " ".join(["hills"] * 90)  # "hills" is one token of the tiny tokenizer: two windows
ONE_STEP = 1 / 255


@pytest.fixture(params=["tiny_base", "tiny_base_sd1"])
def pipeline(request: pytest.FixtureRequest) -> Any:
    """A stock pipeline, v-prediction and epsilon; loaded anew for each test, as some change the UNet."""
    return load(request.getfixturevalue(request.param))


@pytest.fixture
def sd2(tiny_base: Path) -> Any:
    """A stock pipeline with v-prediction."""
    return load(tiny_base)


def load(folder: Path) -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def paint(pipeline: Any, prompts: list[str], **changes: Any) -> Tensor:
    settings: dict[str, Any] = {
        "negative_prompts": ["blue sky"] * len(prompts),
        "seeds": list(range(7, 7 + len(prompts))),
        "height": 64,
        "width": 48,
        "steps": 4,
        "guidance_scale": 5.0,
        "guidance_rescale": 0.0,
        "sampler": "ddim",
        "clip_skip": 0,
        "long_captions": "windows",
        "scheduler_config": pipeline.scheduler.config,
    }
    return sample_images(
        parts=components_of(pipeline),
        prompts=prompts,
        device="cpu",
        **(settings | changes),
    )


def stock(
    pipeline: Any,
    prompts: list[str],
    *,
    guidance_scale: float = 5.0,
    guidance_rescale: float = 0.0,
    **embeddings: Any,
) -> Tensor:
    """The same picture by the pipeline, which is given its generators."""
    texts = embeddings or {"prompt": prompts, "negative_prompt": ["blue sky"] * len(prompts)}
    array = pipeline(
        **texts,
        generator=[torch.Generator().manual_seed(7 + i) for i in range(len(prompts))],
        height=64,
        width=48,
        num_inference_steps=4,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        output_type="np",
    ).images
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_paints_what_the_stock_pipeline_paints(pipeline: Any, sampler: SamplerName) -> None:
    images = paint(pipeline, PROMPTS, sampler=sampler)

    pipeline.scheduler = STOCK[sampler].from_config(pipeline.scheduler.config)
    close(images, stock(pipeline, PROMPTS), atol=1e-4)
    assert images.shape == (2, 3, 64, 48)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert images.std() > 0.01


def test_ddim_is_the_stock_pipelines_to_the_fifth_decimal(pipeline: Any) -> None:
    close(paint(pipeline, PROMPTS), stock(pipeline, PROMPTS))


def test_without_guidance_the_negative_prompt_is_never_encoded(sd2: Any) -> None:
    long_negative = " ".join(["sky"] * 100)

    images = paint(sd2, PROMPTS, guidance_scale=1.0, negative_prompts=[long_negative] * 2)

    close(images, stock(sd2, PROMPTS, guidance_scale=1.0))
    calls: list[int] = []
    hook = sd2.unet.conv_in.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    paint(sd2, PROMPTS, guidance_scale=1.0)
    assert calls == [2] * 4  # 4 steps on 2 pictures, not 4
    hook.remove()


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_rescaled_guidance_is_the_stock_pipelines(pipeline: Any, share: float) -> None:
    images = paint(pipeline, PROMPTS, guidance_rescale=share)
    close(images, stock(pipeline, PROMPTS, guidance_rescale=share))
    assert (images - paint(pipeline, PROMPTS)).abs().max() > 1e-3


def test_rescaled_guidance_by_hand() -> None:
    """Deviations 1 and 3 of one picture, 2 and 2 of the other: the first is divided by 3, the second stays."""
    ones = torch.tensor([-1.0, 1.0]).repeat(2).reshape(1, 1, 2, 2)
    conditional, guided = torch.cat([ones, 2 * ones]), torch.cat([3 * ones, 2 * ones])
    close(rescaled(guided, conditional, 1.0), conditional)
    close(
        rescaled(guided, conditional, 0.25), torch.cat([2.5 * ones, 2 * ones])
    )  # a quarter of 1, the rest of 3
    assert rescaled(guided, conditional, 0.0) is guided


def test_without_guidance_nothing_is_rescaled(sd2: Any) -> None:
    alone = paint(sd2, PROMPTS, guidance_scale=1.0)
    assert torch.equal(paint(sd2, PROMPTS, guidance_scale=1.0, guidance_rescale=0.7), alone)


def test_weighted_prompts_reach_the_unet(sd2: Any) -> None:
    weighted = ["a (watercolor:1.4) portrait", "(sea:0.5)"]

    def encoded(texts: list[str]) -> Tensor:
        read = encode_texts(
            [prompt_pieces(text) for text in texts],
            components_of(sd2).text_encoders,
            long_captions="windows",
            device="cpu",
        )
        return torch.stack([text.context for text in read])

    expected = stock(
        sd2, weighted, prompt_embeds=encoded(weighted), negative_prompt_embeds=encoded(["blue sky"] * 2)
    )

    close(paint(sd2, weighted), expected)
    assert (paint(sd2, ["a watercolor portrait", "sea"]) - expected).abs().max() > 1e-3


def test_clip_skip_changes_the_picture(sd2: Any) -> None:
    assert (paint(sd2, PROMPTS, clip_skip=1) - paint(sd2, PROMPTS)).abs().max() > 1e-3


def test_starting_noise_belongs_to_the_seed() -> None:
    alone, _ = starting_noise([5], (4, 8, 8))
    among, _ = starting_noise([1, 5, 2], (4, 8, 8))

    assert torch.equal(alone[0], among[1])
    assert not torch.equal(among[0], among[2])
    assert torch.equal(alone[0], torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("sampler", ["ddim", "euler_a"])
def test_a_picture_doesnt_depend_on_the_prompts_beside_it(sd2: Any, sampler: SamplerName) -> None:
    alone = paint(sd2, PROMPTS[:1], sampler=sampler)

    among = paint(sd2, [PROMPTS[0], LONG, *PROMPTS], sampler=sampler, batch_size=2)

    close(among[:1], alone, ONE_STEP)
    assert (among[2] - alone[0]).abs().max() > ONE_STEP  # the same prompt with another seed


@pytest.mark.parametrize(("short", "long"), [(PROMPTS[0], LONG), (LONG, PROMPTS[0])])
def test_a_prompt_reads_its_own_windows_only_beside_a_negative_of_another_length(
    sd2: Any, short: str, long: str
) -> None:
    def outputs(prompt: str, negative: str) -> tuple[Tensor, ...]:
        seen: list[Tensor] = []
        hook = sd2.unet.register_forward_hook(lambda module, args, output: seen.append(output[0]))
        paint(sd2, [prompt], negative_prompts=[negative], steps=1)
        hook.remove()
        return seen[0].chunk(2)

    negative, prompt = outputs(short, long)
    alone = outputs(short, short)[1], outputs(long, long)[1]  # equally long: nothing is filled up

    close(prompt, alone[0])
    close(negative, alone[1])
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_equally_long_prompts_have_no_mask(sd2: Any) -> None:
    masks: list[Tensor | None] = []
    hook = sd2.unet.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs.get("encoder_attention_mask")), with_kwargs=True
    )

    paint(sd2, PROMPTS, steps=1)
    paint(sd2, [LONG], negative_prompts=[LONG], steps=1)
    paint(sd2, PROMPTS, negative_prompts=["", LONG], steps=1)

    one, two, unequal = masks
    assert one is None
    assert two is None
    assert unequal is not None
    assert unequal.sum(1).tolist() == [77, 154, 77, 77]  # negatives, prompts
    hook.remove()


def test_pictures_come_in_the_order_of_their_prompts(sd2: Any) -> None:
    prompts = [LONG, PROMPTS[0], LONG, PROMPTS[1], PROMPTS[0]]

    together = paint(sd2, prompts, batch_size=2)

    for i, prompt in enumerate(prompts):
        close(
            together[i : i + 1], paint(sd2, [prompt], seeds=[7 + i], negative_prompts=["blue sky"]), ONE_STEP
        )


def test_as_many_are_painted_at_once_as_training_has_memory_for(
    sd2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two pictures of 64 x 64 with guidance, or four without: each takes 8 x 8 cells, with guidance twice."""
    monkeypatch.setattr(pictures_at_once, "CELLS", 4 * 8 * 8)
    seen: list[int] = []
    sd2.unet.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    prompts = [*PROMPTS, LONG]
    guided = paint(sd2, prompts, steps=1)
    paint(sd2, prompts, steps=1, guidance_scale=1.0)
    paint(sd2, prompts, steps=1, height=128, width=128)
    assert seen == [4, 2, 3, 2, 2, 2]
    monkeypatch.undo()
    close(paint(sd2, prompts, steps=1), guided, ONE_STEP)
    assert seen[6:] == [6]


@pytest.mark.parametrize(
    ("side", "guided", "count"), [(512, True, 8), (512, False, 8), (1024, True, 2), (4096, True, 1)]
)
def test_pictures_at_once_by_hand(side: int, guided: bool, count: int) -> None:
    assert painted_together(side // 8, side // 8, guided=guided) == count


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_global_generator_and_the_models_are_left_as_they_were(sd2: Any, sampler: SamplerName) -> None:
    sd2.unet.train()
    sd2.unet.mid_block.eval()
    flags = {name: module.training for name, module in sd2.unet.named_modules()}
    before = torch.get_rng_state()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # diffusers 0.42 on NumPy 2; hidden by Python's default filter
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        paint(sd2, PROMPTS, sampler=sampler)

    assert torch.equal(torch.get_rng_state(), before)
    assert {name: module.training for name, module in sd2.unet.named_modules()} == flags
    assert not sd2.vae.training


def test_lora_dropout_is_off_while_painting_and_on_again_after_an_error(sd2: Any) -> None:
    torch.manual_seed(0)
    sd2.unet.add_adapter(LoraConfig(r=2, lora_dropout=0.9, target_modules=["to_q"], init_lora_weights=False))
    sd2.unet.train()

    assert torch.equal(paint(sd2, PROMPTS), paint(sd2, PROMPTS))

    with pytest.raises(ValueError, match="clip_skip is 9"):
        paint(sd2, PROMPTS, clip_skip=9)
    assert sd2.unet.training


def test_a_bf16_unet_with_float32_lora_paints_nearly_the_same(sd2: Any, tiny_base: Path) -> None:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False)
    half = load(tiny_base)
    sd2.unet.add_adapter(config)
    half.unet.to(torch.bfloat16)
    half.text_encoder.to(torch.bfloat16)
    half.unet.add_adapter(config)
    lora = {name: value for name, value in sd2.unet.state_dict().items() if ".lora_" in name}
    for name, parameter in half.unet.named_parameters():
        if ".lora_" in name:
            parameter.data = lora[name].clone()
    before = {name: parameter.dtype for name, parameter in half.unet.named_parameters()}

    whole, painted = paint(sd2, PROMPTS), paint(half, PROMPTS)

    assert painted.dtype == torch.float32
    close(painted, whole, 0.1)
    assert (painted - whole).abs().mean() < 0.01
    assert {name: parameter.dtype for name, parameter in half.unet.named_parameters()} == before
    assert {before[name] for name in lora} == {torch.float32}


def test_the_callers_autocast_changes_nothing(sd2: Any) -> None:
    outside = paint(sd2, PROMPTS)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(paint(sd2, PROMPTS), outside)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 6])
def test_zero_terminal_snr_begins_at_the_last_timestep(sd2: Any, sampler: SamplerName, steps: int) -> None:
    config = dict(sd2.scheduler.config) | {"rescale_betas_zero_snr": True}

    scheduler = make_scheduler(sampler, config)
    scheduler.set_timesteps(steps)
    images = paint(sd2, PROMPTS, sampler=sampler, steps=steps, scheduler_config=config)

    assert int(scheduler.timesteps[0]) == 999
    assert scheduler.config.prediction_type == "v_prediction"
    assert torch.isfinite(images).all()
    assert images.std() > 0.01


def test_a_base_without_zero_terminal_snr_keeps_its_spacing(sd2: Any) -> None:
    assert make_scheduler("ddim", sd2.scheduler.config).config.timestep_spacing == "leading"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_config_of_another_scheduler_is_read_without_a_word(
    sampler: SamplerName, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    caplog.set_level(logging.WARNING, "diffusers")
    # scheduler_config.json as Stable Diffusion 1.5 published it, but without clip_sample
    config = {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "of_a_later_version": True,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }

    scheduler = make_scheduler(sampler, config)

    assert not caplog.records
    assert scheduler.config.beta_end == 0.012
    assert not scheduler.config.get("clip_sample", False)
    STOCK[sampler].from_config(config)
    assert "of_a_later_version" in caplog.text  # what is kept quiet above


def test_the_vae_decodes_with_its_own_scale_and_shift(sd2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Tensor] = []
    decode = sd2.vae.decode

    def spy(z: Tensor, **options: Any) -> Any:
        decoded.append(z)
        return decode(z, **options)

    monkeypatch.setattr(sd2.vae, "decode", spy)
    sd2.vae.register_to_config(scaling_factor=0.5, shift_factor=0.3)
    paint(sd2, PROMPTS[:1])
    sd2.vae.register_to_config(scaling_factor=1.0, shift_factor=None)
    paint(sd2, PROMPTS[:1])

    shifted, plain = decoded
    close(shifted, plain / 0.5 + 0.3)


def test_no_prompts_no_pictures(sd2: Any) -> None:
    assert paint(sd2, []).shape == (0, 3, 64, 48)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "plms"}, "unknown sampler 'plms'; choose one of: ddim, euler, euler_a, dpmpp_2m, unipc"),
        ({"seeds": [1]}, "2 prompts, 2 negative_prompts, 1 seeds"),
        ({"negative_prompts": []}, "2 prompts, 0 negative_prompts, 2 seeds"),
        ({"steps": 0}, "steps is 0; a sampler takes at least 1"),
        ({"height": 60}, "height 60 and width 48 have to be multiples of 8"),
        ({"width": 0}, "height 64 and width 0 have to be multiples of 8"),
        ({"clip_skip": 5}, "clip_skip is 5; with this base's text encoder it has to be 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(sd2: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paint(sd2, PROMPTS, **changes)


def test_an_overflow_is_an_error_not_a_black_picture(sd2: Any) -> None:
    torch.nn.init.constant_(sd2.unet.conv_out.bias, float("inf"))

    with pytest.raises(
        FloatingPointError, match=r"ddim gave NaN or infinity: .* torch.float32; try a lower guidance_scale$"
    ):
        paint(sd2, PROMPTS)
    sd2.unet.bfloat16()
    with pytest.raises(
        FloatingPointError, match=r"torch.bfloat16; try --trainer.precision 32-true, or a lower guidance"
    ):
        paint(sd2, PROMPTS)


def test_text_encoder_and_vae_are_on_the_device_for_their_part_only(
    sd2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pictures, two at a time: all prompts are read, all latents sampled, then decoded one by one."""
    seen: list[str] = []

    @contextmanager
    def visits(device: torch.device, model: Any) -> Iterator[None]:
        name = "VAE" if model is sd2.vae else "text encoder"
        seen.append(f"{name} comes")
        yield
        seen.append(f"{name} goes")

    decode, forward = sd2.vae.decode, sd2.unet.forward

    def noted_decode(z: torch.Tensor, **options: Any) -> Any:
        seen.append(f"decodes {len(z)}")
        return decode(z, **options)

    def noted_forward(x: torch.Tensor, *args: Any, **options: Any) -> Any:
        seen.append(f"predicts {len(x)}")
        return forward(x, *args, **options)

    monkeypatch.setattr(sampling, "onloaded", visits)
    monkeypatch.setattr(sd2.vae, "decode", noted_decode)
    monkeypatch.setattr(sd2.unet, "forward", noted_forward)
    paint(sd2, [*PROMPTS, "sea"], batch_size=2, steps=1)
    assert list(dict.fromkeys(seen)) == [
        "text encoder comes",
        "text encoder goes",
        "predicts 4",  # two pictures, with guidance
        "predicts 2",
        "VAE comes",
        "decodes 1",
        "VAE goes",
    ]
    assert seen.count("decodes 1") == 3


def test_prompts_are_read_once_where_there_is_a_memory(sd2: Any) -> None:
    """Two texts and one negative; with a clip skip they are read anew."""
    alone = paint(sd2, PROMPTS)
    memory = PromptCache()
    read: list[int] = []
    hook = sd2.text_encoder.register_forward_hook(lambda module, args, output: read.append(len(args[0])))
    first, second = paint(sd2, PROMPTS, memory=memory), paint(sd2, PROMPTS[::-1], memory=memory, seeds=[8, 7])
    assert read == [1, 1, 1]
    assert torch.equal(first, alone)
    close(second.flip(0), first)
    paint(sd2, PROMPTS, memory=memory, clip_skip=1)
    hook.remove()
    assert len(read) == 6
