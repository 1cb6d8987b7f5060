"""Two processes train what one process with twice the batch trains, even where one has nothing to validate on."""

import subprocess
import sys
from pathlib import Path

import torch

from tests.small_run import adapter, picture_folder, small_config

PATIENCE = 120  # seconds after which two processes that wait for each other are given up


def fit(config: Path, runs: Path, *options: str) -> Path:
    arguments = ["fit", "--config", str(config), "--runs", str(runs), "--trainer.max_steps", "4", *options]
    subprocess.run(
        [sys.executable, "train.py", *arguments], check=True, timeout=PATIENCE, capture_output=True
    )
    return runs / "small"


def test_two_processes_train_what_one_trains(tmp_path: Path, tiny_base: Path) -> None:
    config = small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))  # one is held out
    one = fit(config, tmp_path / "one", "--data.batch_size", "4")
    two = fit(config, tmp_path / "two", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    ours, theirs = adapter(one, 4), adapter(two, 4)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6) for name in ours)
    assert (one / "exposure.json").read_text() == (two / "exposure.json").read_text()
