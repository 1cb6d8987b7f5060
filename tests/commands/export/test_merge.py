"""`python train.py merge`, through the command line: the folder paints by itself what base and adapter paint."""

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from commands.runs.lora_file import LoraOnBase
from lightning_modules.base.loading import Components, load_components
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions, scaled
from lightning_modules.lora.merging import MergeCheck
from lightning_modules.lora.writing import write_adapter
from tests.ldm_checkpoint import save_ldm_checkpoint
from tests.tiny_adapters import EVERYWHERE, learned_unet, unet_output
from tests.tiny_models import save_tiny_base, save_tiny_sdxl
from train import main

OPTIONS = LoraOptions(rank=4, alpha=2.0, target_modules=EVERYWHERE)


@pytest.fixture(params=["tiny_base_sd1", "tiny_base", "tiny_sdxl"])
def base(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Path:
    return run_on(base, tmp_path)


def run_on(base: Path, folder: Path) -> Path:
    """A run with its final export."""
    run = folder / "runs" / "tiny"
    unet = learned_unet(base, OPTIONS)
    write_adapter(run / "pytorch_lora_weights.safetensors", adapter_of(unet), "diffusers", {})
    (run / "config.yaml").write_text(f'model: {{base_model: "{base}", base_config: null}}\n')
    return run


def merge(run: Path, output: Path, *options: str) -> None:
    main(["merge", "--runs", str(run.parent), "--output", str(output), *options])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_folder_holds_base_and_adapter(
    run: Path, base: Path, tmp_path: Path, scale: float, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "models" / "merged"
    output.parent.mkdir()
    merge(run, output, "--lora_scale", str(scale))
    assert "it paints what base and adapter paint to within 0.0" in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == ["merged"]
    adapted = learned_unet(base, OPTIONS)
    original = load_components(str(base))
    pipeline = StableDiffusionXLPipeline if base.name == "tiny_sdxl" else StableDiffusionPipeline
    merged = pipeline.from_pretrained(output, local_files_only=True)
    with scaled(adapted, scale):
        expected = unet_output(adapted)
    torch.testing.assert_close(unet_output(merged.unet), expected, atol=1e-5, rtol=1e-4)
    assert float((unet_output(original.unet) - expected).abs().max()) > 0.02
    assert merged.scheduler.config.prediction_type == original.prediction_type
    for part, name in original.family.tokenizers.items():
        words = [
            one("a girl", padding="max_length").input_ids
            for one in (getattr(merged, name), original.text_encoders.tokenizers[part])
        ]
        assert words[0] == words[1]
    for part in ("vae", *original.text_encoders):
        network = original.vae if part == "vae" else original.text_encoders[part]
        own, theirs = network.state_dict(), getattr(merged, part).state_dict()
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[name], tensor) for name, tensor in theirs.items())


def test_a_merged_model_is_a_base_again(run: Path, tmp_path: Path) -> None:
    merge(run, tmp_path / "once")
    merge(run, tmp_path / "twice", "--model.base_model", str(tmp_path / "once"))
    unets = [load_components(str(folder)).unet for folder in (tmp_path / "once", tmp_path / "twice")]
    assert not torch.equal(unet_output(unets[0]), unet_output(unets[1]))


def test_a_schedule_that_the_user_asked_for_goes_along(tiny_base: Path, tmp_path: Path) -> None:
    run = run_on(tiny_base, tmp_path)
    config = (run / "config.yaml").read_text().replace("null}", "null, zero_terminal_snr: true}")
    (run / "config.yaml").write_text(config)
    merge(run, tmp_path / "merged")
    settings = json.loads((tmp_path / "merged/scheduler/scheduler_config.json").read_text())
    assert settings["_class_name"] == DDIMScheduler.__name__
    assert (settings["rescale_betas_zero_snr"], settings["timestep_spacing"]) == (True, "trailing")


def test_a_schedule_from_pure_noise_clips_nothing(tmp_path: Path) -> None:
    """Euler's config, as diffusers writes it, doesn't say; DDIM's default clips at 1, and latents go beyond."""
    run = run_on(save_tiny_sdxl(tmp_path / "xl", prediction_type="v_prediction"), tmp_path)
    config = (run / "config.yaml").read_text().replace("null}", "null, zero_terminal_snr: true}")
    (run / "config.yaml").write_text(config)
    merge(run, tmp_path / "merged")
    settings = json.loads((tmp_path / "merged/scheduler/scheduler_config.json").read_text())
    assert (settings["_class_name"], settings["clip_sample"]) == ("DDIMScheduler", False)


def test_a_schedule_is_that_of_the_runs_own_base(tiny_base: Path, tmp_path: Path) -> None:
    run = run_on(tiny_base, tmp_path)
    config = (run / "config.yaml").read_text().replace("null}", "null, zero_terminal_snr: true}")
    (run / "config.yaml").write_text(config)
    another = save_tiny_base(tmp_path / "another", prediction_type="epsilon")
    merge(run, tmp_path / "merged", "--model.base_model", str(another))
    settings = json.loads((tmp_path / "merged/scheduler/scheduler_config.json").read_text())
    assert (settings["rescale_betas_zero_snr"], settings["prediction_type"]) == (False, "epsilon")


def test_what_the_run_was_told_that_its_base_predicts_goes_along(tiny_base_sd1: Path, tmp_path: Path) -> None:
    run = run_on(tiny_base_sd1, tmp_path)
    config = (run / "config.yaml").read_text().replace("null}", "null, prediction_type: v_prediction}")
    (run / "config.yaml").write_text(config)
    merge(run, tmp_path / "merged")
    assert load_components(str(tmp_path / "merged")).prediction_type == "v_prediction"


def test_a_single_file_base_becomes_a_whole_folder(tiny_base_sd1: Path, tmp_path: Path) -> None:
    run, configs = run_on(tiny_base_sd1, tmp_path), tmp_path / "configs"
    shutil.copytree(tiny_base_sd1, configs, ignore=shutil.ignore_patterns("*.safetensors"))
    file = save_ldm_checkpoint(tiny_base_sd1, tmp_path / "model.safetensors")
    merge(run, tmp_path / "merged", "--model.base_model", str(file), "--model.base_config", str(configs))
    merged = load_components(str(tmp_path / "merged"))
    torch.testing.assert_close(
        unet_output(merged.unet), unet_output(learned_unet(tiny_base_sd1, OPTIONS)), atol=1e-5, rtol=1e-4
    )
    assert merged.prediction_type == "epsilon"


def test_what_paints_something_else_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("commands.export.merge.check_merge", lambda *_: MergeCheck(0.5, 0.9))
    with pytest.raises(SystemExit) as stop:
        merge(run, tmp_path / "merged")
    assert stop.value.code == 2
    assert (
        "paints something else than base and adapter (a colour value differs by 0.50000"
        in capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_an_output_that_is_there_stays(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit):
        merge(run, tmp_path / "mine")
    assert "mine exists already: name another folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["merge", "--runs", str(run.parent)])
    assert "--output is needed" in capsys.readouterr().err


def test_the_base_is_gone_when_the_merged_one_is_read(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free Colab has no room for two bases of Stable Diffusion XL."""
    loaded: list[Any] = []
    alive: list[bool] = []

    def load(found: LoraOnBase) -> Components:
        parts = LOAD(found)
        loaded.append(weakref.ref(parts.unet))
        return parts

    def read(*args: Any, **options: Any) -> Any:
        alive.append(loaded[0]() is not None)
        return READ(*args, **options)

    monkeypatch.setattr(LoraOnBase, "load", load)
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", read)
    merge(run_on(tiny_base, tmp_path), tmp_path / "merged")
    assert alive == [False]


LOAD, READ = LoraOnBase.load, StableDiffusionPipeline.from_pretrained
