"""What a family of base models has to say of itself; the networks' classes are named, not imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.diffusion.prediction import PredictionType
from lightning_modules.text.conditions import TextBatch
from lightning_modules.text.encoders import ReadStates, TextEncoders

Configs = dict[str, dict[str, Any]]
"""The settings of a base's parts, as their config.json have them: "unet", "vae", the text encoders, "scheduler"."""

VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
"""The autoencoder of all families: theirs differ in weights and scale."""

SCHEDULE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "_class_name": "DDIMScheduler",
    "clip_sample": False,
    "set_alpha_to_one": False,
}
"""The noise schedule that all families were trained with."""

UNCHECKED: dict[str, Any] = {
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
"""Options of the older pipelines."""


@dataclass(frozen=True)
class Family:
    """Models of one build, to whose layers the same LoRA files fit.

    Attributes:
        name: in words.
        generation: the same in short, for sentences about two families.
        is_built_so: whether a UNet's config is that of this family.
        pipeline: diffusers' class that paints with it.
        pipeline_options: what that class is made with beside the networks: nothing is checked or marked.
        tokenizers: of each text encoder's folder, its tokenizer's.
        encoder_classes: transformers' class of each text encoder.
        read_states: token ids -> what the UNet reads of them.
        most_clip_skip: of the number of layers, the largest `clip_skip` that can be read.
        layer_read: `clip_skip` -> the layer that `read_states` reads, counted from the end; 1 is the last, as in A1111.
        unet_inputs: conditions of B texts, and six sizes of each picture (`latents.picture_sizes`) -> what the UNet's
            forward takes beside latents and timesteps.
        reads_sizes: whether those sizes are among it.
        kohya_path: a layer's path in diffusers -> its path in kohya files, with dots.
        ss_v2: what sd-scripts writes into headers; A1111 files LoRAs by it.
        version: sd-scripts' name of the base.
        version_of_v: the same of models that predict v.
        versions: how all names begin that trainers have for bases of this family; A1111 and Forge file by "sdxl_".
        architecture: ModelSpec's name.
        architecture_of_v: the same of models that predict v.
        implementation: ModelSpec's name of the code that has the layers of kohya files by their names.
        well_known: hub ids of bases that are known to belong to it, as a pattern.
        file_marks: names of tensors that a single file of this family has, in the original (LDM) layout.
        configs: of its models, fine-tunes included.
        tokenizer_pads: of each tokenizer's folder, the token that fills up.
    """

    name: str
    generation: str
    is_built_so: Callable[[Mapping[str, Any]], bool]
    pipeline: str
    pipeline_options: Mapping[str, Any]
    tokenizers: Mapping[str, str]
    encoder_classes: Mapping[str, str]
    read_states: ReadStates
    most_clip_skip: Callable[[int], int]
    layer_read: Callable[[int], int]
    unet_inputs: Callable[[TextBatch, Tensor, torch.dtype], dict[str, Any]]
    reads_sizes: bool
    kohya_path: Callable[[str], str]
    ss_v2: str
    version: str
    version_of_v: str
    versions: str
    architecture: str
    architecture_of_v: str
    implementation: str
    well_known: str
    file_marks: tuple[str, ...]
    configs: Configs
    tokenizer_pads: Mapping[str, str]

    def __str__(self) -> str:
        return self.name

    @property
    def networks(self) -> tuple[str, ...]:
        """Folders of what has weights."""
        return ("unet", "vae", *self.tokenizers)

    @property
    def config_files(self) -> dict[str, str]:
        """Of each part that has settings, their file."""
        return {
            **{part: f"{part}/config.json" for part in self.networks},
            "scheduler": "scheduler/scheduler_config.json",
        }

    def text_encoders(self, encoders: Mapping[str, nn.Module], tokenizers: Mapping[str, Any]) -> TextEncoders:
        """A base's text encoders with their tokenizers, both by the encoder's folder."""
        return TextEncoders(
            encoders, tokenizers, read_states=self.read_states, most_clip_skip=self.most_clip_skip
        )

    def header(self, name: str, prediction_type: PredictionType) -> dict[str, str]:
        """What a LoRA file's header says of its base.

        Args:
            name: as the user calls it.
            prediction_type: what its UNet predicts.
        """
        velocity = prediction_type == "v_prediction"
        return {
            "base": f"{name} ({self}, {prediction_type})",
            "ss_sd_model_name": name,
            "ss_v2": self.ss_v2,
            "ss_base_model_version": self.version_of_v if velocity else self.version,
            "modelspec.architecture": f"{self.architecture_of_v if velocity else self.architecture}/lora",
            "modelspec.implementation": self.implementation,
            "modelspec.prediction_type": "v" if velocity else prediction_type,
        }


def text_alone(texts: TextBatch, sizes: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """What a UNet takes that reads nothing but text."""
    return {"encoder_hidden_states": texts.context.to(dtype), "encoder_attention_mask": texts.mask}
