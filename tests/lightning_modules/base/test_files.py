"""Which models are refused, and what the messages say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from lightning_modules.base.files import config_folder
from lightning_modules.base.loading import load_components, load_tokenizer


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base that a test may spoil."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub as a machine without network sees it, with nothing in its cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("load", [load_components, load_tokenizer])
def test_without_network_the_error_says_what_to_download_and_which_option_to_set(
    load: Callable[[str], Any],
) -> None:
    with pytest.raises(
        ValueError, match="waifu-diffusion/wd-1-5-beta2: there is no such folder here, not all of the model"
    ) as error:
        load("waifu-diffusion/wd-1-5-beta2")
    message = str(error.value)
    assert "hf download waifu-diffusion/wd-1-5-beta2 --local-dir models/wd-1-5-beta2" in message
    assert "--model.base_model models/wd-1-5-beta2" in message


@pytest.mark.parametrize(
    "missing", ["models/", "/nowhere/model", "a/b/c", "model", "models/xl.safetensors", "models/xl.ckpt"]
)
def test_a_missing_path_is_not_asked_of_the_hub(missing: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"there is no such folder or file.*wd-1-5-beta2"):
        config_folder(missing, None)


def test_owner_and_name_below_a_folder_that_exists_mean_a_path(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="models/wd-1-5-beta2: there is no such folder or file"):
        config_folder("models/wd-1-5-beta2", None)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no model_index\.json.*unet, vae, text_encoder, tokenizer and sched"
    ):
        config_folder(str(tmp_path), None)


def test_an_incomplete_folder_names_all_that_is_absent(base: Path) -> None:
    (base / "scheduler/scheduler_config.json").unlink()
    shutil.rmtree(base / "tokenizer")
    with pytest.raises(ValueError, match=r"lacks scheduler/scheduler_config\.json, tokenizer/\*\.json"):
        config_folder(str(base), None)


@pytest.mark.parametrize(
    ("part", "stem"),
    [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")],
)
def test_absent_weights_are_named(base: Path, part: str, stem: str) -> None:
    next((base / part).glob("*.safetensors")).unlink()
    with pytest.raises(ValueError, match=rf"{part} has no weights: neither {stem}\.safetensors nor"):
        load_components(str(base))


@pytest.mark.parametrize(
    ("index", "family"),
    [
        (
            {
                "_class_name": "StableDiffusionXLImg2ImgPipeline",
                "unet": ["", ""],
                "text_encoder": [None, None],
                "text_encoder_2": ["", ""],
            },
            "a refiner of Stable Diffusion XL",
        ),
        ({"_class_name": "StableDiffusion3Pipeline", "transformer": ["", ""]}, "Stable Diffusion 3 or Flux"),
        ({"_class_name": "FluxPipeline", "transformer": ["", ""]}, "Stable Diffusion 3 or Flux"),
        (
            {"_class_name": "UnCLIPPipeline", "decoder": ["", ""]},
            "UnCLIPPipeline without unet, vae or text_en",
        ),
    ],
)
def test_other_families_are_refused_by_their_index_alone(
    tmp_path: Path, index: dict[str, Any], family: str
) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=rf"is .*{family}.*teaches Stable Diffusion 1\.x, 2\.x and XL"):
        config_folder(str(tmp_path), None)


@pytest.mark.parametrize(
    ("channels", "kind"), [(9, "an inpainting model"), (5, "a depth, editing or upscal")]
)
def test_models_that_take_more_than_latents_are_refused(base: Path, channels: int, kind: str) -> None:
    change(base / "unet/config.json", in_channels=channels)
    with pytest.raises(ValueError, match=f"UNet takes {channels} channels where its VAE makes 4: {kind}"):
        load_components(str(base))


def test_a_text_encoder_of_another_width_is_refused(base: Path) -> None:
    change(base / "text_encoder/config.json", hidden_size=768)
    with pytest.raises(ValueError, match="text encoder is 768 wide but the UNet's cross_attention_dim is 32"):
        load_components(str(base))


def test_an_unknown_prediction_type_lists_the_known_ones(base: Path) -> None:
    change(base / "scheduler/scheduler_config.json", prediction_type="flow_prediction")
    with pytest.raises(ValueError, match="'flow_prediction'; known are epsilon, v_prediction, sample"):
        load_components(str(base))


def test_broken_json_names_the_file(base: Path) -> None:
    (base / "unet/config.json").write_text('{"in_channels": ')
    with pytest.raises(ValueError, match=r"unet/config\.json is not valid JSON"):
        load_components(str(base))


def test_a_single_file_must_be_safetensors(tmp_path: Path, tiny_base: Path) -> None:
    (tmp_path / "model.ckpt").touch()
    with pytest.raises(ValueError, match=r"must be \.safetensors. Others are pickles"):
        load_components(str(tmp_path / "model.ckpt"), str(tiny_base))


def test_the_config_folder_of_a_single_file_must_exist(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"--model\.base_config nowhere: there is no such folder"):
        load_components(str(tmp_path / "model.safetensors"), "nowhere")


def test_a_folder_needs_no_other_configs(tiny_base: Path, tiny_base_sd1: Path) -> None:
    with pytest.raises(ValueError, match="is a folder with configs of its own: leave base_config out"):
        load_components(str(tiny_base), str(tiny_base_sd1))
