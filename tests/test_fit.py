"""One whole run through the command line on the tiny base: what it makes and what it says."""

import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from demo.style_set import paint_style_set
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.ldm_checkpoint import save_sdxl_checkpoint
from tests.small_run import adapter, picture_folder, same, small_config
from train import main


@pytest.fixture
def config(tmp_path: Path, tiny_base: Path) -> Path:
    return small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))


def fit(config: Path, *options: str, runs: str = "runs") -> Path:
    folder = config.parent / runs
    main(["fit", "--config", str(config), "--runs", str(folder), *options])
    return folder / "small"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A run to its end, with its exports painted, and what it printed in `said.txt`; read only."""
    folder = tmp_path_factory.mktemp("run")
    config = small_config(folder, tiny_base, picture_folder(folder / "pictures"))
    with (folder / "said.txt").open("w") as said, redirect_stdout(said):
        run = fit(config, "--export.self_test", "true")
    (folder / "said.txt").rename(run / "said.txt")
    return run


def scalars(run: Path) -> dict[str, list[int]]:
    """Steps of every scalar in the run's events."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_run_makes_what_the_readme_lists(run: Path) -> None:
    for path in (
        "pytorch_lora_weights.safetensors",
        "small_kohya.safetensors",
        "README.md",
        "config.yaml",
        "samples",
        "exports",
    ):
        assert (run / path).exists(), path
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {f"step_{step:06}.ckpt" for step in (0, 3, 6, 9, 12)} | {"best.ckpt"}


def test_training_is_deterministic_and_fills_no_new_memory(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    step = StableDiffusionLora.training_step

    def watched(self: StableDiffusionLora, *args: Any) -> Any:
        filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        seen.append((torch.are_deterministic_algorithms_enabled(), filling))
        return step(self, *args)

    monkeypatch.setattr(StableDiffusionLora, "training_step", watched)
    fit(config, "--trainer.max_steps=1")
    assert set(seen) == {(True, False)}
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_a_checkpoint_is_the_adapter_and_nothing_of_the_base(run: Path) -> None:
    checkpoint = torch.load(run / "checkpoints/step_000012.ckpt", weights_only=True)
    assert all("lora_" in name for name in checkpoint["state_dict"])
    numbers = sum(tensor.numel() for tensor in checkpoint["state_dict"].values())
    assert (
        run / "checkpoints/step_000012.ckpt"
    ).stat().st_size < 3 * 4 * numbers + 300_000  # weights, Adam's two moments


def test_the_exported_file_holds_the_checkpoints_adapter(run: Path) -> None:
    exported = load_file(run / "pytorch_lora_weights.safetensors")
    trained = adapter(run, 12)
    assert exported.keys() == {f"unet.{name}" for name in trained}
    assert all(torch.equal(exported[f"unet.{name}"], tensor) for name, tensor in trained.items())


def test_tensorboard_has_the_story(run: Path) -> None:
    steps = scalars(run)
    for tag in (
        "train/loss",
        "train/loss_smooth",
        "train/grad_norm",
        "lr",
        "val/loss",
        "speed/samples_per_second",
    ):
        assert tag in steps, sorted(steps)
    assert steps["train/loss"] == sorted(set(steps["train/loss"]))
    assert len(steps["val/loss"]) == 3


def test_no_step_is_logged_twice_after_a_resume(config: Path) -> None:
    run = fit(config, "--trainer.max_steps", "5")
    (
        run / "checkpoints/step_000005.ckpt"
    ).unlink()  # as if the run had been killed after step 5: it goes on from 3
    fit(config, "--ckpt_path", "last", "--trainer.max_steps", "7")
    for tag, steps in scalars(run).items():
        assert steps == sorted(set(steps)), tag


def test_the_end_says_what_was_made_and_what_to_do_next(run: Path) -> None:
    printed = (run / "said.txt").read_text()
    for words in (
        str(run / "pytorch_lora_weights.safetensors"),
        "ComfyUI",
        "tensorboard --logdir",
        "--ckpt_path last",
    ):
        assert words in printed, words


def test_without_held_out_pictures_samples_go_on_and_no_best_is_claimed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(config, "--data.holdout_fraction", "0", "--trainer.max_steps", "4")
    assert {path.name for path in (run / "samples").glob("*.png")} == {"step_000000.png", "step_000004.png"}
    assert not (run / "checkpoints/best.ckpt").exists()
    assert "no held-out pictures" in capsys.readouterr().out


def test_a_base_whose_config_declares_the_wrong_prediction_type_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "flipped"
    shutil.copytree("demo/base", base)
    scheduler = base / "scheduler" / "scheduler_config.json"
    settings = json.loads(scheduler.read_text())
    assert settings["prediction_type"] == "v_prediction"
    scheduler.write_text(json.dumps(settings | {"prediction_type": "epsilon"}))
    paint_style_set(tmp_path / "pictures", workers=1, portraits=3, landscapes=3, size=128)
    config = small_config(tmp_path, base, tmp_path / "pictures")
    with pytest.raises(SystemExit) as stop:
        fit(config, "--data.resolution", "128")
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "epsilon" in printed
    assert "v_prediction" in printed


def test_zero_terminal_snr_with_epsilon_is_refused(
    tmp_path: Path, tiny_base_sd1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path, tiny_base_sd1, picture_folder(tmp_path / "pictures"))
    with pytest.raises(SystemExit):
        fit(config, "--model.zero_terminal_snr", "true")
    assert "--model.zero_terminal_snr is on but the base predicts epsilon" in capsys.readouterr().err


def test_a_precision_that_cannot_train_the_adapter_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit(config, "--trainer.precision", "bf16-true")
    assert "valid here: 32-true, bf16-mixed, 16-mixed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ("--trainer.precision", "bf16-mixed"),
        (
            "--model.lora.use_rslora",
            "true",
            "--model.min_snr_gamma",
            "null",
            "--model.timestep_sampling",
            "logit_normal",
        ),
        ("--model.zero_terminal_snr", "true", "--model.noise_offset", "0.1"),
        ("--model.optimizer", "torch.optim.Muon"),
        ("--model.optimizer", "torch.optim.Adafactor"),
    ],
    ids=["bf16", "rslora", "zero terminal", "Muon", "Adafactor"],
)
def test_the_options_train(config: Path, options: tuple[str, ...]) -> None:
    run = fit(config, "--trainer.max_steps", "3", *options)
    assert any(bool(tensor.any()) for name, tensor in adapter(run, 3).items() if "lora_B" in name)


def test_clipping_clips_at_every_step(config: Path) -> None:
    """With SGD at rate 1 the adapter can't move further than the sum of the clipped norms."""
    run = fit(
        config,
        *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1"),
        *("--model.optimizer.weight_decay", "0"),
        *("--trainer.gradient_clip_val", "0.001", "--trainer.max_steps", "3"),
    )
    before, after = adapter(run, 0), adapter(run, 3)
    moved = torch.stack([(after[name] - before[name]).norm() for name in before]).norm().item()
    assert 0 < moved <= 0.003


def test_gradient_checkpointing_changes_nothing_but_memory(config: Path, run: Path) -> None:
    start, plain = adapter(run, 0), adapter(run, 3)
    other = adapter(fit(config, "--trainer.max_steps", "3", "--model.gradient_checkpointing", "true"), 3)
    assert all(torch.allclose(plain[name], other[name], atol=1e-6) for name in plain)
    assert not all(torch.allclose(start[name], other[name], atol=1e-6) for name in start)


def test_a_bad_folder_is_told_whole_before_the_model_loads(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    for weights in (base / "unet").glob("*.safetensors"):
        weights.unlink()
    pictures = picture_folder(tmp_path / "pictures")
    (pictures / "03.png").write_bytes(b"")
    (pictures / "05.png").write_text("not a picture")
    with pytest.raises(SystemExit) as stop:
        fit(small_config(tmp_path, base, pictures))
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "03.png" in printed
    assert "05.png" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("where", ["training_step", "validation_step"])
def test_a_run_that_fills_the_memory_says_what_to_change(
    config: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(StableDiffusionLora, where, full)
    with pytest.raises(SystemExit) as stopped:
        fit(config, "--samples.prompts=null")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "error: the GPU's memory is full (CUDA out of memory. Tried to allocate 2.00 GiB.)" in said
    for way_out in ("--data.batch_size 1", "--data.validation_batch_size 1", "python train.py plan"):
        assert way_out in said


@pytest.mark.parametrize(
    ("marks", "prediction_type"),
    [((), "epsilon"), (("v_pred", "ztsnr"), "v_prediction")],
    ids=["epsilon", "v, zero terminal"],
)
def test_a_run_from_a_single_file_is_that_from_its_folder(
    tmp_path: Path, tiny_sdxl: Path, marks: tuple[str, ...], prediction_type: str
) -> None:
    """The folder says in its scheduler's config what the file says by its marks."""
    file = save_sdxl_checkpoint(tiny_sdxl, tmp_path / "model.safetensors", *marks)
    folder = shutil.copytree(tiny_sdxl, tmp_path / "folder")
    scheduler = folder / "scheduler/scheduler_config.json"
    settings = json.loads(scheduler.read_text())
    words = {"prediction_type": prediction_type, "rescale_betas_zero_snr": "ztsnr" in marks}
    scheduler.write_text(json.dumps(settings | words))
    short = ("--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--samples.prompts", "[]")
    config = small_config(tmp_path, folder, picture_folder(tmp_path / "pictures"))
    of_folder = fit(config, *short, runs="of_folder")
    from_file = ("--model.base_model", str(file), "--model.base_config", str(tiny_sdxl))
    of_file = fit(config, *short, *from_file, runs="of_file")
    assert same(adapter(of_folder, 2), adapter(of_file, 2))
    said = torch.load(of_file / "checkpoints/step_000002.ckpt", weights_only=True)["fingerprint"]
    assert said["prediction type"] == prediction_type
