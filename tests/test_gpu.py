"""The default run on a CUDA card, in both 16-bit precisions: `pytest -m gpu`; skipped where there is none.

`configs/demo.yaml` with fewer pictures and steps. What a card may do differently from the CPU is rounding: 16-bit
arithmetic, and sums in another order from run to run. Each tolerance says where it is from.
"""

import contextlib
import io
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from demo.style_set import paint_style_set
from tests.small_run import adapter
from train import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card here"),
]

STEPS = 12
HALFWAY = 6
PRECISIONS = ("16-mixed", "bf16-mixed")
PROMPTS = ("portrait of a girl with long red hair, green eyes, smiling", "landscape of mountains, sunset sky")
LITTLE_MEMORY = 1_000_000_000
"""Bytes: by `plan`, the tensors of the default run are a tenth of it, of a batch of 512 four times it."""


def needs(precision: str) -> None:
    """Skip what this card can't do."""
    if precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip(f"this card ({torch.cuda.get_device_name()}) has no bf16")


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its options, what it said and warned of."""

    folder: Path
    options: list[str]
    said: str


def fit(*options: str) -> str:
    """Run the command; returns everything that it said, warnings among it."""
    said = io.StringIO()
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(said):
        warnings.simplefilter("always")
        main(["fit", *options])
    return "\n".join([said.getvalue(), *(str(one.message) for one in warned)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With 18 pictures, and all runs."""
    folder = tmp_path_factory.mktemp("card")
    paint_style_set(folder / "pictures", portraits=12, landscapes=6, size=128)
    return folder


def options_of(folder: Path, precision: str) -> list[str]:
    return [
        "--config=configs/demo.yaml",
        f"--runs={folder / 'runs'}",
        f"--data.folder={folder / 'pictures'}",
        f"--data.cache_folder={folder / 'cache'}",
        f"--trainer.precision={precision}",
        f"--trainer.max_steps={STEPS}",
        f"--trainer.val_check_interval={HALFWAY}",
        f"--checkpoints.every_n_steps={HALFWAY}",
    ]


@pytest.fixture(scope="module", params=PRECISIONS)
def run(request: pytest.FixtureRequest, folder: Path) -> Run:
    """The default run, from its start to its end."""
    precision: str = request.param
    needs(precision)
    options = options_of(folder, precision)
    said = fit(*options, f"--name={precision}")
    return Run(folder / "runs" / precision, options, said)


@pytest.fixture
def options(folder: Path) -> list[str]:
    """Of a short run that paints nothing, in the precision that every card has."""
    return [
        *options_of(folder, "16-mixed"),
        "--samples.prompts=null",
        "--clip_score.model=null",
        "--export.self_test=false",
    ]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Inside, PyTorch has as much of the card as `LITTLE_MEMORY`, and its errors are the real ones."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        LITTLE_MEMORY / torch.cuda.get_device_properties(0).total_memory
    )
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([state[name].float().cpu().flatten() for name in sorted(state)])


def test_the_default_run_trains_paints_and_exports(run: Run) -> None:
    """Every part of it; the exported files paint what memory paints, on the card."""
    assert f"Done: {STEPS} steps" in run.said
    assert run.said.count("in a fresh stock pipeline the adapter") == 2
    for trouble in ("could not be", "couldn't be tested", "failed its test", "were left out"):
        assert trouble not in run.said
    before, after = (flat(adapter(run.folder, step)) for step in (0, STEPS))
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    assert len(list((run.folder / "samples").glob("step_*.png"))) == 3  # at 0, 6 and 12


def paint(run: Run, output: Path, accelerator: str, precision: str) -> list[np.ndarray]:
    """The prompts with the run's adapter, as numbers in [0, 1]."""
    prompts = output.with_suffix(".txt")
    prompts.write_text("\n".join(PROMPTS))
    machine = [f"--trainer.accelerator={accelerator}", f"--trainer.precision={precision}"]
    painting = ["--steps=20", "--guidance_scale=3", f"--prompts={prompts}", f"--output={output}"]
    main(["predict", f"--lora={run.folder}", *machine, *painting])
    return [np.asarray(Image.open(path)) / 255 for path in sorted(output.glob("*.png"))]


def test_it_paints_what_the_cpu_paints(run: Run, tmp_path: Path) -> None:
    """Within 0.01 in the mean over all colour values.

    That is eight times what bf16 differs from float32 on the CPU in these pictures (0.0013; fp16 0.0003), and a seventh
    of what another seed differs (0.07).
    """
    of_card = paint(run, tmp_path / "card", "gpu", run.folder.name)
    of_cpu = paint(run, tmp_path / "cpu", "cpu", "32-true")
    assert len(of_card) == len(of_cpu) == len(PROMPTS)
    for one, other in zip(of_card, of_cpu, strict=True):
        assert np.abs(one - other).mean() < 0.01


def test_a_resumed_run_goes_on_as_the_other_did(run: Run) -> None:
    """The same pictures as often, and the same adapter but for the order of sums.

    That order differs from run to run on a card, and AdamW makes whole steps of the smallest gradients: allowed is a
    fifth of the way that the adapter goes in these steps. Other noise, or other pictures, would be all of it.
    """
    again = run.folder.with_name(f"{run.folder.name}-resumed")
    shutil.copytree(run.folder, again)
    checkpoint = again / "checkpoints" / f"step_{HALFWAY:06}.ckpt"
    fit(*run.options, f"--name={again.name}", f"--ckpt_path={checkpoint}")
    start, expected, found = (
        flat(adapter(folder, step))
        for folder, step in ((run.folder, HALFWAY), (run.folder, STEPS), (again, STEPS))
    )
    assert (found - expected).norm() < 0.2 * (expected - start).norm()
    exposures = [json.loads((folder / "exposure.json").read_text()) for folder in (run.folder, again)]
    assert exposures[0] == exposures[1]


def test_a_run_that_is_stopped_goes_on_to_its_end(options: list[str], folder: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *options, "--name=stopped", "--max_minutes=0.0001"])
    assert stopped.value.code == 75
    said = fit(*options, "--name=stopped", "--ckpt_path=last")
    assert f"Done: {STEPS} steps" in said
    assert torch.isfinite(flat(adapter(folder / "runs" / "stopped", STEPS))).all()


class PoisonThirdBatch(L.Callback):
    """Its latents are no numbers."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict[str, torch.Tensor], batch_idx: int
    ) -> None:
        """Once."""
        if batch_idx == 2:
            batch["latent_mean"].fill_(float("nan"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_batch_of_nan_never_reaches_the_adapter(options: list[str], folder: Path, precision: str) -> None:
    needs(precision)
    name = f"nan-{precision}"
    said = fit(
        *options,
        f"--trainer.precision={precision}",
        f"--name={name}",
        "--loss_guard.on_bad_loss=skip",
        "--trainer.callbacks+=tests.test_gpu.PoisonThirdBatch",
    )
    assert "Step 3 was left out: the loss is nan" in said
    [report] = (folder / "runs" / name / "bad_batches").iterdir()
    assert json.loads(report.read_text())["batches"][0]["loss"] == "nan"
    assert torch.isfinite(flat(adapter(folder / "runs" / name, STEPS))).all()


@pytest.mark.usefixtures("little_memory")
def test_a_batch_that_does_not_fit_is_met_with_what_to_change(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *options, "--name=large", "--data.batch_size=512"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "error: the GPU's memory is full (CUDA out of memory" in said
    for way_out in ("--data.batch_size 1", "--model.gradient_checkpointing true", "python train.py plan"):
        assert way_out in said


@pytest.mark.usefixtures("little_memory")
def test_samples_that_do_not_fit_stop_no_training(options: list[str]) -> None:
    """A picture of 2048x2048: the VAE alone would hold more than there is."""
    large = "[{prompt: the sea, height: 2048, width: 2048, steps: 1}]"
    said = fit(*options, "--name=large-samples", f"--samples.prompts={large}")
    assert f"Done: {STEPS} steps" in said
    assert "Samples could not be painted (OutOfMemoryError: CUDA out of memory" in said
    assert "Give --samples.prompts a smaller height and width" in said
