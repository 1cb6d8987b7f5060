"""What headers say of a run."""

import json
from pathlib import Path

import lightning as L
import yaml

from callbacks.training_facts import run_settings, settings_facts, training_facts, without_machine_paths

SETTINGS = {
    "seed_everything": 7,
    "data": {"folder": "/home/me/secret/ghibli", "batch_size": 4},
    "model": {
        "base_model": "wd/beta2",
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
        "min_snr_gamma": 5.0,
    },
}


class Data(L.LightningDataModule):
    """Says something of its own."""

    batch_size = 4

    def facts(self) -> dict[str, str]:
        return {"ss_num_train_images": "12"}


def test_progress_settings_and_data_are_said(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    trainer = L.Trainer(
        default_root_dir=tmp_path, max_steps=8, accelerator="cpu", logger=False, accumulate_grad_batches=2
    )
    trainer.datamodule = Data()  # type: ignore[attr-defined]
    facts = training_facts(trainer, started_at=1_700_000_000.5, now=1_700_000_060.9)
    assert facts["run"] == facts["ss_output_name"] == tmp_path.name
    assert (facts["steps"], facts["ss_max_train_steps"]) == ("0", "8")
    assert (facts["ss_batch_size_per_device"], facts["ss_total_batch_size"]) == ("4", "8")
    assert float(facts["ss_training_started_at"]) == 1_700_000_000.5
    assert facts["modelspec.date"] == "2023-11-14T22:14:20+00:00"
    assert (facts["ss_seed"], facts["ss_learning_rate"], facts["ss_min_snr_gamma"]) == ("7", "0.001", "5.0")
    assert facts["ss_num_train_images"] == "12"
    assert facts["ss_mixed_precision"] == "no"
    assert json.loads(facts["training_config"])["data"] == {"folder": "ghibli", "batch_size": 4}
    assert "secret" not in "".join(facts.values())


def test_a_run_without_config_says_less(tmp_path: Path) -> None:
    assert run_settings(tmp_path) == {}
    assert settings_facts({}) == {}


def test_of_absolute_paths_the_last_part_stays() -> None:
    assert without_machine_paths({"a": ["/x/y", "models/wd"], "b": {"c": "/z"}, "d": 3}) == {
        "a": ["y", "models/wd"],
        "b": {"c": "z"},
        "d": 3,
    }
