"""CLIP (Radford et al. 2021): pictures and texts as unit vectors in one space, from a folder or the hub."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from foundation.hub_download import HubModel, fetch_settings, fetch_weights, get_again, is_hub_id
from foundation.weight_files import Weights, offered_weights

SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
NEEDS = "it needs config.json, model.safetensors, the tokenizer and the processor's config"


class Clip:
    """A CLIP that turns pictures and texts into unit vectors whose products are cosines.

    Attributes:
        name: its folder or hub id.
        scale: what CLIP multiplies cosines by before it takes a softmax over texts (learned with it; 100 in
            OpenAI's).
    """

    def __init__(self, model: str, option: str) -> None:
        """Load it.

        Args:
            model: a folder with a `CLIPModel` and its `CLIPProcessor`, or a hub id.
            option: that names the model, for messages.

        Raises:
            ValueError: it can't be loaded.
        """
        self.name = model
        self._clip, self._processor = load_clip(model, option)
        self.scale = float(self._clip.logit_scale.exp())

    @torch.no_grad()
    def of_pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors float32 [N, D] of RGB pictures of any size, each cut to its middle square by CLIP."""
        pixels = self._processor(images=list(images), return_tensors="pt")["pixel_values"]
        return normalize(as_tensor(self._clip.get_image_features(pixel_values=pixels)).float(), dim=-1)

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors float32 [N, D]; a text longer than CLIP reads is cut before its end token."""
        longest = self._processor.tokenizer.model_max_length
        inputs = self._processor(
            text=list(texts), return_tensors="pt", padding=True, truncation=True, max_length=longest
        )
        features = self._clip.get_text_features(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        )
        return normalize(as_tensor(features).float(), dim=-1)


def check_clip_folder(model: str, option: str) -> None:
    """Refuse a folder that isn't there, or holds no CLIP; a hub id is passed over: only loading can tell.

    Raises:
        ValueError: with what is wrong.
    """
    path = Path(model)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{option} is {model}: it could not be loaded: {NEEDS}.")
    elif path.is_file():
        raise ValueError(f"{option} is {model}, a file; give a CLIP's folder or a hub id.")
    elif not is_hub_id(model):
        raise ValueError(
            f"{option} is {model}: there is no such folder. Give a CLIP's folder, or a hub id such as "
            "openai/clip-vit-base-patch32."
        )


def load_clip(model: str, option: str) -> tuple[Any, Any]:
    """A frozen CLIPModel and its CLIPProcessor.

    Args:
        model: a folder or a hub id.
        option: that names the model, for messages.

    Raises:
        ValueError: with what its files lack, or what to do where the hub doesn't give them.
    """
    from transformers import CLIPModel, CLIPProcessor  # takes seconds to import
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # loading takes a second

    check_clip_folder(model, option)  # only a hub id is looked up on the network
    folder = (
        Path(model)
        if Path(model).is_dir()
        else _fetched(HubModel(model, option, ["*.json", "*.txt", "*model.*"]))
    )
    weights = _weights([file.name for file in folder.glob("*")])
    try:
        options = weights.options if weights else {}
        clip = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32, **options)
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries raise many kinds
        raise ValueError(
            f"{option} is {model}: it could not be loaded: {NEEDS} ({type(error).__name__}). {get_again(folder)}"
        ) from error
    return clip.requires_grad_(False).eval(), processor


def _fetched(model: HubModel) -> Path:
    """The folder of a hub model; only one that is a CLIP is fetched whole."""
    folder = fetch_settings(model, SETTINGS)
    config = folder / "config.json"
    kind = json.loads(config.read_text(encoding="utf-8")).get("model_type") if config.is_file() else None
    if kind != "clip":
        raise ValueError(
            f"{model.option} is {model.id}: by its config.json it is {kind or 'nothing'}, not a CLIP. Take one such as "
            "openai/clip-vit-base-patch32."
        )

    def wanted(names: Sequence[str]) -> Sequence[str]:
        weights = _weights(names or [file.name for file in folder.glob("*")])
        if weights is None:
            return (
                [] if names else ["model.safetensors"]
            )  # where the cache has neither weights nor a list of files
        return weights.files

    fetch_weights(model, folder, wanted)
    return folder


def _weights(names: Sequence[str]) -> Weights | None:
    return next(iter(offered_weights(names, "model", "pytorch_model")), None)


def as_tensor(features: Any) -> Tensor:
    """CLIP's features [N, D], which transformers 5 wraps."""
    pooled: Tensor = getattr(features, "pooler_output", features)
    return pooled
