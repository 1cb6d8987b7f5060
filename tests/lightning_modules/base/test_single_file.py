"""A model in one bare file: its family by its header, what it predicts by its marks, and the weights of its folder."""

import inspect
import json
import re
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from lightning_modules.base import single_file
from lightning_modules.base.families.clip_vocabulary import write_tokenizer
from lightning_modules.base.families.family import Family
from lightning_modules.base.families.known import FAMILIES
from lightning_modules.base.families.ldm_names import ldm_paths
from lightning_modules.base.families.sd_1 import SD_1
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.families.sdxl import SDXL
from lightning_modules.base.files import open_base
from lightning_modules.base.loading import Components, load_components, load_tokenizer
from lightning_modules.base.single_file import distilled_note, read_header, recognise, scheduler_marks
from tests.ldm_checkpoint import save_sdxl_checkpoint
from tests.tiny_models import save_tiny_sdxl


def test_the_shipped_vocabulary_is_clips() -> None:
    """Ids by OpenAI's tokenizer: "a photo of a cat" (openai/CLIP), and the end token last."""
    for pad, number in (("!", 0), ("<|endoftext|>", 49407)):
        tokenizer = saved_tokenizer(pad)
        assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert (tokenizer.pad_token_id, len(tokenizer), tokenizer.model_max_length) == (number, 49408, 77)


_SAVED: dict[str, Any] = {}


def saved_tokenizer(pad: str) -> Any:
    if pad not in _SAVED:
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(Path(folder), pad)
            _SAVED[pad] = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return _SAVED[pad]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion XL that reads CLIP's own vocabulary, as a folder."""
    tokenizers = saved_tokenizer("<|endoftext|>"), saved_tokenizer("!")
    return save_tiny_sdxl(tmp_path_factory.mktemp("bases") / "xl", tokenizers=tokenizers)


@pytest.fixture
def tiny_family(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The family's shapes are the tiny ones: a bare file has no configs of its own.

    Of each part the settings that the family states; of the tiny one's others, those that aren't diffusers' defaults.
    """
    configs = {}
    for part, file in SDXL.config_files.items():
        own = json.loads((folder / file).read_text())
        cls = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}.get(part)
        usual = {} if cls is None else {n: p.default for n, p in inspect.signature(cls).parameters.items()}
        configs[part] = {
            name: value
            for name, value in own.items()
            if name in SDXL.configs[part] or (cls is None or (name in usual and usual[name] != value))
        }
    families = tuple(replace(one, configs=configs) if one is SDXL else one for one in FAMILIES)
    monkeypatch.setattr(single_file, "FAMILIES", families)
    single_file._written.cache_clear()
    yield
    single_file._written.cache_clear()


def states(parts: Components) -> dict[str, torch.Tensor]:
    networks = {"unet": parts.unet, "vae": parts.vae, "text": parts.text_encoders}
    return {f"{part} {n}": t for part, network in networks.items() for n, t in network.state_dict().items()}


@pytest.mark.usefixtures("tiny_family")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_bare_file_equals_its_folder_without_a_network(
    folder: Path, tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensor by tensor; of a 16-bit file what its rounding leaves, also in the VAE, which is float32."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = save_sdxl_checkpoint(folder, tmp_path / "model.safetensors", "v_pred", "ztsnr", dtype=dtype)
    file, whole = load_components(str(path)), load_components(str(folder))
    expected = states(whole)
    assert states(file).keys() == expected.keys()
    for name, tensor in states(file).items():
        assert torch.equal(tensor, expected[name].to(dtype).float()), name
    assert file.family is not None
    assert (file.prediction_type, whole.prediction_type) == ("v_prediction", "epsilon")
    assert file.scheduler_config["rescale_betas_zero_snr"] is True
    assert file.vae.config.scaling_factor == 0.13025
    for one, other in zip(
        file.text_encoders.tokenizers.values(), whole.text_encoders.tokenizers.values(), strict=True
    ):
        caption = "a girl, watercolour!"
        assert one(caption, padding="max_length").input_ids == other(caption, padding="max_length").input_ids
    assert load_tokenizer(str(path))("sea").input_ids == [49406, 2102, 49407]


@pytest.mark.usefixtures("tiny_family")
def test_extra_tensors_of_files_in_the_wild_are_passed_over(folder: Path, tmp_path: Path) -> None:
    path = save_sdxl_checkpoint(folder, tmp_path / "model.safetensors")
    first, second = "conditioner.embedders.0.transformer.text_model", "conditioner.embedders.1.model"
    extra = {
        f"{first}.embeddings.position_ids": torch.arange(77)[None],
        f"{first}.encoder.text_model.embeddings.position_ids": torch.arange(77)[None],
        f"{second}.logit_scale": torch.tensor(4.6),
        "denoiser.sigmas": torch.zeros(1000),
    }
    save_file(load_file(path) | extra, path)
    expected = states(load_components(str(folder)))
    with pytest.warns(UserWarning, match="doesn't say what its UNet predicts: epsilon is assumed"):
        found = states(load_components(str(path)))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.usefixtures("tiny_family")
def test_what_a_file_predicts_is_its_marks_or_assumed_and_said(folder: Path, tmp_path: Path) -> None:
    bare = save_sdxl_checkpoint(folder, tmp_path / "bare.safetensors")
    marked = save_sdxl_checkpoint(folder, tmp_path / "marked.safetensors", "v_pred")
    settings = open_base(str(bare))
    assert settings.prediction_type == "epsilon"
    assert "epsilon is assumed" in settings.notes[0]
    assert "--model.prediction_type v_prediction" in settings.notes[0]
    assert open_base(str(bare), None, "v_prediction").prediction_type == "v_prediction"
    assert open_base(str(bare), None, "epsilon").notes == []
    assert open_base(str(marked)).prediction_type == "v_prediction"
    assert open_base(str(marked)).notes == []
    assert open_base(str(marked), None, "epsilon").prediction_type == "epsilon"
    assert open_base(str(marked), str(folder)).prediction_type == "v_prediction"  # the file knows better


@pytest.mark.parametrize(
    ("tensors", "words", "config", "marks"),
    [
        ([], {}, "", {}),
        (["v_pred"], {}, "", {"prediction_type": "v_prediction"}),
        (
            ["v_pred", "ztsnr"],
            {},
            "",
            {
                "prediction_type": "v_prediction",
                "rescale_betas_zero_snr": True,
                "timestep_spacing": "trailing",
            },
        ),
        ([], {"modelspec.prediction_type": "v"}, "", {"prediction_type": "v_prediction"}),
        ([], {"modelspec.predict_key": "v"}, "", {"prediction_type": "v_prediction"}),
        ([], {"modelspec.prediction_type": "epsilon"}, "", {"prediction_type": "epsilon"}),
        ([], {}, 'model:\n  params:\n    parameterization: "v"\n', {"prediction_type": "v_prediction"}),
        ([], {}, "target: sgm.modules.denoiser.VScaling\n", {"prediction_type": "v_prediction"}),
    ],
)
def test_the_marks(
    tensors: list[str], words: dict[str, str], config: str, marks: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(1)} | {name: torch.zeros(0) for name in tensors}, path, words or None)
    if config:
        path.with_suffix(".yaml").write_text(config)
    assert scheduler_marks(read_header(str(path))) == marks


# ---------------------------------------------------------------------- which family, by a header of real shapes


def real_shapes(family: Family) -> dict[str, list[int]]:
    """Names and shapes of a whole model's tensors: its UNet's all, of the rest what tells it from others."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**family.configs["unet"])
    ldm = {path: name for name, path in ldm_paths(unet).items()}
    shapes = {}
    for name, tensor in unet.state_dict().items():
        layer, _, kind = name.rpartition(".")
        shapes[f"model.diffusion_model.{ldm[layer]}.{kind}"] = list(tensor.shape)
    shapes |= {mark: [8] for mark in family.file_marks}
    return shapes | {"first_stage_model.decoder.conv_in.weight": [512, 4, 3, 3]}


def sparse(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A file with this header and gigabytes of nothing behind it, which take no room."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(torch.tensor(shape).prod())
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.generation)
def test_a_header_of_real_shapes_tells_the_family(family: Family, tmp_path: Path) -> None:
    path = sparse(tmp_path / "model.safetensors", real_shapes(family))
    settings = open_base(str(path))
    assert settings.family is family
    assert settings.configs["unet"]["cross_attention_dim"] == family.configs["unet"]["cross_attention_dim"]
    assert settings.folder.joinpath("tokenizer").is_dir()


U = "model.diffusion_model."


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({"lora_unet_input_blocks_4_1_proj_in.lora_down.weight": [4, 640]}, "is a LoRA, not a model. Give it to"),
        ({f"{U}joint_blocks.0.x_block.mlp.fc1.weight": [8, 8]}, "is Stable Diffusion 3"),
        ({"double_blocks.0.img_mlp.0.weight": [8, 8]}, "is Flux"),
        ({"net.llm_adapter.blocks.0.weight": [8]}, "is Anima"),
        ({"conditioner.embedders.0.model.ln_final.weight": [8], f"{U}out.2.weight": [8]}, "is the refiner"),
        ({f"{U}input_blocks.0.0.weight": [320, 4, 3, 3]}, "is a UNet alone, without the text encoders and the VAE"),
        ({"down_blocks.0.resnets.0.conv1.weight": [320, 320, 3, 3]}, "is a UNet alone"),
        ({"decoder.conv_in.weight": [512, 4, 3, 3]}, "is a VAE alone"),
        ({"first_stage_model.decoder.conv_in.weight": [512, 4, 3, 3]}, "is a VAE alone"),
        ({"a.weight": [2], "b.weight": [2]}, r"is no model that is known here \(it holds a.weight, b.weight"),
        ({SDXL.file_marks[0]: [8]}, "has no UNet"),
    ],
)  # fmt: skip
def test_what_is_no_whole_model_is_refused_by_what_it_is(
    shapes: dict[str, list[int]], sentence: str, tmp_path: Path
) -> None:
    path = sparse(tmp_path / "file.safetensors", shapes)
    with pytest.raises(ValueError, match=rf"--model.base_model .*file\.safetensors {sentence}"):
        recognise(read_header(str(path)))


@pytest.mark.parametrize(("channels", "kind"), [(9, "an inpainting model"), (8, "a depth, editing or")])
@pytest.mark.parametrize("family", [SD_1, SD_2, SDXL], ids=lambda family: family.generation)
def test_unets_that_take_more_than_latents_are_refused(
    family: Family, channels: int, kind: str, tmp_path: Path
) -> None:
    shapes = real_shapes(family) | {f"{U}input_blocks.0.0.weight": [320, channels, 3, 3]}
    with pytest.raises(
        ValueError, match=rf"its UNet takes {channels} channels where its VAE makes 4: {kind}"
    ):
        recognise(read_header(str(sparse(tmp_path / "file.safetensors", shapes))))


def test_a_smaller_copy_is_refused(tmp_path: Path) -> None:
    """SSD-1B: fewer transformer blocks in a row, names and widths as of Stable Diffusion XL."""
    fewer = re.compile(r"transformer_blocks\.[4-9]\.")
    shapes = {name: shape for name, shape in real_shapes(SDXL).items() if not fewer.search(name)}
    with pytest.raises(
        ValueError, match=r"2048 wide and has up to 4 transformer blocks in a row, where .* 10\."
    ):
        recognise(read_header(str(sparse(tmp_path / "file.safetensors", shapes))))


@pytest.mark.parametrize("mark", ["edm_mean", "edm_vpred.sigma_max"])
def test_another_objective_under_the_same_names_is_refused(mark: str, tmp_path: Path) -> None:
    shapes = real_shapes(SDXL) | {mark: [1]}
    with pytest.raises(ValueError, match=r"trained in another way \(EDM\)"):
        recognise(read_header(str(sparse(tmp_path / "file.safetensors", shapes))))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("models/illustrious_turbo.safetensors", "turbo"),
        ("WAI-Lightning.safetensors", "Lightning"),
        ("x/dmd2_v1.safetensors", "dmd2"),
        ("animeLCM-lcm.safetensors", "lcm"),
        ("turbodiesel.safetensors", ""),
        ("enlightning.safetensors", ""),
        ("stabilityai/stable-diffusion-xl-base-1.0", ""),
    ],
)
def test_distilled_models_are_noted_by_their_names(name: str, word: str) -> None:
    note = distilled_note(name)
    assert (f"has {word} in its name: a distilled model" in note) if word else note == ""
