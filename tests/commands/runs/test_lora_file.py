"""Which file `--lora` means."""

import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from callbacks.sound_checkpoint import ADAPTER_PARTS
from commands.runs.lora_file import find_lora, find_lora_on_base
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.writing import write_adapter
from tests.tiny_adapters import learned_unet


def run_folder(runs: Path, name: str, *files: str, age: int = 0) -> Path:
    """A run with a config, whole checkpoints and empty other files, written `age` seconds ago."""
    for file in ("config.yaml", *files):
        path = runs / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".ckpt"):
            torch.save({part: {} for part in ADAPTER_PARTS}, path)
        else:
            path.write_text(
                "model: {base_model: some/base}\ndata: {resolution: 96}\n" if file.endswith("yaml") else ""
            )
        os.utime(path, (1_000_000_000 - age,) * 2)
    return runs / name


def test_a_run_is_its_newest_checkpoint_by_number(tmp_path: Path) -> None:
    files = (
        "checkpoints/step_000090.ckpt",
        "checkpoints/step_000100.ckpt",
        "pytorch_lora_weights.safetensors",
    )
    run = run_folder(tmp_path, "ghibli", *files)
    lora = find_lora(str(run), tmp_path)
    assert (lora.path, lora.name, lora.run) == (run / files[1], "ghibli_kohya", run)
    assert (lora.base_model(), lora.setting("data", "resolution")) == ("some/base", 96)
    assert lora.setting("samples", "prompts") is None


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path: Path) -> None:
    files = ("checkpoints/step_000009.ckpt", "checkpoints/step_000010.ckpt")
    run = run_folder(tmp_path, "ghibli", *files, "pytorch_lora_weights.safetensors")
    (run / files[1]).write_bytes((run / files[1]).read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"step_000010\.ckpt is cut short.*passed over"):
        assert find_lora(str(run), tmp_path).path == run / files[0]
    with pytest.warns(UserWarning, match=r"step_000010\.ckpt is cut short"):
        assert find_lora(None, tmp_path).path == run / files[0]
    (run / files[0]).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step_000009\.ckpt is cut short"):
        assert find_lora(str(run), tmp_path).path == run / "pytorch_lora_weights.safetensors"


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    run_folder(tmp_path / "runs", "ghibli", "checkpoints/step_000001.ckpt")
    with pytest.raises(ValueError, match=r"runs is a folder without an adapter.* It holds runs: .*ghibli\."):
        find_lora(str(tmp_path / "runs"), tmp_path)
    with pytest.raises(ValueError, match=r"--lora is empty: give a run's folder or a file"):
        find_lora("", tmp_path)


@pytest.mark.parametrize("file", ["pytorch_lora_weights.safetensors", "ghibli_kohya.safetensors"])
def test_a_run_without_checkpoints_is_its_export(tmp_path: Path, file: str) -> None:
    run = run_folder(tmp_path, "ghibli", file)
    assert find_lora(str(run), tmp_path).path == run / file


def test_nothing_given_is_the_run_trained_last(tmp_path: Path) -> None:
    run_folder(tmp_path, "new", "checkpoints/step_000001.ckpt", age=10)
    run_folder(tmp_path, "old", "checkpoints/step_000009.ckpt", age=20)
    run_folder(tmp_path, "empty")
    assert find_lora(None, tmp_path).run == tmp_path / "new"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("checkpoints/step_000100.ckpt", "ghibli_step_000100_kohya"),
        ("exports/ghibli_step_000100.safetensors", "ghibli_step_000100_kohya"),
        ("exports/ghibli_step_000100_kohya.safetensors", "ghibli_step_000100_kohya"),
        ("pytorch_lora_weights.safetensors", "ghibli_kohya"),
        ("ghibli_kohya.safetensors", "ghibli_kohya"),
    ],
)
def test_a_file_knows_its_run_and_its_kohya_name(tmp_path: Path, file: str, name: str) -> None:
    run = run_folder(tmp_path, "ghibli", file, "exports/ghibli_step_000100_kohya.safetensors")
    lora = find_lora(str(run / file), tmp_path)
    assert (lora.path, lora.name, lora.run) == (run / file, name, run)


def test_a_file_on_its_own_has_no_run_and_needs_its_base(tmp_path: Path) -> None:
    lora = find_lora(str(tmp_path / "style.safetensors"), tmp_path)
    assert (lora.name, lora.run, lora.config) == ("style", None, {})
    with pytest.raises(
        ValueError, match=r"where its base lies isn't known.*--model\.base_model .*header says: wd \(SD 2\)"
    ):
        lora.base_model("wd (SD 2)")


@pytest.mark.parametrize(
    ("given", "predicts"),
    [
        ({}, "epsilon"),
        ({"base_model": "its own"}, "epsilon"),
        ({"prediction_type": "sample"}, "sample"),
        ({"base_model": "another"}, "v_prediction"),  # as that base says itself
        ({"base_model": "another", "prediction_type": "epsilon"}, "epsilon"),
    ],
)
def test_a_base_predicts_what_the_options_say_or_the_run_of_its_own_base(
    tiny_base: Path, tmp_path: Path, given: dict[str, str], predicts: str
) -> None:
    another = tmp_path / "another"
    another.symlink_to(tiny_base)
    adapter = adapter_of(learned_unet(tiny_base, LoraOptions(rank=4)))
    write_adapter(tmp_path / "run" / "pytorch_lora_weights.safetensors", adapter, "diffusers", {})
    (tmp_path / "run" / "config.yaml").write_text(
        f"model: {{base_model: {tiny_base}, base_config: null, prediction_type: epsilon}}\n"
    )
    names = {"its own": str(tiny_base), "another": str(another)}
    model = dict.fromkeys(("base_model", "base_config", "prediction_type")) | {
        name: names.get(value, value) for name, value in given.items()
    }
    found = find_lora_on_base(
        Namespace(ckpt_path=str(tmp_path / "run"), runs=str(tmp_path), model=Namespace(**model))
    )
    assert found.load().prediction_type == predicts


def test_folders_without_an_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no trained run in .*python train\.py fit"):
        find_lora(None, tmp_path)
    with pytest.raises(
        ValueError, match=r"is a folder without an adapter.*a whole checkpoints/step_\*\.ckpt"
    ):
        find_lora(str(run_folder(tmp_path, "empty")), tmp_path)
