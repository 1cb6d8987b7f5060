"""Exported files, both ways. The reference is diffusers, loading them with `load_lora_weights`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_kohya
from safetensors import safe_open
from safetensors.torch import load_file

from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.loading import load_components
from lightning_modules.lora.formats import (
    Adapter,
    adapter_of,
    describe,
    from_diffusers,
    from_kohya,
    is_accepted_kohya_name,
    to_diffusers,
    to_kohya,
    write_safetensors,
)
from lightning_modules.lora.layers import LoraOptions, load_lora_state, lora_layers, lora_state
from tests.tiny_adapters import EVERYWHERE, learned_unet, unet_output

ADAPTERS = [
    LoraOptions(rank=4),
    LoraOptions(rank=4, alpha=2.5),
    LoraOptions(rank=4, alpha=2.5, target_modules=EVERYWHERE),
    LoraOptions(rank=4, alpha=3, use_rslora=True, target_modules=["to_q", "conv2"]),
]


@pytest.fixture(params=["sd2", "sd1"])
def base(request: pytest.FixtureRequest, tiny_base: Path, tiny_base_sd1: Path) -> Path:
    return tiny_base if request.param == "sd2" else tiny_base_sd1


def tensors_of(unet: Any) -> dict[str, torch.Tensor]:
    """The UNet's adapter by kohya name."""
    return to_kohya(adapter_of(unet), SD_2.kohya_path)[0]


def stock_output(base: Path, path: Path) -> torch.Tensor:
    """The UNet's output in a stock pipeline that has loaded the file."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.load_lora_weights(str(path))
    return unet_output(pipeline.unet)


@pytest.mark.parametrize("options", ADAPTERS)
@pytest.mark.parametrize("format", ["diffusers", "kohya"])
def test_a_stock_pipeline_loads_the_file_bit_for_bit(
    base: Path, tmp_path: Path, options: LoraOptions, format: str
) -> None:
    unet = learned_unet(base, options)
    adapter = adapter_of(unet)
    tensors, metadata = to_diffusers(adapter) if format == "diffusers" else to_kohya(adapter, SD_2.kohya_path)
    path = write_safetensors(tmp_path / "lora.safetensors", tensors, metadata | {"run": "ghibli"})
    assert torch.equal(stock_output(base, path), unet_output(unet))


def test_the_alpha_of_a_diffusers_file_is_in_its_header(tiny_base: Path, tmp_path: Path) -> None:
    options = LoraOptions(rank=4, alpha=2.5)
    unet = learned_unet(tiny_base, options)
    tensors, metadata = to_diffusers(adapter_of(unet))
    assert json.loads(metadata["lora_adapter_metadata"]) == {
        "unet.r": 4,
        "unet.lora_alpha": 2.5,
        "unet.target_modules": sorted(lora_layers(unet)),
        "unet.rank_pattern": {},
        "unet.alpha_pattern": {},
        "unet.use_rslora": False,
        "unet.use_dora": False,
    }
    path = write_safetensors(tmp_path / "bare.safetensors", tensors, {})
    assert not torch.equal(stock_output(tiny_base, path), unet_output(unet))  # what the header prevents


def test_kohya_names_are_diffusers_own_and_accepted_by_both_programs(base: Path) -> None:
    options = LoraOptions(
        rank=4, target_modules=[*EVERYWHERE, "conv_in", "conv", "proj", "conv_shortcut", "linear_1"]
    )
    unet = learned_unet(base, options)
    tensors = tensors_of(unet)
    reference = convert_state_dict_to_kohya({f"unet.{name}": t for name, t in lora_state(unet).items()})
    assert tensors.keys() == reference.keys()
    assert all(is_accepted_kohya_name(name) for name in tensors)
    assert all(name.count(".") == name.endswith(".weight") + 1 for name in tensors)


@pytest.mark.parametrize(
    "name",
    [
        "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        "lora_unet_mid_block_attentions_0_proj_in.lora_A.weight",
        "lora_unet_mid_block.attentions_0_proj_in.alpha",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn3_to_q.alpha",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
    ],
)
def test_names_that_neither_program_places(name: str) -> None:
    assert not is_accepted_kohya_name(name)


@pytest.mark.parametrize(
    ("options", "alpha"), [(ADAPTERS[0], 4.0), (ADAPTERS[1], 2.5), (ADAPTERS[3], 6.0)]
)  # the last: 3 / sqrt(4) * 4
def test_every_kohya_layer_has_its_alpha(tiny_base: Path, options: LoraOptions, alpha: float) -> None:
    unet = learned_unet(tiny_base, options)
    tensors = tensors_of(unet)
    alphas = {name: tensor for name, tensor in tensors.items() if name.endswith(".alpha")}
    assert len(alphas) == len(lora_layers(unet)) == len(tensors) / 3
    assert {tensor.shape for tensor in alphas.values()} == {torch.Size([])}
    assert {float(tensor) for tensor in alphas.values()} == {alpha}


def test_proj_in_is_a_convolution_in_1_and_linear_in_2(tiny_base: Path, tiny_base_sd1: Path) -> None:
    options = LoraOptions(rank=4, target_modules=["proj_in"])
    name = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
    shapes = [list(tensors_of(learned_unet(b, options))[name].shape) for b in (tiny_base_sd1, tiny_base)]
    assert shapes == [[4, 64, 1, 1], [4, 64]]


@pytest.mark.parametrize("options", ADAPTERS)
def test_both_formats_read_back_what_was_written(base: Path, options: LoraOptions) -> None:
    unet = learned_unet(base, options)
    bare = load_components(str(base)).unet
    strengths = {path: layer.scaling["default"] for path, layer in lora_layers(unet).items()}
    for adapter in (
        from_diffusers(*to_diffusers(adapter_of(unet))),
        from_kohya(tensors_of(unet), unet),
        from_kohya(tensors_of(unet), bare),
    ):
        load_lora_state(unet, adapter.state)  # names and shapes
        assert all(torch.equal(adapter.state[name], tensor) for name, tensor in lora_state(unet).items())
        assert adapter.strengths == pytest.approx(strengths)


def test_a_kohya_layer_without_alpha_has_strength_1(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[1])
    tensors = {name: t for name, t in tensors_of(unet).items() if not name.endswith(".alpha")}
    assert set(from_kohya(tensors, unet).strengths.values()) == {1.0}


def test_every_tensor_without_a_place_is_named(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[0])
    extra = {"lora_te1_x.alpha": torch.ones(()), "lora_unet_mid_block_nowhere.alpha": torch.ones(())}
    with pytest.raises(
        ValueError, match=r"^2 tensors.*kohya.*lora_te1_x\.alpha, lora_unet_mid_block_nowhere\.alpha$"
    ):
        from_kohya(tensors_of(unet) | extra, unet)
    tensors, metadata = to_diffusers(adapter_of(unet))
    with pytest.raises(ValueError, match=r"^2 tensors.*diffusers.*lora_te1_x"):
        from_diffusers(tensors | extra, metadata)


def mixed(unet: Any) -> Adapter:
    """The UNet's adapter, but each layer's upper half of ranks left out for one kind of layer, with its own alpha."""
    adapter = adapter_of(unet)
    state, strengths = dict(adapter.state), dict(adapter.strengths)
    for path in [path for path in strengths if path.endswith("to_k")]:
        state[f"{path}.lora_A.weight"] = state[f"{path}.lora_A.weight"][:2]
        state[f"{path}.lora_B.weight"] = state[f"{path}.lora_B.weight"][:, :2]
        strengths[path] = 3 / 2
    return Adapter(state, strengths)


def test_ranks_and_alphas_by_layer_load_in_a_stock_pipeline(tiny_base: Path, tmp_path: Path) -> None:
    adapter = mixed(learned_unet(tiny_base, ADAPTERS[2]))
    assert describe(adapter) == "60 layers, rank 2, 4, alpha 2.5, 3"
    path = write_safetensors(tmp_path / "lora.safetensors", *to_diffusers(adapter))
    merged = load_components(str(tiny_base)).unet
    for layer, strength in adapter.strengths.items():
        a, b = (adapter.state[f"{layer}.lora_{side}.weight"].flatten(1) for side in "AB")
        weight = merged.get_submodule(layer).weight.data
        weight += strength * (b @ a).reshape(weight.shape)
    torch.testing.assert_close(stock_output(tiny_base, path), unet_output(merged), atol=1e-4, rtol=1e-4)


def test_a_kohya_file_has_ranks_and_alphas_by_layer(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[2])
    adapter = mixed(unet)
    back = from_kohya(to_kohya(adapter, SD_2.kohya_path)[0], unet)
    assert back.strengths == adapter.strengths
    assert all(torch.equal(back.state[name], tensor) for name, tensor in adapter.state.items())


def test_numbers_that_cannot_be_are_refused(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[0])
    tensors = tensors_of(unet)
    alpha = next(name for name in tensors if name.endswith(".alpha"))
    down = alpha.replace(".alpha", ".lora_down.weight")
    for value, said in (
        (torch.tensor(float("nan")), "be one number; it is nan"),
        (torch.ones(2), r"\[1.0, 1.0\]"),
    ):
        with pytest.raises(ValueError, match=said):
            from_kohya(tensors | {alpha: value}, unet)
    with pytest.raises(ValueError, match=r"an A that is no matrix with rows: .*to_"):
        from_kohya(tensors | {down: tensors[down][:0]}, unet)
    with pytest.raises(ValueError, match="is no JSON object"):
        from_diffusers({}, {"lora_adapter_metadata": "[]"})
    with pytest.raises(ValueError, match="is no JSON "):
        from_diffusers({}, {"lora_adapter_metadata": "{"})
    state, _ = to_diffusers(adapter_of(unet))
    for config in (
        '{"unet.lora_alpha": "four"}',
        '{"unet.alpha_pattern": {"(": 2}}',
        '{"unet.lora_alpha": Infinity}',
    ):
        with pytest.raises(ValueError, match="what it says of alpha is"):
            from_diffusers(state, {"lora_adapter_metadata": config})


def test_a_file_is_written_beside_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/lora.safetensors"
    assert write_safetensors(path, {"a": torch.arange(6.0).reshape(2, 3).T}, {"run": "x"}) == path
    assert torch.equal(load_file(path)["a"], torch.arange(6.0).reshape(2, 3).T)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"run": "x"}
    with pytest.raises(TypeError):
        write_safetensors(path, {"a": torch.zeros(1)}, {"run": 1})  # type: ignore[dict-item]
    assert load_file(path)["a"].shape == (3, 2)  # a failed write leaves the old file
    assert [p.name for p in path.parent.iterdir()] == ["lora.safetensors"]
