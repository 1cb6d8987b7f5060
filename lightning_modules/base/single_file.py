"""A model in one `.safetensors` file, here or on the hub: what its header says it is, and the configs it lacks.

The header is a few kilobytes: names and shapes of all tensors, and some words of whoever wrote it. No weight is read
before the family is known. Names are those of the original (LDM) layout; sources: diffusers
`loaders/single_file_utils.py`, ComfyUI `supported_models.py` and `model_detection.py`, and the marks by which ComfyUI,
Forge and OneTrainer say what a model predicts.
"""

import atexit
import inspect
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import safe_open

from foundation.hub_download import HubModel, fetch_header, fetch_settings, fetch_weights, is_hub_id, listed
from lightning_modules.base.families.clip_vocabulary import write_tokenizer
from lightning_modules.base.families.family import Family
from lightning_modules.base.families.known import FAMILIES
from lightning_modules.base.weights import check_whole

UNET = "model.diffusion_model."
OTHERS = {
    "lora_": "a LoRA, not a model. Give it to --model.init_lora, and its base to --model.base_model",
    "joint_blocks.": "Stable Diffusion 3",
    "double_blocks.": "Flux, or a model built like it",
    "llm_adapter.": "Anima",
    "net.blocks.": "Anima, or a model built like it",
    "edm_mean": "Playground 2.5, which is trained in another way (EDM)",
    "edm_vpred.sigma_max": "CosXL, which is trained in another way (EDM)",
    "conditioner.embedders.0.model.ln_final.weight": "the refiner of Stable Diffusion XL",
}
"""Parts of tensors' names -> what a file is that has one and is of no family."""

DISTILLED = re.compile(r"(?i)(?<![a-z])(turbo|lightning|hyper|dmd2?|lcm)(?![a-z])")


@dataclass(frozen=True)
class Header:
    """What stands before the weights.

    Attributes:
        given: the file as the user named it.
        path: of the file; what lies beside it is there, even where the file itself is still on the hub.
        shapes: of all tensors, by name.
        words: what its writer said of it.
    """

    given: str
    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    words: Mapping[str, str]


def is_single_file(base_model: str) -> bool:
    """Whether a base is a file here, or `owner/name/file.safetensors` on the hub."""
    return Path(base_model).is_file() or hub_file(base_model) is not None


def read_header(base_model: str) -> Header:
    """Read the header of a single file; of one on the hub that isn't here, its first bytes are fetched.

    Raises:
        ValueError: the file isn't a whole .safetensors file, or the hub doesn't give it.
    """
    place = hub_file(base_model)
    if place is None:
        return _header(base_model, Path(base_model))
    model, file = _model(*place), place[1]
    folder = _settings(model, file)
    if (folder / file).is_file():
        return _header(base_model, folder / file)
    offered = [name for name in listed(model.id, folder) if name.endswith(".safetensors")]
    if offered and file not in offered:
        raise ValueError(
            f"--model.base_model {base_model}: {model.id} has no such file. Its .safetensors are {', '.join(offered)}."
        )
    return Header(base_model, folder / file, *_remote_header(model.id, folder, file))


def fetch_single_file(base_model: str) -> Path:
    """The file on this machine; from the hub it is fetched."""
    place = hub_file(base_model)
    if place is None:
        return Path(base_model)
    model, file = _model(*place), place[1]
    folder = _settings(model, file)
    fetch_weights(model, folder, lambda names: [file])
    return folder / file


def hub_file(base_model: str) -> tuple[str, str] | None:
    """The repository's id and the file's name in `owner/name/file.safetensors`; None for anything else, and for a path
    that is here.
    """
    found = re.fullmatch(r"(?P<id>[\w.-]+/[\w.-]+)/(?P<file>.+\.safetensors)", base_model)
    if found is None or Path(base_model).is_file() or not is_hub_id(found["id"]):
        return None
    return found["id"], found["file"]


def _model(repository: str, file: str) -> HubModel:
    return HubModel(repository, "--model.base_model", [file])


def _settings(model: HubModel, file: str) -> Path:
    return fetch_settings(model, [str(Path(file).with_suffix(".yaml"))])


@lru_cache
def _remote_header(
    model_id: str, folder: Path, file: str
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    return fetch_header(_model(model_id, file), folder, file)


def _header(given: str, path: Path) -> Header:
    check_whole(path)
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return Header(given, path, shapes, file.metadata() or {})


def recognise(header: Header) -> Family:
    """The family of a whole model.

    Raises:
        ValueError: the file is something else, with what.
    """
    given = f"--model.base_model {header.given}"
    names = header.shapes.keys()
    family = next((one for one in FAMILIES if any(mark in names for mark in one.file_marks)), None)
    for part, what in OTHERS.items():
        if (family is None or part.startswith("edm")) and any(part in name for name in names):
            raise ValueError(f"{given} is {what}. Give a Stable Diffusion 1.x, 2.x or XL model.")
    has_unet = any(name.startswith((UNET, "input_blocks.", "down_blocks.")) for name in names)
    if family is None and has_unet:
        raise ValueError(
            f"{given} is a UNet alone, without the text encoders and the VAE that training needs. Give the whole "
            "model's file."
        )
    if family is None:
        vae = any(name.startswith(("first_stage_model.", "decoder.", "encoder.down")) for name in names)
        what = (
            "a VAE alone"
            if vae
            else f"no model that is known here (it holds {', '.join(list(names)[:3])} ...)"
        )
        raise ValueError(f"{given} is {what}. Give a whole Stable Diffusion 1.x, 2.x or XL model.")
    if not has_unet:
        raise ValueError(f"{given} has no UNet (no tensor {UNET}...): give the whole model's file.")
    _check_unet(given, header, family)
    return family


def scheduler_marks(header: Header) -> dict[str, Any]:
    """What a file says of what its UNet predicts and of its terminal SNR, as a scheduler's config has it.

    Empty tensors named `v_pred` and `ztsnr`, ModelSpec's words in the header, or a `.yaml` of the same name beside it.
    """
    marks: dict[str, Any] = {}
    said = header.words.get("modelspec.prediction_type") or header.words.get("modelspec.predict_key") or ""
    beside = header.path.with_suffix(".yaml")
    config = beside.read_text(encoding="utf-8", errors="replace") if beside.is_file() else ""
    v_by_config = re.search(r"parameterization:\s*[\"']?v\b|VScaling", config)
    if "v_pred" in header.shapes or said.startswith("v") or v_by_config:
        marks["prediction_type"] = "v_prediction"
    elif said.startswith("eps") or re.search(r"parameterization:\s*[\"']?eps|EpsScaling", config):
        marks["prediction_type"] = "epsilon"
    if "ztsnr" in header.shapes:  # and painting begins at pure noise
        marks |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return marks


def distilled_note(base_model: str) -> str:
    """What to know of a model whose name says that it paints in few steps, or ""."""
    found = DISTILLED.search(Path(base_model).name)
    if found is None:
        return ""
    return (
        f"{base_model} has {found[1]} in its name: a distilled model paints in few steps, and a LoRA trained on it "
        "works at those steps only. Train on the model that it was made from."
    )


def temporary_configs(base_model: str) -> Path:
    """A folder of the configs and tokenizers that belong to a bare file, written for the length of this process.

    Raises:
        ValueError: the file is no model of a known family.
    """
    family = recognise(read_header(base_model))
    return _written(family.name)


@lru_cache
def _written(name: str) -> Path:
    family = next(one for one in FAMILIES if one.name == name)
    folder = Path(tempfile.mkdtemp(prefix="base_configs_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_configs(folder, family)
    return folder


def write_configs(folder: Path, family: Family) -> None:
    """Write what a family's diffusers folders hold beside weights."""
    import diffusers  # takes seconds

    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
    index: dict[str, Any] = {"_class_name": family.pipeline}
    index |= {part: ["diffusers", cls] for part, cls in classes.items()}
    index |= {part: ["transformers", cls] for part, cls in family.encoder_classes.items()}
    index |= {name: ["transformers", "CLIPTokenizer"] for name in family.tokenizers.values()}
    index["scheduler"] = ["diffusers", family.configs["scheduler"]["_class_name"]]
    _write(folder / "model_index.json", index)
    for part, file in family.config_files.items():
        own: dict[str, Any] = {}
        if part in classes:  # diffusers' conversion reads settings that are only defaults, too
            own = {"_class_name": classes[part], **_defaults(getattr(diffusers, classes[part]))}
        if part in family.tokenizers:
            own = {"architectures": [family.encoder_classes[part]], "model_type": "clip_text_model"}
        _write(folder / file, {**own, **family.configs[part]})
    for tokenizer, pad in family.tokenizer_pads.items():
        write_tokenizer(folder / tokenizer, pad)


def _defaults(cls: type) -> dict[str, Any]:
    signature = inspect.signature(cls)
    return {name: one.default for name, one in signature.parameters.items() if one.default is not one.empty}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def check_channels(given: str, channels: int, latent: int) -> None:
    """Refuse a UNet that takes more than the VAE's latents.

    Args:
        given: the model as the user named it, with its option.
        channels: that the UNet takes.
        latent: channels of a latent.

    Raises:
        ValueError: it takes others, with what kind of model that is.
    """
    if channels == latent:
        return
    kind = "an inpainting model" if channels == 2 * latent + 1 else "a depth, editing or upscaling model"
    raise ValueError(
        f"{given}: its UNet takes {channels} channels where its VAE makes {latent}: {kind}. Only text-to-image models "
        "can be trained; choose the model that it was made from."
    )


def _check_unet(given: str, header: Header, family: Family) -> None:
    """Refuse models with a family's names and another shape: inpainting, and those made smaller."""
    config, shapes = family.configs["unet"], header.shapes
    first = next(
        (shape for name, shape in shapes.items() if name.endswith("input_blocks.0.0.weight")), (0, 4)
    )
    check_channels(given, first[1], 4)
    widths = {
        shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight") and UNET in name
    }
    blocks = re.compile(rf"{re.escape(UNET)}.*\.transformer_blocks\.(\d+)\.")
    depth = 1 + max((int(found[1]) for name in shapes if (found := blocks.match(name))), default=-1)
    layers = config.get("transformer_layers_per_block", 1)
    wanted = layers if isinstance(layers, int) else max(layers)
    if widths != {config["cross_attention_dim"]} or depth != wanted:
        raise ValueError(
            f"{given} has the names of {family} and another shape: its UNet reads text "
            f"{', '.join(map(str, sorted(widths))) or 'of no'} wide and has up to {depth} transformer blocks in a row, "
            f"where {family} has {config['cross_attention_dim']} and {wanted}. A smaller copy, such as SSD-1B or Vega, "
            "can't be trained. If it is a model of your own, give its configs with --model.base_config."
        )
