"""Whole runs on pictures of several shapes: buckets change shapes, and none of the promises."""

import json
import shutil
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.small_run import adapter, picture_folder, same, small_config, without_exports
from train import main

SIZES = ((128, 128), (80, 300), (300, 90), (140, 130), (70, 260))
OPTIONS = ("--data.resolution", "128", "--data.batch_size", "4", "--data.buckets", "true")


class Watch(L.Callback):
    """Notes what reached `training_step`, and how its pictures were stacked."""

    draws: list[tuple[int, str]]
    shapes: list[list[tuple[int, ...]]]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        Watch.draws, Watch.shapes = [], []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Take a batch in."""
        Watch.draws.extend(zip(batch["draw"].tolist(), batch["key"], strict=True))
        Watch.shapes.append([tuple(latent.shape[-2:]) for latent in batch["latent_mean"]])


@pytest.fixture
def config(tmp_path: Path, base: Path) -> Path:
    pictures = picture_folder(tmp_path / "pictures", portraits=12, landscapes=10, sizes=SIZES)
    return small_config(tmp_path, base, pictures)


def fit(config: Path, name: str, *options: str) -> Path:
    runs = config.parent / "runs"
    watching = "--trainer.callbacks+=tests.test_buckets.Watch"
    main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *options, watching])
    return runs / name


@dataclass(frozen=True)
class Straight:
    """Twelve steps without a stop: the run's folder, what was printed and warned of, draws and shapes. Read only."""

    folder: Path
    printed: str
    warned: list[str]
    draws: list[tuple[int, str]]
    shapes: list[list[tuple[int, ...]]]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Straight:
    folder = tmp_path_factory.mktemp("straight")
    pictures = picture_folder(folder / "pictures", portraits=12, landscapes=10, sizes=SIZES)
    with redirect_stdout(StringIO()) as printed, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = fit(small_config(folder, tiny_base, pictures), "straight", *OPTIONS)
    words = [str(warning.message) for warning in warned]
    return Straight(run, printed.getvalue(), words, Watch.draws, Watch.shapes)


def test_a_draw_names_the_same_picture_with_and_without_buckets(config: Path, straight: Straight) -> None:
    fit(config, "square", *OPTIONS, "--data.buckets", "false", "--trainer.max_steps", "8")
    assert Watch.draws == straight.draws[:32]
    assert [draw for draw, _ in Watch.draws] == list(range(32))
    assert {shape for batch in Watch.shapes for shape in batch} == {(16, 16)}
    assert {shape for batch in straight.shapes for shape in batch} == {(16, 16), (32, 8), (8, 32)}
    assert max(len(set(batch)) for batch in straight.shapes) == 3
    assert (straight.folder / "samples/step_000012.png").exists()
    exported = load_file(straight.folder / "pytorch_lora_weights.safetensors")
    assert any(bool(tensor.any()) for tensor in exported.values())


@pytest.mark.parametrize(
    ("base", "more", "steps"),
    [
        ("tiny_base", (), 12),
        ("tiny_base", ("--data.num_workers", "2", "--trainer.accumulate_grad_batches", "2"), 12),
        ("tiny_sdxl", ("--data.batch_size", "3", "--trainer.limit_val_batches", "0"), 6),
    ],
    ids=["plain", "workers and accumulation", "sdxl"],
    indirect=["base"],
)
def test_stopping_and_going_on_equals_never_stopping(
    config: Path, straight: Straight, more: tuple[str, ...], steps: int
) -> None:
    options = (*OPTIONS, *more, "--trainer.max_steps", str(steps))
    with without_exports():  # the run that never stopped needs no loader processes: they change nothing
        whole = fit(config, "whole", *options, "--data.num_workers", "0") if more else straight.folder
        fit(config, "stopped", *options, "--trainer.max_steps", "5")
        stopped = fit(config, "stopped", *options, "--ckpt_path", "last")
    assert same(adapter(whole, steps), adapter(stopped, steps))
    assert (whole / "exposure.json").read_text() == (stopped / "exposure.json").read_text()


def test_the_log_is_whole_and_says_what_the_batches_were(straight: Straight) -> None:
    events = EventAccumulator(str(straight.folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    for tag in ("train/loss", "train/loss_group/portrait", "val/loss", "val/loss_group/landscape"):
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
        assert all(torch.isfinite(torch.tensor(event.value)) for event in events.Scalars(tag)), tag
    assert "exposure/realised/portrait" in tags
    assert not [words for words in straight.warned if "batch size" in words.lower()]
    # pictures 0 to 21: sizes 0 and 3 are near the square, 1 and 4 tall, 2 wide
    assert "Pictures a size (width x height): 64x256 9, 128x128 9, 256x64 4" in straight.printed
    ledger = json.loads((straight.folder / "exposure.json").read_text())
    assert (ledger["draws"], ledger["as_planned"]) == (48, True)
    assert ledger["groups"]["portrait"]["seen"] == 32


def test_a_resolution_that_is_no_multiple_of_64_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit(config, "run", *OPTIONS, "--data.resolution", "72")
    text = "data.resolution is 72; it must be a positive multiple of 64 with data.buckets."
    assert text in capsys.readouterr().err


def test_a_run_with_buckets_is_another_run(
    config: Path, straight: Straight, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(straight.folder, config.parent / "runs" / "run")
    going_on = ("--ckpt_path", "last", "--trainer.max_steps", "13")
    with pytest.raises(SystemExit):
        fit(config, "run", *OPTIONS, "--data.buckets", "false", *going_on)
    assert "buckets: the checkpoint has True, this run False" in capsys.readouterr().err


def test_loss_weights_change_what_is_learned_and_not_what_is_drawn(config: Path, straight: Straight) -> None:
    weights = ("--data.loss_weights", "{landscape: 0.1}")
    weighted = fit(config, "prior", *OPTIONS, "--trainer.max_steps", "3", *weights)
    assert Watch.draws == straight.draws[:12]
    assert not same(adapter(straight.folder, 3), adapter(weighted, 3))
