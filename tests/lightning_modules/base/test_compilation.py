"""Compiled blocks compute what plain ones do, and leave the names of tensors alone.

With backends that need no C++ compiler: `aot_eager` traces forward and backward pass as the default does, and runs the
traced operations as they are.
"""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

import commands.fit.style_cli
import lightning_modules.adapted_model
from commands.fit.fit import fit
from lightning_modules.base.compilation import check_compiler, compile_blocks
from lightning_modules.lora.layers import lora_parameters, lora_state
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.tiny_adapters import acting_module

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of earlier tests is known, and kernels aren't made."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(
        lightning_modules.adapted_model,
        "compile_blocks",
        lambda unet: compile_blocks(unet, backend="aot_eager"),
    )


def step(module: StableDiffusionLora) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of a training step."""
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = {
        "latent_mean": latents,
        "latent_std": latents.abs(),
        "caption": ["portrait of a girl", "the sea"],
        "draw": torch.tensor([4, 5]),
        "loss_weight": torch.ones(2),
    }
    loss = module.training_step(batch, 0)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in lora_parameters(module.unet).items() if p.grad is not None}
    return loss.detach(), gradients


def test_loss_gradients_and_names_are_those_of_the_plain_unet(tiny_base: Path) -> None:
    """With gradient checkpointing, where a block's forward pass runs twice. Checkpoints and exports are like any."""
    plain = acting_module(tiny_base, gradient_checkpointing=True)
    compiled = acting_module(tiny_base, gradient_checkpointing=True, compile_blocks=True)
    plain_loss, plain_gradients = step(plain)
    loss, gradients = step(compiled)
    assert counters["stats"]["unique_graphs"] > 0  # else nothing was compiled
    assert not counters["graph_break"]
    torch.testing.assert_close(loss, plain_loss, rtol=TOLERANCE, atol=TOLERANCE)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=TOLERANCE, atol=TOLERANCE)
    assert lora_state(compiled.unet).keys() == lora_state(plain.unet).keys()
    assert compiled.unet.state_dict().keys() == plain.unet.state_dict().keys()


def test_painting_compiles_nothing_and_paints_the_plain_picture(tiny_base: Path) -> None:
    pictures = [
        acting_module(tiny_base, compile_blocks=compiled).generate(
            ["the sea"],
            negative_prompts=[""],
            seeds=[1],
            height=64,
            width=64,
            steps=2,
            guidance_scale=3.0,
            guidance_rescale=0.0,
            sampler="ddim",
            clip_skip=0,
        )
        for compiled in (False, True)
    ]
    assert torch.equal(*pictures)
    assert counters["stats"]["unique_graphs"] == 0


def test_two_sizes_in_batches_of_one_to_three_stay_compiled(tiny_base: Path) -> None:
    """Too low a limit is raised. Where it is hit, PyTorch goes on uncompiled; here it fails."""
    unet = acting_module(tiny_base).unet
    width = unet.config.cross_attention_dim
    with torch.no_grad(), torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=2):
        compile_blocks(unet, backend="eager")
        for height, size in product((8, 16), (1, 2, 3)):
            x, context = torch.zeros(size, 4, height, 8), torch.zeros(size, 77, width)
            unet(x, torch.zeros(size), encoder_hidden_states=context)
        assert counters["stats"]["unique_graphs"] > 2


def test_a_missing_compiler_is_found_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(ValueError, match=r"--model.compile_blocks needs a C\+\+ compiler, .* Install g\+\+"),
    ):
        check_compiler(on_gpu=False)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    with pytest.raises(ValueError, match=r"--model.compile_blocks needs Triton .* Install triton"):
        check_compiler(on_gpu=True)


def test_fit_asks_for_the_compiler_before_it_loads_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(*, on_gpu: bool) -> None:
        raise ValueError("no compiler here")

    monkeypatch.setattr(commands.fit.style_cli, "check_compiler", none_here)
    monkeypatch.setattr(
        commands.fit.style_cli.StyleCLI, "before_instantiate_classes", lambda _: pytest.fail("began to load")
    )
    options = ["--model.base_model=demo/base", "--data.folder=nowhere", "--model.compile_blocks=true"]
    with pytest.raises(ValueError, match="no compiler here"):
        fit(["--trainer.accelerator=cpu", *options])
