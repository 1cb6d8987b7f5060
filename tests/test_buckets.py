"""Whole runs on pictures of several shapes: buckets change shapes, and none of the promises."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.small_run import adapter, picture_folder, same, small_config
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
def config(tmp_path: Path, tiny_base: Path) -> Path:
    pictures = picture_folder(tmp_path / "pictures", portraits=12, landscapes=10, sizes=SIZES)
    return small_config(tmp_path, tiny_base, pictures)


def fit(config: Path, name: str, *options: str) -> Path:
    runs = config.parent / "runs"
    watching = "--trainer.callbacks+=tests.test_buckets.Watch"
    main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *options, watching])
    return runs / name


def test_a_draw_names_the_same_picture_with_and_without_buckets(config: Path) -> None:
    fit(config, "square", *OPTIONS, "--data.buckets", "false", "--trainer.max_steps", "8")
    square, squares = Watch.draws, Watch.shapes
    run = fit(config, "buckets", *OPTIONS, "--trainer.max_steps", "8")
    assert Watch.draws == square
    assert [draw for draw, _ in square] == list(range(32))
    assert {shape for batch in squares for shape in batch} == {(16, 16)}
    assert {shape for batch in Watch.shapes for shape in batch} == {(16, 16), (32, 8), (8, 32)}
    assert max(len(set(batch)) for batch in Watch.shapes) == 3
    assert (run / "samples/step_000008.png").exists()
    assert any(bool(t.any()) for name, t in load_file(run / "pytorch_lora_weights.safetensors").items())


@pytest.mark.parametrize(
    "more",
    [(), ("--data.num_workers", "2", "--trainer.accumulate_grad_batches", "2")],
    ids=["plain", "workers and accumulation"],
)
def test_stopping_and_going_on_equals_never_stopping(config: Path, more: tuple[str, ...]) -> None:
    straight = fit(config, "straight", *OPTIONS, *more)
    fit(config, "stopped", *OPTIONS, *more, "--trainer.max_steps", "5")
    stopped = fit(config, "stopped", *OPTIONS, *more, "--ckpt_path", "last")
    assert same(adapter(straight, 12), adapter(stopped, 12))
    assert (straight / "exposure.json").read_text() == (stopped / "exposure.json").read_text()


def test_the_log_is_whole_and_says_what_the_batches_were(
    config: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    run = fit(config, "buckets", *OPTIONS)
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    for tag in ("train/loss", "train/loss_group/portrait", "val/loss", "val/loss_group/landscape"):
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
        assert all(torch.isfinite(torch.tensor(event.value)) for event in events.Scalars(tag)), tag
    assert "exposure/realised/portrait" in tags
    assert not [str(w.message) for w in recwarn if "batch size" in str(w.message).lower()]
    printed = capsys.readouterr().out
    # pictures 0 to 21: sizes 0 and 3 are near the square, 1 and 4 tall, 2 wide
    assert "Pictures a size (width x height): 64x256 9, 128x128 9, 256x64 4" in printed
    ledger = json.loads((run / "exposure.json").read_text())
    assert (ledger["draws"], ledger["as_planned"]) == (48, True)
    assert ledger["groups"]["portrait"]["seen"] == 32


def test_a_resolution_that_is_no_multiple_of_64_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit(config, "run", *OPTIONS, "--data.resolution", "72")
    text = "data.resolution is 72; it must be a positive multiple of 64 with data.buckets."
    assert text in capsys.readouterr().err


def test_a_run_with_buckets_is_another_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(config, "run", *OPTIONS, "--trainer.max_steps", "1")
    with pytest.raises(SystemExit):
        fit(config, "run", *OPTIONS, "--data.buckets", "false", "--ckpt_path", "last")
    assert "buckets: the checkpoint has True, this run False" in capsys.readouterr().err


def test_loss_weights_change_what_is_learned_and_not_what_is_drawn(config: Path) -> None:
    fit(config, "plain", *OPTIONS, "--trainer.max_steps", "3")
    plain = Watch.draws
    weighted = fit(
        config, "prior", *OPTIONS, "--trainer.max_steps", "3", "--data.loss_weights", "{landscape: 0.1}"
    )
    assert Watch.draws == plain
    assert not same(adapter(config.parent / "runs/plain", 3), adapter(weighted, 3))
