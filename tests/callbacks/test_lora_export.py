"""Which files a run leaves, once each, and what is said of their test."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from callbacks.lora_export import LoraExport, outcome
from foundation.adapter_export import ExportCheck, LoraFormat

PASSED = ExportCheck(max_difference=0.001, effect=0.5, scale=1.0)


@dataclass
class Written:
    """What the module was asked to write, in order."""

    files: list[tuple[Path, str, dict[str, str]]] = field(default_factory=list)
    tested: list[Path] = field(default_factory=list)


class Exporter(L.LightningModule):
    """One weight, and an adapter file that holds a line of text."""

    def __init__(self, check: ExportCheck | Exception) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.written, self._check = Written(), check

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return (self.weight - batch).square().sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def export_lora(self, path: Path, format: LoraFormat, facts: dict[str, str]) -> Path:
        self.written.files.append((path, format, facts))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(format)
        return path

    def base_description(self) -> str:
        return "a base"

    def check_export(self, path: Path) -> ExportCheck:
        self.written.tested.append(path)
        if isinstance(self._check, Exception):
            raise self._check
        return self._check


def run(
    folder: Path, check: ExportCheck | Exception | Exporter, export: LoraExport | None = None
) -> Exporter:
    """Four steps with two checkpoint callbacks: every two steps, and every four."""
    module = check if isinstance(check, Exporter) else Exporter(check)
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=4,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            export or LoraExport(),
            ModelCheckpoint(folder / "checkpoints", every_n_train_steps=2, save_top_k=-1, filename="{step}"),
            ModelCheckpoint(folder / "others", every_n_train_steps=4),
        ],
    )
    trainer.fit(module, DataLoader(torch.ones(8, 1)))  # type: ignore[arg-type]
    return module


@pytest.mark.filterwarnings("ignore")
def test_files_at_every_checkpoint_and_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "ghibli"
    module = run(folder, PASSED)
    files = {
        str(path.relative_to(folder)): (format, facts["steps"])
        for path, format, facts in module.written.files
    }
    assert files == {
        "exports/ghibli_step_000002.safetensors": ("diffusers", "2"),
        "exports/ghibli_step_000002_kohya.safetensors": ("kohya", "2"),
        "exports/ghibli_step_000004.safetensors": ("diffusers", "4"),
        "exports/ghibli_step_000004_kohya.safetensors": ("kohya", "4"),
        "pytorch_lora_weights.safetensors": ("diffusers", "4"),
        "ghibli_kohya.safetensors": ("kohya", "4"),
    }
    assert len(module.written.files) == 6  # step 4 has two checkpoints and one export
    facts = module.written.files[0][2]
    assert (facts["run"], facts["ss_output_name"], facts["ss_max_train_steps"]) == ("ghibli", "ghibli", "4")
    assert module.written.tested == [
        folder / "pytorch_lora_weights.safetensors",
        folder / "ghibli_kohya.safetensors",
    ]
    assert "Tested pytorch_lora_weights.safetensors: in a fresh stock pipeline" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_checkpoints_carry_the_header_and_the_first_start(tmp_path: Path) -> None:
    run(tmp_path / "ghibli", PASSED)
    path = tmp_path / "ghibli" / "checkpoints" / "step=2.ckpt"
    header = torch.load(path, weights_only=True)["header"]
    assert (header["run"], header["steps"]) == ("ghibli", "2")
    again = LoraExport(self_test=False)
    started = {"header": header | {"ss_training_started_at": "12.5"}}
    again.on_load_checkpoint(L.Trainer(logger=False, accelerator="cpu"), L.LightningModule(), started)
    module = run(tmp_path / "again", PASSED, again)
    assert module.written.files[0][2]["ss_training_started_at"] == "12.5"


@pytest.mark.filterwarnings("ignore:.*(workers|checkpoint|eval|litlogger).*")
@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            ExportCheck(0.2, 0.5, 1.0),
            r"failed its test: .*within 0\.20000 \(allowed 0\.00392\).*rely",
        ),
        (ExportCheck(0.0, 0.0, 1.0), "failed its test: the adapter changes nothing"),
        (RuntimeError("out of memory"), r"written but couldn't be tested: RuntimeError: out of memory"),
    ],
)
def test_a_failed_test_warns_and_the_run_ends_well(tmp_path: Path, check: Any, said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        run(tmp_path / "ghibli", check)
    assert (tmp_path / "ghibli/pytorch_lora_weights.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_the_test_can_be_left_out(tmp_path: Path) -> None:
    assert not run(tmp_path, PASSED, LoraExport(self_test=False)).written.tested


def test_a_module_that_cannot_export_is_refused_before_training() -> None:
    trainer, module = L.Trainer(logger=False, accelerator="cpu"), L.LightningModule()
    with pytest.raises(ValueError, match=r"needs a module with export_lora.*LightningModule lacks one"):
        LoraExport().setup(trainer, module, "fit")


def test_a_strengthened_adapter_is_said() -> None:
    assert "the adapter, 64 times as strong as trained, paints" in outcome(replace(PASSED, scale=64.0))
    assert "the adapter paints what it paints in memory to within 0.00100" in outcome(PASSED)


class FullDisk(Exporter):
    """Nothing can be written from some step on."""

    def __init__(self, full_from: int) -> None:
        super().__init__(PASSED)
        self.full_from = full_from

    def export_lora(self, path: Path, format: LoraFormat, facts: dict[str, str]) -> Path:
        if int(facts["steps"]) >= self.full_from:
            raise OSError(28, "No space left on device")
        return super().export_lora(path, format, facts)


@pytest.mark.filterwarnings("ignore:.*(workers|checkpoint|eval|litlogger).*")
def test_exports_that_cannot_be_written_are_counted_and_the_final_one_is_an_error(tmp_path: Path) -> None:
    export = LoraExport()
    with (
        pytest.warns(
            UserWarning, match=r"An export could not be written .*No space left.*checkpoint beside it"
        ),
        pytest.raises(
            OSError, match=r"final files could not be written .*No space left.*is None, of 4 steps"
        ),
    ):
        run(tmp_path, FullDisk(3), export)
    assert export.failures.count == 1
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {
        f"{tmp_path.name}_step_000002.safetensors",
        f"{tmp_path.name}_step_000002_kohya.safetensors",
    }
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


class OtherContent(Exporter):
    """Files don't hold what was written, as `lightning_modules.lora.read_back` finds; the disk has room."""

    def export_lora(self, path: Path, format: LoraFormat, facts: dict[str, str]) -> Path:
        raise OSError(f"{path} was written but reads back as another adapter, in a.lora_A")


@pytest.mark.filterwarnings("ignore:.*(workers|checkpoint|eval|litlogger).*")
def test_a_full_disk_is_named_as_one_cause_only(tmp_path: Path) -> None:
    with (
        pytest.warns(
            UserWarning, match=r"reads back as another adapter.*If the disk is full, free some space"
        ),
        pytest.raises(
            OSError, match=r"reads back as another adapter.*If the disk is full, free some space; then"
        ),
    ):
        run(tmp_path, OtherContent(PASSED))
