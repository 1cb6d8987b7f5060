"""Whole runs with their latents and embeddings on disk, against runs without."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foundation.tensor_store import TensorStore
from lightning_modules import adapted_model, stable_diffusion_lora
from lightning_modules.base import latents
from lightning_modules.painting import sampling
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.small_run import adapter, picture_folder, same, small_config
from tests.tiny_models import on_each_family
from train import main

VERSIONS = 11 + 11 + 1  # of 12 pictures one is held out; those to train on are encoded mirrored too
CAPTIONS = 12 + 1  # and the empty one
SHORT = ("--trainer.max_steps", "4", "--checkpoints.every_n_steps", "4")


@pytest.fixture
def config(tmp_path: Path, base: Path) -> Path:
    return small_config(tmp_path, base, picture_folder(tmp_path / "pictures"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many pictures and captions were encoded."""
    counts = {"pictures": 0, "captions": 0}

    def count(method: str, what: str) -> None:
        plain: Callable[..., Any] = getattr(StableDiffusionLora, method)

        def counting(self: StableDiffusionLora, inputs: Any) -> Any:
            counts[what] += len(inputs)
            return plain(self, inputs)

        monkeypatch.setattr(StableDiffusionLora, method, counting)

    count("encode_images", "pictures")
    count("encode_text", "captions")
    return counts


def fit(config: Path, name: str, *options: str) -> Path:
    runs = config.parent / "runs"
    main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *SHORT, *options])
    return runs / name


def trace(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every loss that the run logged, with its step."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if "loss" in tag]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@on_each_family
def test_with_the_cache_and_without_the_run_is_the_same_and_a_second_one_encodes_nothing(
    config: Path, encoded: dict[str, int]
) -> None:
    """Bit for bit on one machine; between machines latents agree as far as their VAEs do (1e-5)."""
    without = fit(config, "without", "--data.cache_folder", "null")
    assert encoded == {"pictures": VERSIONS, "captions": CAPTIONS}
    assert not (config.parent / "cache").exists()
    first = fit(config, "first")
    assert encoded == {"pictures": 2 * VERSIONS, "captions": 2 * CAPTIONS}
    second = fit(config, "second")
    assert encoded == {"pictures": 2 * VERSIONS, "captions": 2 * CAPTIONS}
    assert same(adapter(without, 4), adapter(first, 4))
    assert same(adapter(without, 4), adapter(second, 4))
    assert len(trace(without)["train/loss"]) == 4
    assert trace(without) == trace(first) == trace(second)


def test_latents_that_are_read_in_loader_processes_are_the_same(
    config: Path, encoded: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit(config, "first")
    monkeypatch.setattr(TensorStore.__init__, "__kwdefaults__", {"memory": 0})
    second = fit(config, "second", "--data.num_workers", "2")
    assert encoded == {"pictures": VERSIONS, "captions": CAPTIONS}
    assert same(adapter(first, 4), adapter(second, 4))


def test_what_changed_is_encoded_again_and_nothing_else(
    config: Path, tiny_base: Path, encoded: dict[str, int]
) -> None:
    options = ("--data.holdout_fraction", "0", "--trainer.max_steps", "1")
    fit(config, "first", *options)
    encoded.update(pictures=0, captions=0)
    with (config.parent / "pictures/03.png").open("ab") as file:
        file.write(b"\0")
    fit(config, "a changed byte", *options)
    assert encoded == {"pictures": 2, "captions": 0}  # as it is, and mirrored
    metadata = config.parent / "pictures/metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("colour 5", "colour five"))
    fit(config, "a changed caption", *options)
    assert encoded == {"pictures": 2, "captions": 1}
    base = shutil.copytree(tiny_base, config.parent / "moved")
    fit(config, "the same base elsewhere", *options, "--model.base_model", str(base))
    assert encoded == {"pictures": 2, "captions": 1}
    fit(config, "another precision", *options, "--trainer.precision", "bf16-mixed")
    assert encoded == {"pictures": 2, "captions": 1 + CAPTIONS}  # the VAE is float32 in both


def test_frozen_models_are_away_while_training_and_there_for_their_work(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one device here: moves are noted, and each use must find its model brought."""
    present: dict[int, bool] = {}
    seen: list[str] = []

    def onload(model: torch.nn.Module, device: torch.device) -> None:
        present[id(model)] = True

    def offload(model: torch.nn.Module) -> None:
        present[id(model)] = False

    class Visit:
        def __init__(self, device: torch.device, *models: torch.nn.Module) -> None:
            self.before = {id(model): present.get(id(model), True) for model in models}

        def __enter__(self) -> None:
            present.update(dict.fromkeys(self.before, True))

        def __exit__(self, *error: object) -> None:
            present.update(self.before)

    monkeypatch.setattr(adapted_model, "onload", onload)
    monkeypatch.setattr(latents, "onload", onload)
    monkeypatch.setattr(stable_diffusion_lora, "offload", offload)
    monkeypatch.setattr(sampling, "onloaded", Visit)
    plain_load = StableDiffusionLora._load_parts

    def load(self: StableDiffusionLora) -> None:
        plain_load(self)
        for name, model in (("vae", self.vae), ("text", self.text_encoders)):
            parts: Any = (model.encoder, model.decoder) if name == "vae" else model.values()
            for part in parts:
                part.register_forward_pre_hook(
                    lambda *_, name=name, model=model: seen.append(
                        name if present.get(id(model), True) else f"{name} was away"
                    )
                )

    monkeypatch.setattr(StableDiffusionLora, "_load_parts", load)
    plain_step = StableDiffusionLora.training_step
    away: list[bool] = []

    def step(self: StableDiffusionLora, batch: Any, batch_idx: int) -> Any:
        away.append(not present[id(self.vae)] and not present[id(self.text_encoders)])
        return plain_step(self, batch, batch_idx)

    monkeypatch.setattr(StableDiffusionLora, "training_step", step)
    fit(config, "run", "--trainer.val_check_interval", "2")
    assert away == [True] * 4
    assert set(seen) == {"vae", "text"}
    assert seen.count("vae") > VERSIONS  # encoded, and painted at steps 0, 2 and 4


def test_a_dataset_that_vanishes_while_training_costs_nothing_and_is_named_at_the_next_start(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Latents are held in memory: the run needs its pictures for encoding only."""
    straight = adapter(fit(config, "straight"), 4)
    shutil.rmtree(config.parent / "cache")
    run = fit(config, "robbed", "--trainer.callbacks+=tests.small_run.LosePictures")
    assert not (config.parent / "pictures").exists()
    assert same(straight, adapter(run, 4))
    with pytest.raises(SystemExit) as stop:
        fit(config, "robbed", "--ckpt_path", "last", "--trainer.max_steps", "6")
    assert stop.value.code == 2
    assert str(config.parent / "pictures") in capsys.readouterr().err
