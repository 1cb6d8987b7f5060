"""Where a base model's files are, and whether they are a model that can be trained here.

A base is a folder in diffusers layout, the id of such a repository on the Hugging Face hub, or a single
`.safetensors` file (`single_file.py`). From the hub the configs come first, a few kilobytes, and all
checks read nothing but configs: a wrong model is refused before gigabytes are fetched or read. Existing paths
are never looked up on the network.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from foundation.hub_download import HubModel, fetch_settings, fetch_weights, get_again, is_hub_id, listed
from foundation.missing_paths import similar
from foundation.weight_files import Weights, offered_weights
from lightning_modules.base.families.family import Configs, Family
from lightning_modules.base.families.known import FAMILIES, family_of
from lightning_modules.base.single_file import (
    check_channels,
    distilled_note,
    is_single_file,
    read_header,
    scheduler_marks,
    temporary_configs,
)
from lightning_modules.diffusion.prediction import PredictionType

HUB_PAGE = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/")
TRAINED = "This trainer teaches Stable Diffusion 1.x, 2.x and XL."
EVERY_SETTING = (
    "model_index.json",
    *sorted({f"{folder}/*" for family in FAMILIES for folder in family.tokenizers.values()}),
    *sorted({file for family in FAMILIES for file in family.config_files.values()}),
)
"""Small files of a base of any family."""

DIFFUSERS = "diffusion_pytorch_model"
TRANSFORMERS = ("model", "pytorch_model")
"""How weight files begin; transformers' own name for pickled weights differs from that of its safetensors."""


@dataclass(frozen=True)
class BaseSettings:
    """What a base says of itself without its weights.

    Attributes:
        folder: where its configs and tokenizers are.
        configs: of its parts.
        family: how it is built.
        prediction_type: what its UNet predicts.
        notes: what the user should know of it, a sentence each.
    """

    folder: Path
    configs: Configs
    family: Family
    prediction_type: PredictionType
    notes: Sequence[str] = ()


def open_base(
    base_model: str, base_config: str | None = None, prediction_type: PredictionType | None = None
) -> BaseSettings:
    """Read a base's settings, and refuse what can't be trained; reads no weight.

    Args:
        base_model: folder in diffusers layout, hub id "owner/name", or a single .safetensors file.
        base_config: with a single file, the folder of configs and tokenizers that it belongs to; else None.
        prediction_type: what its UNet predicts, if that is known better than by its scheduler's config.

    Raises:
        ValueError: there is no such model, it is incomplete, or of a kind that can't be trained here.
    """
    folder = config_folder(base_model, base_config)
    unet = read_json(folder / "unet/config.json")
    family = family_of(unet)
    if family is None:
        raise ValueError(
            f"--model.base_model {base_model}: its UNet is conditioned on {unet.get('addition_embed_type')} beside "
            f"text. {TRAINED}"
        )
    configs = {part: read_json(folder / file) for part, file in family.config_files.items()}
    check_shapes(base_model, folder.name, family, configs)
    notes = [note] if (note := distilled_note(base_model)) else []
    scheduler = configs["scheduler"]
    if is_single_file(base_model):
        marks = scheduler_marks(read_header(base_model))
        scheduler |= marks
        if prediction_type is None and base_config is None and "prediction_type" not in marks:
            notes.append(
                f"{base_model} doesn't say what its UNet predicts: epsilon is assumed. If its page says v-prediction, "
                "set --model.prediction_type v_prediction (and --model.zero_terminal_snr true if it says so)."
            )
    if prediction_type is not None:
        scheduler["prediction_type"] = prediction_type
    return BaseSettings(folder, configs, family, _prediction_type(base_model, scheduler), notes)


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
    if is_single_file(base_model):
        return _config_of_single_file(base_model, base_config)
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
            "layout (with model_index.json in it), a hub id like waifu-diffusion/wd-1-5-beta2 (or of one file, "
            f"OWNER/NAME/FILE.safetensors), or a .safetensors file.{similar(path)}"
        )
    folder = fetch_settings(_on_hub(base_model), EVERY_SETTING)
    inside = [
        name.rpartition("/")[0] for name in listed(base_model, folder) if name.endswith("/model_index.json")
    ]
    if inside and not (folder / "model_index.json").is_file():
        raise ValueError(
            f"--model.base_model {base_model} holds models in folders: {', '.join(inside)}. Fetch one: hf download "
            f'{base_model} --include "{inside[0]}/*" --local-dir models. Then give --model.base_model '
            f"models/{inside[0]}"
        )
    single = [name for name in listed(base_model, folder) if re.fullmatch(r"[^/]+\.safetensors", name)]
    if single and not (folder / "model_index.json").is_file():
        raise ValueError(
            f"--model.base_model {base_model} is not a model in diffusers layout; it has single files: "
            f"{', '.join(single)}. Give one of them: --model.base_model {base_model}/{single[0]}"
        )
    return _complete(folder, f"--model.base_model {base_model}")


def _config_of_single_file(base_model: str, base_config: str | None) -> Path:
    if not base_model.endswith(".safetensors"):
        raise ValueError(
            f"--model.base_model {base_model}: a single file must be .safetensors. Others are pickles, and "
            "opening one runs whatever code is in it. Convert it, or use the model's diffusers folder."
        )
    if base_config is None:
        return temporary_configs(base_model)
    folder = Path(base_config)
    if not folder.is_dir():
        raise ValueError(f"--model.base_config {base_config}: there is no such folder.")
    return _complete(folder, f"--model.base_config {base_config}")


def _complete(folder: Path, shown: str) -> Path:
    """The folder itself, once every small file that its family needs is known to be there."""
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
    unet = folder / "unet/config.json"
    family = (family_of(read_json(unet)) if unet.is_file() else None) or FAMILIES[-1]
    absent = [file for file in family.config_files.values() if not (folder / file).is_file()]
    absent += [
        f"{name}/*.json" for name in family.tokenizers.values() if not any((folder / name).glob("*.json"))
    ]
    if absent:
        raise ValueError(f"{shown} is incomplete, it lacks {', '.join(absent)}. {get_again(folder)}")
    return folder


def _on_hub(base_model: str) -> HubModel:
    folders = sorted({file.partition("/")[0] for file in EVERY_SETTING if "/" in file})
    return HubModel(
        base_model, "--model.base_model", ["model_index.json", *(f"{name}/*" for name in folders)]
    )


def _check_pipeline(shown: str, index: dict[str, Any]) -> None:
    """Refuse other kinds by their model_index.json, which is there before gigabytes are."""
    kind = index.get("_class_name", "")
    if "unet" in index and index.get("text_encoder", [""]) == [None, None]:
        what = "a refiner of Stable Diffusion XL, which paints details into its pictures"
    elif "transformer" in index or "StableDiffusion3" in kind or "Flux" in kind:
        what = "a transformer model such as Stable Diffusion 3 or Flux"
    elif "unet" not in index or "vae" not in index or "text_encoder" not in index:
        what = f"a {kind or 'pipeline without a name'} without unet, vae or text_encoder"
    else:
        return
    raise ValueError(f"{shown} is {what}. {TRAINED} waifu-diffusion/wd-1-5-beta2 is one that works.")


def check_shapes(
    base_model: str, folder: str, family: Family, configs: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse what has the files of a family but not its shape.

    Args:
        base_model: as the user wrote it.
        folder: that the settings come from, its name.
        family: by the UNet.
        configs: of all parts.

    Raises:
        ValueError: the UNet takes more than latents, or text of another width.
    """
    _check_classes(base_model, family, configs)
    latent = configs["vae"].get("latent_channels", 4)
    check_channels(f"--model.base_model {base_model}", configs["unet"].get("in_channels", 4), latent)
    width = sum(configs[part].get("hidden_size", 512) for part in family.tokenizers)
    wanted = configs["unet"].get("cross_attention_dim")
    if width != wanted:
        raise ValueError(
            f"--model.base_model {base_model}: the text encoder is {width} wide but the UNet's "
            f"cross_attention_dim is {wanted}: they belong to different models (see "
            f"{folder}/text_encoder/config.json and unet/config.json)."
        )


def _check_classes(base_model: str, family: Family, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse networks of other kinds that lie in folders of the usual names."""
    clip = ("clip_text_model", "clip_text_model_with_projection")
    wrong = [
        f"its {part} is a {found}, not a {wanted}"
        for part, wanted in (("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL"))
        if (found := configs[part].get("_class_name", wanted)) != wanted
    ]
    wrong += [
        f"its {part} is a {found}, not a {clip[0]}"
        for part in family.tokenizers
        if (found := configs[part].get("model_type", clip[0])) not in clip
    ]
    if "FlowMatch" in str(configs["scheduler"].get("_class_name", "")):
        wrong.append("its scheduler is for flow matching, as Stable Diffusion 3's is")
    if wrong:
        raise ValueError(f"--model.base_model {base_model}: {'; '.join(wrong)}. {TRAINED}")


def _prediction_type(base_model: str, scheduler_config: Mapping[str, Any]) -> PredictionType:
    """What the UNet predicts; a config that doesn't say means epsilon, as in every diffusers scheduler."""
    declared = scheduler_config.get("prediction_type", "epsilon")
    if declared not in get_args(PredictionType):
        raise ValueError(
            f"--model.base_model {base_model}: scheduler/scheduler_config.json declares the prediction_type "
            f"{declared!r}; known are {', '.join(get_args(PredictionType))}. Say which with --model.prediction_type."
        )
    return cast(PredictionType, declared)


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


def download_weights(base_model: str, settings: BaseSettings, *, half: bool) -> None:
    """Fetch the weights of a hub model's networks to their configs, unless some of them are there.

    Args:
        base_model: on the hub.
        settings: its own.
        half: 16-bit weights will do, where the model has both.
    """

    def here(weights: Weights) -> bool:
        return all((settings.folder / file).is_file() for file in weights.files)

    def wanted(names: Sequence[str]) -> list[str]:
        files: list[str] = []
        for part in settings.family.networks:
            offered = _offered(names or _files_of(settings.folder, part), part, half=half)
            if names and not offered:
                raise ValueError(
                    f"--model.base_model {base_model}: the repository has no weights of its {part}. Take another "
                    "model, or a whole copy of it."
                )
            usual = f"{part}/{_stems(part)[0]}.safetensors"  # where the cache has neither weights nor a list of files
            files += next((one.files for one in [*filter(here, offered), *offered]), (usual,))
        return files

    fetch_weights(_on_hub(base_model), settings.folder, wanted)


def weights_in(folder: Path, part: str, *, half: bool = False) -> Weights:
    """The weights of a network that are read, of those in a base's folder.

    Args:
        folder: of the base.
        part: the network's folder in there.
        half: whether 16-bit weights are taken where there are both.

    Raises:
        ValueError: there are none.
    """
    offered = _offered(_files_of(folder, part), part, half=half)
    if not offered:
        safe, pickled = _stems(part)
        raise ValueError(
            f"{folder}/{part} has no weights: neither {safe}.safetensors nor {pickled}.bin, nor the same for 16 bits "
            f"(.fp16.). {get_again(folder)}"
        )
    return offered[0]


def only_variant(settings: BaseSettings) -> str | None:
    """What diffusers has to be told to read a folder's weights, where only those of 16 bits are there."""
    for part in settings.family.networks:
        offered = _offered(_files_of(settings.folder, part), part, half=False)
        if offered and offered[0].variant:
            return offered[0].variant
    return None


def _files_of(folder: Path, part: str) -> list[str]:
    return [f"{part}/{file.name}" for file in (folder / part).glob("*")]


def _offered(names: Sequence[str], part: str, *, half: bool) -> list[Weights]:
    safe, pickled = _stems(part)
    return offered_weights(names, f"{part}/{safe}", f"{part}/{pickled}", half=half and part != "vae")


def _stems(part: str) -> tuple[str, str]:
    return (DIFFUSERS, DIFFUSERS) if part in ("unet", "vae") else TRANSFORMERS
