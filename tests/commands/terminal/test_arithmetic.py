"""Kernels and TF32 by the device of each process: nothing of the CPU's choice goes along to a card."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from commands.terminal.arithmetic import arithmetic_restored, kernels, use_tf32
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.pretended_gpu import PretendedGpu
from tests.small_run import picture_folder, small_config
from train import main


def decided(accelerator: str, *, buckets: bool = False, **given: Any) -> tuple[Any, Any]:
    options = {"accelerator": accelerator, "deterministic": None, "benchmark": None, **given}
    found = kernels(options, buckets=buckets)
    return found["deterministic"], found["benchmark"]


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_on_the_cpu_kernels_repeat_themselves(accelerator: str) -> None:
    assert decided(accelerator) == ("warn", None)
    assert decided(accelerator, deterministic=False) == (False, None)
    assert decided(accelerator, deterministic=True) == (True, None)


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_on_a_card_they_are_the_fastest_unless_asked_otherwise(accelerator: str) -> None:
    with PretendedGpu():
        assert decided(accelerator) == (False, True)
        assert decided(accelerator, buckets=True) == (False, False)
        assert decided(accelerator, buckets=True, benchmark=True) == (False, True)
        assert decided(accelerator, benchmark=False) == (False, False)
        assert decided(accelerator, deterministic=True) == (True, None)
        assert decided(accelerator, deterministic="warn") == ("warn", None)
        assert decided("cpu") == ("warn", None)


@pytest.mark.parametrize(
    ("capability", "accelerator", "precision"),
    [
        ((7, 5), "auto", "highest"),
        ((8, 0), "auto", "high"),
        ((8, 9), "gpu", "high"),
        ((12, 0), "cuda", "high"),
        ((8, 0), "cpu", "highest"),
    ],
)
def test_tf32_is_for_cards_that_have_it(
    capability: tuple[int, int], accelerator: str, precision: str, recwarn: pytest.WarningsRecorder
) -> None:
    with arithmetic_restored(), PretendedGpu(capability=capability):
        use_tf32(accelerator)
        assert torch.get_float32_matmul_precision() == precision
    assert torch.get_float32_matmul_precision() == "highest"
    assert not recwarn.list


def test_without_a_card_there_is_no_tf32() -> None:
    use_tf32("auto")
    assert torch.get_float32_matmul_precision() == "highest"


def flags() -> tuple[bool, bool, str]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )


def test_a_run_computes_as_its_device_does_also_on_a_resume(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the CPU, on a card by the config that the CPU has written, on the CPU by the card's, and as asked."""
    config = small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))
    runs, written = tmp_path / "runs", tmp_path / "runs" / "small" / "config.yaml"
    seen: list[tuple[bool, bool, str]] = []
    step = StableDiffusionLora.training_step

    def watched(self: StableDiffusionLora, *args: Any) -> Any:
        seen.append(flags())
        return step(self, *args)

    monkeypatch.setattr(StableDiffusionLora, "training_step", watched)

    def fit(config: Path, steps: int, *options: str) -> tuple[bool, bool, str]:
        ends = ("--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "0")
        main(["fit", "--config", str(config), "--runs", str(runs), "--name", "small", *ends, *options])
        assert "trainer.deterministic:" not in capsys.readouterr().out  # what a resume says of a change
        [only] = set(seen)
        seen.clear()
        return only

    fresh = fit(config, 1, "--trainer.accelerator", "auto", "--export.self_test", "false")
    assert fresh == (True, False, "highest")
    assert yaml.safe_load(written.read_text())["trainer"]["deterministic"] is None
    with PretendedGpu(capability=(8, 0)):
        assert fit(written, 2, "--ckpt_path", "last") == (False, True, "high")
    assert yaml.safe_load(written.read_text())["trainer"]["benchmark"] is None
    assert fit(written, 3, "--ckpt_path", "last") == (True, False, "highest")
    with PretendedGpu(capability=(7, 5)):
        asked = fit(written, 1, "--name", "asked", "--trainer.deterministic", "warn")
    assert asked == (True, False, "highest")
    assert flags()[1:] == (False, "highest")
