"""`--model.gradient_checkpointing auto`: it goes by the device's memory, says so, and changes no result."""

from pathlib import Path

import pytest

from lightning_modules.memory import auto_checkpointing
from tests.small_run import adapter, picture_folder, same, small_config, without_exports
from train import main

AUTO = (
    "--model.gradient_checkpointing",
    "auto",
    "--trainer.limit_val_batches",
    "0",
    "--samples.prompts",
    "null",
)


@pytest.fixture(params=["tiny_base", "tiny_sdxl"])
def config(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    base = request.getfixturevalue(request.param)
    return small_config(tmp_path, base, picture_folder(tmp_path / "pictures"))


def fit(config: Path, name: str, *options: str) -> Path:
    runs = config.parent / "runs"
    with without_exports():
        main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *AUTO, *options])
    return runs / name


def test_it_is_off_where_memory_is_plentiful_and_on_where_it_is_not_with_the_same_adapter(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was started with much memory goes on with little, and ends as one that never changed."""
    whole = fit(config, "whole", "--trainer.max_steps", "6")
    said = capsys.readouterr().out
    assert (
        said.count("gradient checkpointing: auto chose off: a step without it takes 0.0 GB of the machine's")
        == 1
    )

    begun = fit(config, "begun", "--trainer.max_steps", "3")
    monkeypatch.setattr(auto_checkpointing, "device_memory", lambda device: 1_000_000)
    capsys.readouterr()
    fit(config, "begun", "--trainer.max_steps", "6", "--ckpt_path", "last")
    assert "auto chose on: a step without it takes 0.0 GB of the machine's 0.0 GB" in capsys.readouterr().out
    assert same(adapter(whole, 6), adapter(begun, 6))


def test_where_the_device_does_not_say_its_memory_it_is_on(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(auto_checkpointing, "device_memory", lambda device: None)
    fit(config, "unknown", "--trainer.max_steps", "1")
    assert "auto chose on, since this device doesn't say how much memory it has" in capsys.readouterr().out
