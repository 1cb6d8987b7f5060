"""What headers say: the names and forms that A1111 and ModelSpec's readers look for."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lightning_modules.base.families.family import Family
from lightning_modules.base.families.sd_1 import SD_1
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.families.sdxl import SDXL
from lightning_modules.lora.header import header
from lightning_modules.lora.writing import write_adapter
from tests.tiny_adapters import layer_and_convolution


def written(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


@pytest.mark.parametrize(
    ("family", "prediction", "version", "architecture"),
    [
        (SD_2, "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v/lora"),
        (SD_2, "epsilon", "sd_v2", "stable-diffusion-v2-512/lora"),
        (SD_1, "epsilon", "sd_v1", "stable-diffusion-v1/lora"),
        (SDXL, "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
        (SDXL, "v_prediction", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
    ],
)
def test_a_file_is_filed_under_its_family(
    family: Family, prediction: Any, version: str, architecture: str, tmp_path: Path
) -> None:
    """The words of sd-scripts' train_network.py and sai_model_spec.py."""
    said = family.header("wd", prediction)
    facts = written(write_adapter(tmp_path / "a.safetensors", layer_and_convolution(), "kohya", said))
    assert facts["ss_v2"] == str(family is SD_2)
    assert facts["ss_base_model_version"] == version
    assert facts["modelspec.architecture"] == architecture
    assert facts["modelspec.prediction_type"] == ("v" if prediction == "v_prediction" else "epsilon")
    stability = "https://github.com/Stability-AI/generative-models"
    assert facts["modelspec.implementation"] == (stability if family is SDXL else "diffusers")
    assert facts["ss_sd_model_name"] == "wd"
    assert facts["base"].startswith(f"wd ({family}, ")
    facts = written(write_adapter(tmp_path / "b.safetensors", layer_and_convolution(), "diffusers", said))
    assert facts["modelspec.implementation"] == "diffusers"  # whose names its layers have


def test_rank_and_alpha_of_layers_and_of_convolutions() -> None:
    facts = header(layer_and_convolution(), {}, {"run": "ghibli", "steps": "9"})
    assert (facts["ss_network_dim"], facts["ss_network_alpha"]) == ("4", "2.5")
    assert json.loads(facts["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1"}
    assert (facts["ss_output_name"], facts["modelspec.title"], facts["steps"]) == ("ghibli", "ghibli", "9")


@pytest.mark.parametrize("format", ["diffusers", "kohya"])
def test_the_hash_is_that_of_what_stands_behind_the_header(tmp_path: Path, format: Any) -> None:
    path = write_adapter(tmp_path / "a.safetensors", layer_and_convolution(), format, {"run": "ghibli"})
    content = path.read_bytes()
    behind = content[8 + int.from_bytes(content[:8], "little") :]
    facts = written(path)
    assert facts["sshs_model_hash"] == hashlib.sha256(behind).hexdigest()
    assert facts["modelspec.hash_sha256"] == "0x" + facts["sshs_model_hash"]
    assert facts["modelspec.sai_model_spec"] == "1.0.1"


def test_what_belongs_to_other_tensors_is_not_kept(tmp_path: Path) -> None:
    before = {
        "sshs_model_hash": "old",
        "sshs_legacy_hash": "old",
        "lora_adapter_metadata": "{}",
        "ss_network_dim": "64",
        "ss_tag_frequency": '{"a": {"girl": 3}}',
        "modelspec.title": "Somebody's style",
    }
    facts = written(write_adapter(tmp_path / "a.safetensors", layer_and_convolution(), "kohya", before))
    assert "lora_adapter_metadata" not in facts
    assert "sshs_legacy_hash" not in facts
    assert facts["sshs_model_hash"] != "old"
    assert facts["ss_network_dim"] == "4"
    assert facts["ss_tag_frequency"] == before["ss_tag_frequency"]
    assert facts["modelspec.title"] == facts["ss_output_name"] == "Somebody's style"
