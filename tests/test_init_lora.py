"""Training that starts from an adapter of somebody else's: its layers, ranks and strengths, to the end and back."""

from pathlib import Path

import pytest
import torch

from lightning_modules.base.loading import load_components
from lightning_modules.lora.adapter import Adapter, adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.reading import place_adapter, read_adapter
from lightning_modules.lora.writing import write_adapter
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.small_run import adapter, picture_folder, same, small_config
from tests.tiny_adapters import EVERYWHERE, learned_unet, unet_output
from train import main


@pytest.fixture
def start(base: Path, tmp_path: Path) -> Path:
    """A kohya file with convolutions of a rank and an alpha of their own."""
    whole = adapter_of(learned_unet(base, LoraOptions(rank=4, alpha=2.0, target_modules=EVERYWHERE)))
    state, strengths = dict(whole.state), dict(whole.strengths)
    for path in [path for path in strengths if path.endswith("conv1")]:
        state[f"{path}.lora_A.weight"] = state[f"{path}.lora_A.weight"][:2]
        state[f"{path}.lora_B.weight"] = state[f"{path}.lora_B.weight"][:, :2]
        strengths[path] = 1.5
    return write_adapter(tmp_path / "start.safetensors", Adapter(state, strengths), "kohya", {})


def output(base: Path, file: Path) -> torch.Tensor:
    """What the base computes with a file's adapter."""
    unet = load_components(str(base)).unet
    place_adapter(unet, read_adapter(file))
    return unet_output(unet)


@pytest.mark.parametrize(
    ("base", "layers"),
    # XL: conv1 and time_emb_proj of 17 resnets, proj_in and proj_out of 11 attentions, 9 in each of their 17 layers
    [("tiny_base", 60), ("tiny_sdxl", 2 * 17 + 2 * 11 + 9 * 17)],
    indirect=["base"],
)
def test_the_module_starts_as_the_file_and_trains_all_of_it(
    base: Path, layers: int, start: Path, tmp_path: Path
) -> None:
    module = StableDiffusionLora(
        str(base), lora=LoraOptions(rank=16, dropout=0.5), init_lora=str(start), resolution=64
    )
    module.configure_model()
    assert torch.equal(unet_output(module.unet.eval()), output(base, start))
    assert {id(p) for p in module.trainable} == {id(p) for p in module.parameters() if p.requires_grad}
    assert {p.dtype for p in module.trainable} == {torch.float32}
    assert (
        f"starting from start.safetensors ({layers} layers, rank 2, 4, alpha 2, 3)"
        in module.base_description()
    )
    path = module.export_lora(tmp_path / "back.safetensors", "diffusers", {})
    assert torch.equal(output(base, path), output(base, start))


def test_dropout_is_the_options_own(base: Path, start: Path) -> None:
    module = StableDiffusionLora(str(base), lora=LoraOptions(dropout=0.5), init_lora=str(start))
    module.configure_model()
    assert not torch.equal(unet_output(module.unet.train()), unet_output(module.unet.eval()))


def test_a_run_goes_on_exactly_and_keeps_its_strengths(base: Path, start: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, base, picture_folder(tmp_path / "pictures"))
    common = ["fit", "--config", str(config), "--runs", str(tmp_path), "--model.init_lora", str(start)]
    short = ["--samples.prompts", "[]"]
    main([*common, *short, "--name", "straight", "--trainer.max_steps", "4"])
    main([*common, *short, "--name", "parts", "--trainer.max_steps", "3"])
    main([*common, *short, "--name", "parts", "--trainer.max_steps", "4", "--ckpt_path", "last"])
    runs = tmp_path / "straight", tmp_path / "parts"
    assert same(adapter(runs[0], 4), adapter(runs[1], 4))
    assert not same(adapter(runs[0], 4), adapter(runs[0], 3))
    checkpoint = read_adapter(runs[0] / "checkpoints" / "step_000004.ckpt")
    assert set(checkpoint.strengths.values()) == {0.5, 1.5}
    assert checkpoint.metadata["ss_steps"] == "4"
    expected = output(base, checkpoint.path)
    for file in ("pytorch_lora_weights.safetensors", "straight_kohya.safetensors"):
        assert torch.equal(output(base, runs[0] / file), expected)
    assert (runs[0] / "README.md").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("absent.safetensors", "--model.init_lora absent.safetensors: there is no such file"),
        ("wide", "--model.init_lora .* doesn't fit this base"),
    ],
)
def test_a_start_that_cannot_be_is_refused(base: Path, tmp_path: Path, given: str, said: str) -> None:
    if given == "wide":
        layer = "mid_block.attentions.0.proj_in"
        state = {f"{layer}.lora_A.weight": torch.ones(4, 99), f"{layer}.lora_B.weight": torch.ones(64, 4)}
        given = str(write_adapter(tmp_path / "wide.safetensors", Adapter(state, {layer: 1.0}), "kohya", {}))
    module = StableDiffusionLora(str(base), init_lora=given)
    with pytest.raises(ValueError, match=said):
        module.configure_model()
