"""A LoRA of another family is refused as such: at exact shapes and on tiny bases, by its header and without one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_modules.base.families.known import FAMILIES, family_by_header, family_of
from lightning_modules.base.loading import unet_without_weights
from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.compatibility import families_that_fit
from lightning_modules.lora.diffusers_format import ADAPTER_METADATA
from lightning_modules.lora.kohya_format import from_kohya
from lightning_modules.lora.layers import LoraOptions, add_lora, lora_layers, lora_parameters
from lightning_modules.lora.reading import read_adapter, unet_adapter
from lightning_modules.lora.writing import write_adapter
from tests.lightning_modules.test_web_ui_names import fresh_unet, unet

NAMES = {"sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "Stable Diffusion XL"}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2"]


def a_file(trained: Any, folder: Path, format: Any, targets: list[str], *, told: bool) -> Path:
    """An adapter of zeros for some layers of a UNet, whose header tells the base or nothing."""
    add_lora(trained, LoraOptions(rank=1, target_modules=targets), seed=0)
    state = {n.replace(".default.", "."): torch.zeros(p.shape) for n, p in lora_parameters(trained).items()}
    adapter = Adapter(state, dict.fromkeys(lora_layers(trained), 1.0))
    family = family_of(trained.config)
    assert family is not None
    path = write_adapter(folder / "a.safetensors", adapter, format, family.header("base", "epsilon"))
    if not told:
        config = read_adapter(path).metadata.get(ADAPTER_METADATA, "{}")
        save_file(load_file(path), path, {ADAPTER_METADATA: config})
    return path


@pytest.mark.parametrize("told", [True, False], ids=["header", "layers"])
@pytest.mark.parametrize("format", ["kohya", "diffusers"])
@pytest.mark.parametrize("trained", list(NAMES))
def test_a_file_of_another_family_is_refused_as_such(
    trained: str, format: str, told: bool, tmp_path: Path
) -> None:
    path = a_file(fresh_unet(trained), tmp_path, format, ATTENTION, told=told)
    saved = read_adapter(path)
    assert [str(family) for family in saved.families] == [NAMES[trained]]
    for base, name in NAMES.items():
        if base == trained:
            assert len(unet_adapter(saved, unet(base)).strengths) > 100
            continue
        source = "header says" if told else "layers say"
        with pytest.raises(ValueError, match=r"Give its own base with --model\.base_model\.$") as error:
            unet_adapter(saved, unet(base))
        said = f"--lora {path} was trained on {NAMES[trained]}, as its {source}, and this base is {name}."
        assert str(error.value).startswith(said)


def test_convolutions_alone_tell_xl_from_the_others_which_they_fit_both(tmp_path: Path) -> None:
    saved = read_adapter(a_file(fresh_unet("sd1"), tmp_path, "kohya", CONVOLUTIONS, told=False))
    assert len(unet_adapter(saved, unet("sd2")).strengths) == 44
    with pytest.raises(
        ValueError, match=r"trained on Stable Diffusion 2\.x or Stable Diffusion 1\.x, as its layers say"
    ):
        unet_adapter(saved, unet("sdxl"))
    saved = read_adapter(a_file(fresh_unet("sdxl"), tmp_path, "kohya", CONVOLUTIONS, told=False))
    with pytest.raises(ValueError, match=r"trained on Stable Diffusion XL, as its layers say"):
        unet_adapter(saved, unet("sd1"))


@pytest.mark.parametrize("format", ["kohya", "diffusers"])
@pytest.mark.parametrize(
    ("trained", "base", "said"),
    [
        ("tiny_sdxl", "tiny_base", r"trained on Stable Diffusion XL, as its layers say"),
        ("tiny_base", "tiny_sdxl", r"on Stable Diffusion 2\.x or Stable Diffusion 1\.x, as its layers say"),
    ],
)
def test_of_models_of_another_size_the_names_of_the_layers_tell(
    trained: str, base: str, said: str, format: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    unets = [unet_without_weights(str(request.getfixturevalue(name))) for name in (trained, base)]
    saved = read_adapter(a_file(unets[0], tmp_path, format, [*ATTENTION, "proj_in", "conv2"], told=False))
    with pytest.raises(ValueError, match=said):
        unet_adapter(saved, unets[1])


def test_layers_of_no_known_family_are_no_familys() -> None:
    layer = "lora_unet_double_blocks_0_img_attn_proj"  # Flux
    tensors = {f"{layer}.lora_down.weight": torch.zeros(1, 8), f"{layer}.lora_up.weight": torch.zeros(8, 1)}
    assert families_that_fit(lambda one: from_kohya(tensors, one)) == []


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ({"ss_base_model_version": "sdxl_"}, "sdxl"),  # all that OneTrainer writes
        ({"ss_base_model_version": "sdxl_base_v0-9", "ss_v2": "False"}, "sdxl"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora", "ss_v2": "False"}, "sdxl"),
        ({"modelspec.architecture": "stable-diffusion-v2/lora", "ss_v2": "True"}, "sd2"),  # OneTrainer's
        ({"ss_base_model_version": "sd_v2_v", "ss_v2": "True"}, "sd2"),
        ({"ss_v2": "True"}, "sd2"),
        ({"ss_v2": "False"}, "sd1"),
        ({"ss_base_model_version": "sd_v1", "ss_v2": "False"}, "sd1"),
        (
            {"modelspec.architecture": "flux-1-dev/lora", "ss_base_model_version": "flux1", "ss_v2": "False"},
            None,
        ),
        ({"modelspec.architecture": "anima-preview/lora", "ss_v2": "False"}, None),
        ({}, None),
    ],
)
def test_headers_as_trainers_write_them(header: dict[str, str], name: str | None) -> None:
    family = family_by_header(header)
    assert (family and str(family)) == (name and NAMES[name])


def test_every_family_is_known_by_its_own_header() -> None:
    for family in FAMILIES:
        for prediction in ("epsilon", "v_prediction"):
            header = family.header("base", prediction)
            assert family_by_header(header) is family
            del header["modelspec.architecture"]
            assert family_by_header(header) is family
