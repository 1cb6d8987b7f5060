"""Where a base model's files are, and whether they are a model that can be trained here.

A base is a folder in diffusers layout, the id of such a repository on the Hugging Face hub, or a single
`.safetensors` file with a folder of configs. From the hub the configs come first, a few kilobytes, and all
checks read nothing but configs: a wrong model is refused before gigabytes are fetched or read. Existing paths
are never looked up on the network.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from foundation.hub import HubModel, fetch_settings, fetch_weights, get_again, is_hub_id, listed
from foundation.missing_paths import similar
from foundation.weight_choice import Weights, choose_weights

HUB_PAGE = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/")
CONFIG_FILES = {
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "text_encoder": "text_encoder/config.json",
    "scheduler": "scheduler/scheduler_config.json",
}
WEIGHT_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
# transformers' own name for pickled weights differs from the stem of its safetensors.
PICKLE_STEMS = {**WEIGHT_STEMS, "text_encoder": "pytorch_model"}
SETTINGS = ("model_index.json", "tokenizer/*", *CONFIG_FILES.values())


def config_folder(base_model: str, base_config: str | None) -> Path:
    """The local folder of the base's configs and tokenizer; from the hub only these few small files.

    Raises:
        ValueError: there is no such model, or it is incomplete or of another family.
    """
    path = Path(base_model)
    if not base_model.strip():
        raise ValueError(
            "--model.base_model is empty: there is no such folder or file. Give a model's folder or hub id."
        )
    if path.is_dir():
        if base_config is not None:
            raise ValueError(
                f"--model.base_config {base_config} belongs to a single .safetensors file, but "
                f"--model.base_model {base_model} is a folder with configs of its own: leave base_config "
                "out."
            )
        return _complete(path, f"--model.base_model {base_model}")
    if path.is_file():
        return _complete(_config_of_single_file(path, base_config), f"--model.base_config {base_config}")
    if page := HUB_PAGE.match(base_model):
        parts = re.split(r"[/?#]", base_model[page.end() :])
        raise ValueError(
            f"--model.base_model {base_model} is a web page. The model's id is {'/'.join(parts[:2])}: give that."
        )
    if not is_hub_id(base_model):
        model_id, at, revision = base_model.partition("@")
        if at and is_hub_id(model_id):
            raise ValueError(
                f"--model.base_model {base_model} names a revision, which isn't taken. Fetch it into a folder: "
                f"hf download {model_id} --revision {revision} --local-dir FOLDER. Then give that folder."
            )
        raise ValueError(
            f"--model.base_model {base_model}: there is no such folder or file. Give a folder in diffusers "
            "layout (with model_index.json in it), a hub id like waifu-diffusion/wd-1-5-beta2, or a "
            f".safetensors file.{similar(path)}"
        )
    folder = fetch_settings(_on_hub(base_model), SETTINGS)
    single = [name for name in listed(base_model, folder) if re.fullmatch(r"[^/]+\.safetensors", name)]
    if single and not (folder / "model_index.json").is_file():
        raise ValueError(
            f"--model.base_model {base_model} is not a model in diffusers layout; it has single files: "
            f"{', '.join(single)}. Fetch one: hf download {base_model} {single[0]} --local-dir models. Then give "
            f"--model.base_model models/{single[0]} and, with --model.base_config, the configs of its family."
        )
    return _complete(folder, f"--model.base_model {base_model}")


def _config_of_single_file(path: Path, base_config: str | None) -> Path:
    if path.suffix != ".safetensors":
        raise ValueError(
            f"--model.base_model {path}: a single file must be .safetensors. Others are pickles, and "
            "opening one runs whatever code is in it. Convert it, or use the model's diffusers folder."
        )
    if base_config is None:
        raise ValueError(
            f"--model.base_model {path} is a bare weights file: it doesn't say what its UNet predicts or "
            "how its captions are tokenized. Add --model.base_config DIR, a diffusers folder of the same "
            "model family (model_index.json, scheduler, tokenizer and the config.json of unet, vae and "
            "text_encoder; no weights)."
        )
    folder = Path(base_config)
    if not folder.is_dir():
        raise ValueError(f"--model.base_config {base_config}: there is no such folder.")
    return folder


def _complete(folder: Path, shown: str) -> Path:
    """The folder itself, once every small file that a Stable Diffusion needs is known to be there."""
    index = folder / "model_index.json"
    if not index.is_file():
        inside = next((one.parent for one in sorted(folder.glob("*/model_index.json"))), None)
        if inside:
            raise ValueError(f"{shown} is not a model in diffusers layout, but {inside} is: give that one.")
        raise ValueError(
            f"{shown} is not a model in diffusers layout: it has no model_index.json. It should hold that "
            "file and the folders unet, vae, text_encoder, tokenizer and scheduler."
        )
    _check_pipeline(shown, read_json(index))
    absent = [file for file in CONFIG_FILES.values() if not (folder / file).is_file()]
    absent += [] if any((folder / "tokenizer").glob("*.json")) else ["tokenizer/*.json"]
    if absent:
        raise ValueError(f"{shown} is incomplete, it lacks {', '.join(absent)}. {get_again(folder)}")
    return folder


def _on_hub(base_model: str) -> HubModel:
    folders = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    return HubModel(
        base_model, "--model.base_model", ["model_index.json", *(f"{name}/*" for name in folders)]
    )


def _check_pipeline(shown: str, index: dict[str, Any]) -> None:
    """Refuse other families by their model_index.json, which is there before gigabytes are."""
    kind = index.get("_class_name", "")
    if "text_encoder_2" in index or "XL" in kind:
        family = "Stable Diffusion XL (two text encoders)"
    elif "transformer" in index or "StableDiffusion3" in kind or "Flux" in kind:
        family = "a transformer model such as Stable Diffusion 3 or Flux"
    elif "unet" not in index or "vae" not in index or "text_encoder" not in index:
        family = f"a {kind or 'pipeline without a name'} without unet, vae or text_encoder"
    else:
        return
    raise ValueError(
        f"{shown} is {family}; this trainer teaches Stable Diffusion 1.x and 2.x. "
        "waifu-diffusion/wd-1-5-beta2 is one that works."
    )


def check_family(base_model: str, configs: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Refuse what has the files of a Stable Diffusion but not its shape.

    Args:
        base_model: as the user wrote it.
        configs: the folder that the settings come from.
        settings: the configs of "unet", "vae" and "text_encoder".

    Raises:
        ValueError: the UNet takes more than latents, or text of another width.
    """
    _check_classes(base_model, settings)
    channels, latent = settings["unet"].get("in_channels", 4), settings["vae"].get("latent_channels", 4)
    if channels != latent:
        kind = "an inpainting model" if channels == 2 * latent + 1 else "a depth, editing or upscaling model"
        raise ValueError(
            f"--model.base_model {base_model}: its UNet takes {channels} channels where its VAE makes "
            f"{latent}: {kind}. Only text-to-image models can be trained; choose the model that it was made "
            "from."
        )
    width = settings["text_encoder"].get("hidden_size", 512)
    wanted = settings["unet"].get("cross_attention_dim")
    if width != wanted:
        raise ValueError(
            f"--model.base_model {base_model}: the text encoder is {width} wide but the UNet's "
            f"cross_attention_dim is {wanted}: they belong to different models (see "
            f"{configs.name}/text_encoder/config.json and unet/config.json)."
        )


def _check_classes(base_model: str, settings: dict[str, dict[str, Any]]) -> None:
    """Refuse networks of other kinds that lie in folders of the usual names."""
    found = {
        "unet": settings["unet"].get("_class_name", "UNet2DConditionModel"),
        "vae": settings["vae"].get("_class_name", "AutoencoderKL"),
        "text_encoder": settings["text_encoder"].get("model_type", "clip_text_model"),
    }
    wanted = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "clip_text_model"}
    wrong = [
        f"its {part} is a {found[part]}, not a {wanted[part]}"
        for part in wanted
        if found[part] != wanted[part]
    ]
    if settings["unet"].get("addition_embed_type") is not None:
        wrong.append("its UNet is conditioned on more than text, as Stable Diffusion XL's is")
    if "FlowMatch" in str(settings["scheduler"].get("_class_name", "")):
        wrong.append("its scheduler is for flow matching, as Stable Diffusion 3's is")
    if wrong:
        raise ValueError(
            f"--model.base_model {base_model}: {'; '.join(wrong)}. This trainer teaches Stable Diffusion 1.x and 2.x."
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: it isn't JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError, too
        raise ValueError(f"{path} is not valid JSON ({error}). {get_again(path)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings but {content!r:.60}. {get_again(path)}")
    return cast(dict[str, Any], content)


def download_weights(base_model: str, configs: Path) -> None:
    """Fetch the weights of the three networks of a hub model to their configs, unless they are there."""

    def wanted(names: Sequence[str]) -> list[str]:
        chosen = [_choose(names, part) for part in WEIGHT_STEMS]
        return [file for weights in chosen if weights for file in weights.files]

    fetch_weights(_on_hub(base_model), configs, wanted)


def weights_in(folder: Path, part: str) -> Weights:
    """The weights of a network that are read, of those in a base's folder.

    Raises:
        ValueError: there are none.
    """
    weights = _choose([f"{part}/{file.name}" for file in (folder / part).glob("*")], part)
    if weights is None:
        raise ValueError(
            f"{folder}/{part} has no weights: neither {WEIGHT_STEMS[part]}.safetensors nor "
            f"{PICKLE_STEMS[part]}.bin, nor the same for 16 bits (.fp16.). {get_again(folder)}"
        )
    return weights


def _choose(names: Sequence[str], part: str) -> Weights | None:
    return choose_weights(names, f"{part}/{WEIGHT_STEMS[part]}", f"{part}/{PICKLE_STEMS[part]}")
