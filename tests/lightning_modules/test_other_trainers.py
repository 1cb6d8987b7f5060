"""LoRA files as other trainers' own code writes them: imported, the UNet computes what theirs computes.

Files come from diffusers' and peft's writers and from LyCORIS (which kohya's scripts, naifu and SimpleTuner write
convolutions with); names that none of these writes are made from those.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from lycoris import LycorisNetwork
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_modules.base.loading import describe_base, load_components, unet_without_weights
from lightning_modules.lora.merging import merge_adapter
from lightning_modules.lora.read_back import verify_file
from lightning_modules.lora.reading import notes, place_adapter, read_adapter, unet_adapter
from lightning_modules.lora.writing import write_adapter
from tests.lightning_modules.web_ui_names import comfyui_table
from tests.tiny_adapters import unet_output

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = [*ATTENTION, "proj_in", "conv1", "conv_in"]


@pytest.fixture(params=["tiny_base_sd1", "tiny_base", "tiny_sdxl"])
def base(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@torch.no_grad()
def learned(network: Any) -> Any:
    """The network with seeded noise in each of its matrices that start as zeros."""
    source = torch.Generator().manual_seed(5)
    for name, parameter in sorted(network.named_parameters()):
        if re.search(r"lora_(B|up|mid)\b", name):
            parameter.copy_(torch.randn(parameter.shape, generator=source) * 0.1)
    return network


def with_peft(base: Path, **options: Any) -> Any:
    """The base's UNet under peft, as diffusers' training scripts have it."""
    unet = load_components(str(base)).unet
    unet.add_adapter(LoraConfig(r=4, **options))
    return learned(unet)


def by_diffusers(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """`save_lora_weights` with the adapter's metadata."""
    unet = with_peft(base, lora_alpha=2, target_modules=CONVOLUTIONS, rank_pattern={"conv1": 3})
    config = unet.peft_config["default"].to_dict()
    config = {name: list(value) if isinstance(value, set) else value for name, value in config.items()}
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(unet),
        unet_lora_adapter_metadata={
            k: v for k, v in config.items() if isinstance(v, int | float | list | dict)
        },
    )
    return folder / "pytorch_lora_weights.safetensors", unet_output(unet)


def by_diffusers_scripts(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """As in all of diffusers' examples: `.lora.down.weight`, and no alpha anywhere."""
    unet = with_peft(base, lora_alpha=4, target_modules=ATTENTION)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors", unet_output(unet)


def by_attention_processors(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """Diffusers 0.12 to 0.21 (`models/attention_processor.py: LoRAAttnProcessor`): <attn>.processor.to_q_lora.down."""
    unet = with_peft(base, lora_alpha=4, target_modules=ATTENTION)
    parts = {"lora_A": "down", "lora_B": "up"}
    layers = {
        re.sub(
            r"\.(to_\w+)(?:\.0)?\.(lora_[AB])\.weight",
            lambda match: f".processor.{match[1]}_lora.{parts[match[2]]}.weight",
            name,
        ): tensor
        for name, tensor in get_peft_model_state_dict(unet).items()
    }
    assert any(name.endswith("attn1.processor.to_out_lora.down.weight") for name in layers)
    torch.save(layers, folder / "pytorch_lora_weights.bin")
    return folder / "pytorch_lora_weights.bin", unet_output(unet)


def by_peft(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """`get_peft_model(...).save_pretrained`: a folder, with the strengths in a config of its own."""
    config = LoraConfig(
        r=4,
        lora_alpha=2,
        target_modules=CONVOLUTIONS,
        rank_pattern={"conv_in": 2},
        alpha_pattern={"attn2.to_q": 7},
        use_rslora=True,
    )
    model = learned(get_peft_model(load_components(str(base)).unet, config))
    model.save_pretrained(folder)
    return folder, unet_output(model.base_model.model)


def by_state_dict(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """A UNet's own names under peft, saved as they are."""
    unet = with_peft(base, lora_alpha=4, target_modules=ATTENTION)
    layers = {name: tensor for name, tensor in unet.state_dict().items() if ".lora_" in name}
    assert all(".default.weight" in name for name in layers)
    save_file(layers, folder / "unet_lora.safetensors")
    return folder / "unet_lora.safetensors", unet_output(unet)


def by_diffusers_for_kohya(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """Diffusers' own converter, which writes alpha = rank."""
    unet = with_peft(base, lora_alpha=4, target_modules=ATTENTION)
    layers = {f"unet.{name}": tensor for name, tensor in get_peft_model_state_dict(unet).items()}
    save_file(convert_state_dict_to_kohya(layers), folder / "kohya.safetensors")
    return folder / "kohya.safetensors", unet_output(unet)


class KohyaNetwork(LycorisNetwork):  # type: ignore[misc]
    """LyCORIS with the names that it gives inside kohya's scripts (`lycoris/kohya.py`)."""

    LORA_PREFIX = "lora_unet"


def by_lycoris(
    base: Path, folder: Path, network_type: type[LycorisNetwork] = KohyaNetwork, **options: Any
) -> tuple[Path, Tensor]:
    """Every linear and convolution layer, convolutions with a rank and an alpha of their own."""
    unet = load_components(str(base)).unet
    kind = {"network_module": "lora", "use_tucker": False, **options}
    network = network_type(unet, lora_dim=4, alpha=2.0, conv_lora_dim=3, conv_alpha=1.0, **kind)
    network.apply_to()
    learned(network)
    network.save_weights(
        str(folder / "lycoris.safetensors"), torch.float32, {"ss_network_module": "lycoris.kohya"}
    )
    return folder / "lycoris.safetensors", unet_output(unet)


def by_lycoris_alone(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """LyCORIS as SimpleTuner uses it: names begin with lycoris_."""
    return by_lycoris(base, folder, LycorisNetwork)


def by_lycoris_with_tucker(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """LyCORIS with a middle matrix in its convolutions."""
    path, output = by_lycoris(base, folder, use_tucker=True)
    assert any(name.endswith(".lora_mid.weight") for name in load_file(path))
    return path, output


def by_lycoris_with_rslora(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """LyCORIS with alpha over the root of the rank, which it writes into the alphas."""
    return by_lycoris(base, folder, rs_lora=True)


def with_ldm_paths(path: Path, base: Path) -> dict[tuple[str, str], Tensor]:
    """LyCORIS' file by LDM's path of the layer and what stands behind it, as `("out.2", "lora_down.weight")`."""
    config = unet_without_weights(str(base)).config
    depths, names = config.transformer_layers_per_block, config.down_block_types
    depths = [depths] * len(names) if isinstance(depths, int) else depths
    attending = [depth * ("CrossAttn" in name) for depth, name in zip(depths, names, strict=True)]
    table = comfyui_table(attending, middle=depths[-1], resnets=config.layers_per_block)
    places = {"lycoris_" + ours.replace(".", "_"): theirs for ours, theirs in table.items()}
    split = {name: name.partition(".") for name in load_file(path)}
    return {(places[split[n][0]], split[n][2]): tensor for n, tensor in load_file(path).items()}


def by_sd_scripts(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """As sd-scripts and OneTrainer have it for XL: LDM's path with underscores."""
    path, output = by_lycoris(base, folder)
    tensors = with_ldm_paths(path, base)
    save_file({f"lora_unet_{ldm.replace('.', '_')}.{end}": t for (ldm, end), t in tensors.items()}, path)
    return path, output


def by_comfyui(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """As ComfyUI's own nodes save: LDM's path with dots."""
    path, output = by_lycoris(base, folder)
    tensors = with_ldm_paths(path, base)
    save_file({f"diffusion_model.{ldm}.{end}": tensor for (ldm, end), tensor in tensors.items()}, path)
    return path, output


def by_onetrainer(base: Path, folder: Path, before: str = "diffusion_model.") -> tuple[Path, Tensor]:
    """As OneTrainer writes for ComfyUI: the same with A and B."""
    path, output = by_lycoris(base, folder)
    parts = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
    tensors = with_ldm_paths(path, base)
    save_file({f"{before}{ldm}.{parts.get(end, end)}": t for (ldm, end), t in tensors.items()}, path)
    return path, output


def by_onetrainer_as_original(base: Path, folder: Path) -> tuple[Path, Tensor]:
    """Its "original" format: LDM's path alone."""
    return by_onetrainer(base, folder, "")


WITHOUT_ALPHA = (by_diffusers_scripts, by_attention_processors, by_state_dict)
WRITERS = [
    *WITHOUT_ALPHA,
    *(
        by_diffusers,
        by_peft,
        by_diffusers_for_kohya,
        by_lycoris,
        by_lycoris_alone,
        by_lycoris_with_tucker,
        by_lycoris_with_rslora,
        by_sd_scripts,
        by_comfyui,
        by_onetrainer,
        by_onetrainer_as_original,
    ),
]


@pytest.mark.parametrize("write", WRITERS)
def test_the_unet_computes_what_the_trainers_own_did(
    write: Callable[[Path, Path], tuple[Path, Tensor]], base: Path, tmp_path: Path
) -> None:
    path, expected = write(base, tmp_path)
    unet = load_components(str(base)).unet
    before = unet_output(unet)
    saved = read_adapter(path)
    place_adapter(unet, saved)
    torch.testing.assert_close(unet_output(unet), expected, atol=1e-5, rtol=1e-4)
    assert float((expected - before).abs().max()) > 0.02  # a strength that is wrong would show
    assert bool(notes(saved)) is (write in WITHOUT_ALPHA)


def as_convolutions(tensor: Tensor) -> Tensor:
    """A matrix [r, C] as a 1x1 convolution: what sd-scripts has for `proj_in` of a single SD 2 file."""
    return tensor[:, :, None, None] if tensor.dim() == 2 else tensor


def flat(tensor: Tensor) -> Tensor:
    """A convolution [r, C, h, w] as a matrix [r, C h w]."""
    return tensor.flatten(1) if tensor.dim() == 4 else tensor


@pytest.mark.parametrize("reshaped", [as_convolutions, flat])
@pytest.mark.parametrize("write", [by_lycoris, by_lycoris_with_tucker, by_diffusers])
def test_a_layer_given_in_the_others_shape_is_the_same_layer(
    write: Callable[[Path, Path], tuple[Path, Tensor]],
    reshaped: Callable[[Tensor], Tensor],
    base: Path,
    tmp_path: Path,
) -> None:
    """Linear layers as 1x1 convolutions and convolutions flat, in both kinds of base, as ComfyUI reads them."""
    path, expected = write(base, tmp_path)
    unet = load_components(str(base)).unet
    plain = unet_adapter(read_adapter(path), unet)
    changed = {
        name: tensor if "lora_mid" in name else reshaped(tensor) for name, tensor in load_file(path).items()
    }
    assert any(tensor.shape != changed[name].shape for name, tensor in load_file(path).items())
    save_file(changed, path, read_adapter(path).metadata)
    found = unet_adapter(read_adapter(path), unet)
    assert found.state.keys() == plain.state.keys()
    assert all(torch.equal(tensor, plain.state[name]) for name, tensor in found.state.items())
    assert unet_adapter(read_adapter(path), unet_without_weights(str(base))).strengths == plain.strengths
    merged = load_components(str(base)).unet
    merge_adapter(merged, found)
    torch.testing.assert_close(unet_output(merged), expected, atol=1e-5, rtol=1e-4)
    place_adapter(unet, read_adapter(path))
    torch.testing.assert_close(unet_output(unet), expected, atol=1e-5, rtol=1e-4)
    back = write_adapter(tmp_path / "back.safetensors", found, "kohya", describe_base(str(base)))
    verify_file(back, found, unet)


def test_a_layer_of_another_kind_is_refused_by_name_and_shape(tiny_base: Path, tmp_path: Path) -> None:
    """A 3x3 convolution is no linear layer, and a 1x1 convolution no 3x3 one."""
    path, _ = by_lycoris(tiny_base, tmp_path)
    tensors = load_file(path)
    linear, wide = "lycoris_mid_block_attentions_0_proj_in", "lycoris_conv_in"
    tensors[f"{linear}.lora_down.weight"] = torch.ones(4, 64, 3, 3)
    tensors[f"{wide}.lora_down.weight"] = torch.ones(3, 4, 1, 1)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="doesn't fit this base") as error:
        place_adapter(load_components(str(tiny_base)).unet, read_adapter(path))
    assert "conv_in is [32, 3, 1, 1] x [3, 4, 1, 1], for a weight of [32, 4, 3, 3]" in str(error.value)
    assert "mid_block.attentions.0.proj_in is [64, 4] x [4, 64, 3, 3], for a weight of [64, 64]" in str(
        error.value
    )


def test_a_middle_that_belongs_to_no_convolution_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    path, _ = by_lycoris_with_tucker(tiny_base, tmp_path)
    layer = "lycoris_conv_in"
    for middle in (torch.ones(2, 2, 3, 3), torch.ones(3, 3)):
        save_file(load_file(path) | {f"{layer}.lora_mid.weight": middle}, path)
        with pytest.raises(ValueError, match=r"conv_in has a middle of .* behind an A of \[3, 4, 1, 1\]"):
            unet_adapter(read_adapter(path), unet_without_weights(str(tiny_base)))


FIRST_LAYER = "text_model.encoder.layers.0.mlp.fc1"


@pytest.mark.parametrize(
    ("write", "layers"),
    [
        (by_lycoris, ["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"]),
        (
            by_sd_scripts,
            [f"lora_te{number}_text_model_encoder_layers_0_mlp_fc1.lora_up.weight" for number in (1, 2)],
        ),
        (
            by_comfyui,
            [
                f"text_encoders.{name}.transformer.{FIRST_LAYER}.lora_down.weight"
                for name in ("clip_l", "clip_g")
            ],
        ),
        (
            by_diffusers,
            [f"{name}.{FIRST_LAYER}.lora_A.weight" for name in ("text_encoder", "text_encoder_2")],
        ),
    ],
)
def test_text_encoder_layers_and_embeddings_are_said_and_left_out(
    write: Callable[[Path, Path], tuple[Path, Tensor]], layers: list[str], tiny_sdxl: Path, tmp_path: Path
) -> None:
    path, expected = write(tiny_sdxl, tmp_path)
    more = {name: torch.ones(4, 32) for name in layers}
    more |= {re.sub(r"\.lora_.*", ".alpha", name): torch.tensor(4.0) for name in layers}
    more["bundle_emb.mystyle.clip_g"] = torch.ones(2, 32)  # OneTrainer's
    save_file(load_file(path) | more, path, read_adapter(path).metadata)
    saved = read_adapter(path)
    assert saved.left_out == sorted(more)
    assert all(name in notes(saved)[0] for name in more)
    unet = load_components(str(tiny_sdxl)).unet
    place_adapter(unet, saved)
    torch.testing.assert_close(unet_output(unet), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("algo", "options", "kind"),
    [("loha", {}, "LoHa"), ("lokr", {}, "LoKr"), ("lora", {"weight_decompose": True}, "DoRA")],
)
def test_other_kinds_of_adapter_are_refused_by_kind_and_name(
    tiny_base: Path, tmp_path: Path, algo: str, options: dict[str, Any], kind: str
) -> None:
    path, _ = by_lycoris(tiny_base, tmp_path, network_module=algo, **options)
    with pytest.raises(ValueError, match=f"It holds {kind}, which this trainer has no layer for") as error:
        place_adapter(load_components(str(tiny_base)).unet, read_adapter(path))
    strange = [
        n for n in load_file(path) if not re.search(r"\.(lora_down\.weight|lora_up\.weight|alpha)$", n)
    ]
    assert len(strange) > 20
    assert all(name in str(error.value) for name in strange)


def test_broken_files_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    path, _ = by_peft(tiny_base, tmp_path)
    skeleton = unet_without_weights(str(tiny_base))
    (path / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config\.json beside it is not peft's"):
        read_adapter(path)
    (path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    tensors = load_file(path / "adapter_model.safetensors")
    first = min(tensors)
    save_file(tensors | {first: tensors[first] * float("nan")}, path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"holds NaN or infinity in .*lora_A\.weight"):
        unet_adapter(read_adapter(path), skeleton)
    twice = {f"unet.{first.removeprefix('base_model.model.')}": tensors[first].clone()}
    save_file(tensors | twice, path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="some layer is in it twice"):
        unet_adapter(read_adapter(path), skeleton)


class Code:
    """Something that only a full unpickle would bring back."""


@pytest.mark.parametrize("content", [Code(), b"torn"], ids=["code", "torn"])
def test_a_pickle_of_more_than_tensors_is_not_opened(tmp_path: Path, content: object) -> None:
    path = tmp_path / "style.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save({"a": content}, path)
    with pytest.raises(
        ValueError, match=r"isn't opened: .*a pickle of more than tensors.*Give a \.safetensors file"
    ):
        read_adapter(path)
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match="holds something else than tensors by name"):
        read_adapter(path)
