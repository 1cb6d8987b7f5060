"""`python train.py plan` from the outside: what it says, its exit status, what it loads."""

from pathlib import Path

import pytest

from commands.plan.plan import parse_memory
from lightning_modules.base.families.sdxl import SDXL
from lightning_modules.memory.shapes import _configs
from tests.small_run import picture_folder, small_config
from tests.tiny_models import on_each_family
from train import main


@pytest.fixture
def config(tmp_path: Path, base: Path) -> Path:
    return small_config(tmp_path, base, picture_folder(tmp_path / "pictures"))


def plan(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit status and what was printed; the small config is for the CPU, the plans are for a card."""
    if "--trainer.accelerator" not in args:
        args = (*args, "--trainer.accelerator", "auto")
    if "--export.self_test" not in args:
        args = (*args, "--export.self_test", "true")
    with pytest.raises(SystemExit) as stop:
        main(["plan", *args])
    shown = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, shown.out, shown.err


@on_each_family
def test_it_says_each_part_of_each_phase_and_that_it_fits(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text, _ = plan(capsys, "--config", str(config), "--memory", "16GB")
    assert status == 0
    assert "batch 2 at 64x64, 32-true" in text
    phases = [
        line
        for line in text.splitlines()
        if line.startswith(("start:", "training", "held", "samples", "end"))
    ]
    assert len(phases) == 13
    head = next(line for line in text.splitlines() if line.startswith("MB at the peak"))
    assert head.split()[4:] == [
        "UNet",
        "adapter",
        "gradients",
        "optimizer",
        "encoders",
        "work",
        "tensors",
        "needs",
    ]
    assert "16.0 GB: FITS. As it is, without gradient checkpointing" in text
    assert "needs = tensors + 10% for the allocator and cuDNN, and 0.8 GB for CUDA's context" in text
    assert "Assumed: memory-efficient attention" in text
    assert "Main memory holds the base's networks, once, " in text
    assert text.splitlines()[-1].startswith("as it is")
    assert text.splitlines()[-1].count(" fits") == 2


def test_what_is_not_counted_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Distributed training's buckets, and texts of several windows."""
    buckets, windows = (
        "the gradients once more on each card",
        "longer ones (--model.long_captions windows) need",
    )
    _, text, _ = plan(capsys, "--config", str(config), "--trainer.devices", "1")
    assert buckets not in (shown := " ".join(text.split()))
    assert windows not in shown
    _, text, _ = plan(
        capsys, "--config", str(config), "--trainer.devices", "2", "--model.long_captions", "windows"
    )
    assert buckets in (shown := " ".join(text.split()))
    assert windows in shown


def test_what_is_too_large_is_status_1_and_the_settings_that_fit_are_marked(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny networks take 4 MB, CUDA 0.8 GB; 32 pictures of 256x256 some hundred MB."""
    sizes = ("--data.resolution", "256", "--data.batch_size", "32", "--trainer.accumulate_grad_batches", "2")
    status, text, _ = plan(capsys, "--config", str(config), *sizes, "--memory", "1GB")
    assert status == 1
    assert "1.0 GB: DOES NOT FIT" in text
    rows = {line.rpartition("  ")[0][:70].strip(): line for line in text.splitlines()[-4:]}
    assert " no" in rows["as it is"]
    small = "--data.batch_size 1 --trainer.accumulate_grad_batches 64"
    assert rows[small].count(" fits") == 2
    assert any(name.startswith("--trainer.precision 16-mixed") for name in rows)


def test_where_nothing_fits_that_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--config", str(config), "--memory", "0.5GB", "--trainer.precision", "16-mixed")
    status, text, _ = plan(capsys, *given, "--data.resolution", "512")
    assert status == 1
    assert "None of these fits: take a smaller --data.resolution, or a smaller base." in text


def test_a_smaller_resolution_is_no_advice_where_the_export_check_is_what_does_not_fit(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training at 64x64 needs less than the check, whose pictures have a size of their own."""
    given = ("--config", str(config), "--memory", "0.5GB", "--trainer.precision", "16-mixed")
    status, text, _ = plan(capsys, *given)
    assert status == 1
    assert "None of these fits: take --export.self_test false, or a smaller base." in text


def test_without_a_card_there_is_no_verdict(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = plan(capsys, "--config", str(config))
    assert status == 0
    assert "Name a card to compare with, such as --memory 16GB." in text
    assert "FIT" not in text


def test_auto_goes_by_the_memory_that_was_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auto = ("--config", str(config), "--model.gradient_checkpointing", "auto")
    assert (
        "As it is, without gradient checkpointing (--model.gradient_checkpointing auto)"
        in (plan(capsys, *auto, "--memory", "16GB")[1])
    )
    assert "As it is, with gradient checkpointing" in plan(capsys, *auto, "--memory", "0.1GB")[1]


def test_a_precision_that_this_machine_lacks_can_be_planned(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text, _ = plan(capsys, "--config", str(config), "--trainer.precision", "16", "--memory", "16")
    assert status == 0
    assert "16-mixed" in text


def test_main_memory_is_planned_for_the_cpu(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = plan(capsys, "--config", str(config), "--trainer.accelerator", "cpu")
    assert status == 0
    assert "on the CPU" in text
    assert "FITS" in text  # compared with this machine's memory
    assert "CUDA" not in text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GB", 16_000_000_000),
        ("16", 16_000_000_000),
        ("16 GiB", 17_179_869_184),
        ("15.8g", 15_800_000_000),
        ("8000MB", 8_000_000_000),
        (None, None),
    ],
)
def test_amounts_of_memory(text: str | None, size: int | None) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("given", ["much", "0", "-4GB", "16TB", "16000", "", "1e9"])
def test_no_amount_of_memory(given: str) -> None:
    with pytest.raises(ValueError, match="it must be the memory of a card, such as 16GB, 16GiB or 16000MB"):
        parse_memory(given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--memory",), "--memory needs a value behind it, such as 16GB."),
        (("--memory", "--data.folder", "x"), "--memory needs a value behind it, such as 16GB."),
        (("--memory", "lots"), "--memory is 'lots'; it must be the memory of a card"),
        (("--config", "none.yaml"), "--config none.yaml: there is no such file"),
        (("--memry", "16GB"), "there is no option --memry."),
        (("--data.batch_sise", "2"), "there is no option --data.batch_sise. Did you mean --data.batch_size?"),
        (("--model.gradient_checkpointing", "maybe"), "it must be true or false, or one of auto"),
        (
            ("--config", "configs/ghibli.yaml", "--model.base_model", "nowhere"),
            "--model.base_model nowhere: there is no such folder or file.",
        ),
        (
            ("--trainer.precision", "64-true"),
            "--trainer.precision is 64-true; valid here: 32-true, bf16-mixed",
        ),
        (("--model.lora.target_modules", "[to_qq]"), "--model.lora.target_modules has 'to_qq'"),
    ],
)
def test_wrong_use_is_met_with_help(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = plan(capsys, *options)
    assert status == 2
    assert words in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "base",
    [
        "OnomaAIResearch/Illustrious-xl-early-release-v0",
        "Laxhar/noobai-XL-1.1",
        "Laxhar/noobai-XL-Vpred-1.0",
        "cagliostrolab/animagine-xl-4.0",
        "stabilityai/stable-diffusion-xl-base-1.0",
    ],
)
def test_well_known_xl_bases_are_known_before_anything_is_fetched(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    family, _, source = _configs(base, None)
    assert family is SDXL
    assert (
        source
        == f"{base} isn't on this machine; assumed: the shapes of Stable Diffusion XL, to which it belongs"
    )
