"""`python train.py export`, through the command line: runs and other people's files, tested and described."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from commands.export.export import FAILED
from foundation.adapter_export import ExportCheck
from lightning_modules.base.loading import load_components
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions, lora_state
from lightning_modules.lora.reading import place_adapter, read_adapter
from lightning_modules.lora.writing import write_adapter
from tests.tiny_adapters import EVERYWHERE, learned_unet, unet_output
from train import main

OPTIONS = LoraOptions(rank=4, alpha=2.0, target_modules=EVERYWHERE)
HEADER = {"run": "tiny", "steps": "4", "ss_output_name": "tiny", "modelspec.trigger_phrase": "tinystyle"}
FINGERPRINT = {"lora rank": "4", "lora alpha": "2.0", "lora use_rslora": "False"}


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Path:
    """A run with one checkpoint, a ledger and a grid."""
    run = tmp_path / "runs" / "tiny"
    for folder in ("checkpoints", "samples"):
        (run / folder).mkdir(parents=True)
    unet = learned_unet(base, OPTIONS)
    content = {"state_dict": lora_state(unet), "fingerprint": FINGERPRINT, "header": HEADER}
    torch.save(content, run / "checkpoints" / "step_000004.ckpt")
    (run / "config.yaml").write_text(f'model: {{base_model: "{base}", base_config: null}}\n')
    groups = {
        "portrait": {"pictures": 7, "planned": 16, "seen": 16, "times_each": 16 / 7, "least": 2, "most": 3}
    }
    (run / "exposure.json").write_text(json.dumps({"draws": 16, "as_planned": True, "groups": groups}))
    (run / "samples" / "step_000004.png").write_bytes(b"a grid")
    return run


def export(run: Path, *options: str) -> None:
    main(["export", "--runs", str(run.parent), *options])


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


def output(base: Path, path: Path) -> Tensor:
    """What the base computes with the file's adapter."""
    unet = load_components(str(base)).unet
    place_adapter(unet, read_adapter(path))
    return unet_output(unet)


@pytest.mark.parametrize(
    ("base", "layers", "words"),
    [
        ("tiny_base", 60, {"ss_v2": "True", "ss_base_model_version": "sd_v2_v"}),
        ("tiny_sdxl", 209, {"ss_v2": "False", "ss_base_model_version": "sdxl_base_v1-0"}),
    ],
    indirect=["base"],
)
def test_a_run_becomes_both_files_tested_with_a_card(
    run: Path, base: Path, layers: int, words: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    export(run)
    folder = run / "exports"
    assert {path.name for path in folder.iterdir()} == {
        "tiny_diffusers.safetensors",
        "tiny_kohya.safetensors",
        "README.md",
        "samples.png",
    }
    expected = unet_output(learned_unet(base, OPTIONS))
    words = words | {"steps": "4", "ss_network_alpha": "2", "ss_sd_model_name": base.name}
    for format in ("diffusers", "kohya"):
        path = folder / f"tiny_{format}.safetensors"
        assert torch.equal(output(base, path), expected)
        assert header(path).items() >= words.items()
    said = capsys.readouterr().out
    assert f"{layers} layers, rank 4, alpha 2" in said
    assert "Tested tiny_diffusers.safetensors: in a fresh stock pipeline" in said
    assert "Tested tiny_kohya.safetensors: in a fresh stock pipeline" in said
    assert "`tinystyle`" in (folder / "README.md").read_text()


def test_what_the_run_was_told_that_its_base_predicts_is_said(run: Path) -> None:
    config = (run / "config.yaml").read_text().replace("null}", "null, prediction_type: epsilon}")
    (run / "config.yaml").write_text(config)
    export(run, "--format", "kohya", "--self_test", "false")
    facts = header(run / "exports" / "tiny_kohya.safetensors")
    assert (facts["ss_base_model_version"], facts["modelspec.prediction_type"]) == ("sd_v2", "epsilon")


def test_one_format_in_fp16_under_a_name_of_its_own(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    export(run, "--format", "kohya", "--dtype", "fp16", "--output", str(tmp_path / "out"))
    path = tmp_path / "out" / "tiny_fp16_kohya.safetensors"
    tensors = load_file(path)
    assert {t.dtype for n, t in tensors.items() if n.endswith(".weight")} == {torch.float16}
    torch.testing.assert_close(
        output(tiny_base, path), unet_output(learned_unet(tiny_base, OPTIONS)), atol=2e-3, rtol=2e-3
    )
    assert sorted(p.name for p in path.parent.iterdir()) == ["README.md", "samples.png", path.name]


def test_somebodys_file_is_converted_and_keeps_what_it_says(tiny_base: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "bought.safetensors"
    facts = {
        "ss_sd_model_name": "their-base",
        "ss_tag_frequency": '{"a": {"girl": 3}}',
        "modelspec.title": "Bought",
    }
    unet = learned_unet(tiny_base, OPTIONS)
    write_adapter(theirs, adapter_of(unet), "kohya", facts)
    options = ["--ckpt_path", str(theirs), "--model.base_model", str(tiny_base), "--format", "diffusers"]
    main(["export", *options])
    made = tmp_path / "bought_diffusers.safetensors"
    assert torch.equal(output(tiny_base, made), unet_output(unet))
    said = header(made)
    assert (said["ss_sd_model_name"], said["modelspec.title"]) == ("their-base", "Bought")
    assert said["ss_tag_frequency"] == facts["ss_tag_frequency"]
    assert said["ss_v2"] == "True"
    assert (tmp_path / "README.md").is_file()


def test_a_failed_test_is_an_error(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("commands.export.export.check_export", lambda *_, **__: ExportCheck(0.5, 0.9, 1.0))
    with pytest.raises(SystemExit) as stop:
        export(run, "--format", "kohya")
    assert stop.value.code == FAILED
    assert "tiny_kohya.safetensors failed its test" in capsys.readouterr().err


def test_without_the_test_no_weight_is_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr("commands.runs.lora_file.load_components", refuse)
    export(run, "--self_test", "false")
    assert (run / "exports" / "tiny_kohya.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ckpt_path", "absent.ckpt"], "--ckpt_path absent.ckpt: there is no such file"),
        (["--format", "comfy"], "comfy"),
        (["--dtype", "fp8"], "fp8"),
        (["--output", "both.safetensors"], "--output both.safetensors is one file, for two formats"),
        (["--fromat", "kohya"], "Did you mean --format?"),
        (["--model.base_model", "absent/folder/x"], "there is no such folder or file"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        export(run, *options)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not (run / "exports").exists()


def test_nothing_is_written_over_its_source(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(run, "--self_test", "false", "--format", "kohya")
    made = run / "exports" / "tiny_kohya.safetensors"
    with pytest.raises(SystemExit):
        export(run, "--ckpt_path", str(made), "--format", "kohya")
    assert "is what would be exported: give another place with --output" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit):
        export(run, "--output", str(tmp_path / "notes.txt"))
    assert "is a file of another kind" in capsys.readouterr().err


def test_a_file_without_base_asks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.alpha": torch.zeros(())}, path, {"ss_sd_model_name": "wd-1-5"})
    with pytest.raises(SystemExit):
        main(["export", "--ckpt_path", str(path)])
    assert "--model.base_model FOLDER_OR_HUB_ID. The file's header says: wd-1-5" in capsys.readouterr().err


def test_a_file_says_what_its_run_was_told_that_the_base_predicts(run: Path, tiny_base: Path) -> None:
    config = f'model: {{base_model: "{tiny_base}", base_config: null, prediction_type: epsilon}}'
    (run / "config.yaml").write_text(config)
    export(run, "--self_test", "false")
    facts = header(run / "exports" / "tiny_kohya.safetensors")
    assert (facts["modelspec.prediction_type"], facts["ss_base_model_version"]) == ("epsilon", "sd_v2")
