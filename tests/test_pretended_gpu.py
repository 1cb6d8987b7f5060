"""On a GPU: everything is where it has to be, and a step waits for the card no more often than is said here.

There is no card: see `tests/pretended_gpu.py`. What only a real one can tell is in `tests/test_gpu.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

import train
from callbacks.graceful_stop import STOPPED_EARLY
from foundation.transfer import to_device, to_host
from lightning_modules.base import offload
from lightning_modules.base.offload import ROOM
from tests.pretended_gpu import MixedDevicesError, PretendedGpu, UnfinishedCopyError
from tests.small_run import adapter, picture_folder, same, small_config, without_exports
from tests.tiny_models import on_each_family

WAITS = {
    "32-true": ["callbacks/loss_guard.py", "callbacks/training_log.py"],
    "bf16-mixed": ["callbacks/loss_guard.py", "callbacks/training_log.py"],
    "16-mixed": [
        "callbacks/loss_guard.py",
        "callbacks/training_log.py",
        "lightning/pytorch/plugins/precision/amp.py",
    ],
}
"""What waits for the card in an optimizer step, once each: are its batches bad, what is logged, and in fp16 whether
a gradient overflowed."""

SAVING = {
    "callbacks/checkpoints.py": 2,  # is the adapter finite? the optimizer's state
    "lightning_modules/lora/ema.py": 1,
    "lightning_modules/lora/layers.py": 3,  # for the checkpoint, and for each of its two exports
    "lightning/pytorch/plugins/precision/amp.py": 2,
}
"""What waits for the card when a checkpoint and its exports are written, and how often."""

VALIDATING = {
    "lightning_modules/diffusion/held_out_loss.py": 1,
    "lightning_modules/painting/sampling.py": 2,  # are the latents finite? the picture
    "lightning_modules/base/offload.py": 180,  # the weights of VAE and text encoder, to the card and not back
    "callbacks/best_checkpoint.py": 1,  # is it the best?
    "callbacks/checkpoints.py": 2,  # as any checkpoint
    "callbacks/validation_line.py": 1,  # the loss that it prints
    "lightning_modules/lora/ema.py": 1,
    "lightning_modules/lora/layers.py": 3,
}
"""What waits in a validation with one sample, and in saving the best."""

STEPS = ("--trainer.max_steps", "6", "--trainer.limit_val_batches", "0", "--checkpoints.every_n_steps", "100")


class CountSteps(L.Callback):
    """Tells the card which optimizer step goes on."""

    gpu: PretendedGpu

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """The next one begins."""
        self.gpu.phase = f"step {trainer.global_step + 1}"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """A T4."""
    with PretendedGpu() as card:
        monkeypatch.setattr(CountSteps, "gpu", card, raising=False)
        yield card


@pytest.fixture
def newer_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """A card that has bf16."""
    with PretendedGpu("NVIDIA A10", capability=(8, 6), total_memory=24_000_000_000) as card:
        monkeypatch.setattr(CountSteps, "gpu", card, raising=False)
        yield card


@pytest.fixture
def config(tmp_path: Path, base: Path) -> Path:
    return config_on_gpu(tmp_path, base)


def config_on_gpu(folder: Path, base: Path, sizes: Sequence[tuple[int, int]] = ((64, 64), (96, 48))) -> Path:
    """A small run on whatever accelerator there is."""
    path = small_config(folder, base, picture_folder(folder / "pictures", sizes=sizes))
    path.write_text(path.read_text().replace("accelerator: cpu", "accelerator: auto"))
    return path


def fit(config: Path, *options: str, name: str = "run", counting: bool = True) -> Path:
    runs = config.parent / "runs"
    count = ("--trainer.callbacks", f"{__name__}.CountSteps") if counting else ()
    train.main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *count, *options])
    return runs / name


def waits_of_step(gpu: PretendedGpu, number: int) -> list[str]:
    """The files of this project, or the library, that waited for the card in an optimizer step."""
    found = []
    for (phase, _, line), count in gpu.waits.items():
        if phase == f"step {number}":
            found += [line.split(" via ")[-1].partition(":")[0]] * count
    return sorted(found)


def assert_steps_wait(gpu: PretendedGpu, precision: str, steps: Sequence[int] = (4, 5)) -> None:
    """Steps behind which nothing is validated or saved, when all adapters are known to learn."""
    found = {number: waits_of_step(gpu, number) for number in steps}
    assert found == dict.fromkeys(found, WAITS[precision]), gpu.report()


@on_each_family
def test_fp16_with_a_moving_average_and_captions_that_vary(
    gpu: PretendedGpu, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    varied = ("--data.captions.shuffle_tags", "true", "--data.captions.tag_dropout", "0.2")
    bare = ("--checkpoints.every_n_steps", "5", "--samples.prompts", "[]")  # nothing else moves the average
    fit(config, "--trainer.precision", "16-mixed", "--model.ema_decay", "0.9", *STEPS, *varied, *bare)
    assert_steps_wait(gpu, "16-mixed")
    saved = Counter(waits_of_step(gpu, 6)) - Counter(WAITS["16-mixed"])
    assert saved == SAVING, gpu.report()
    assert "left out" not in capsys.readouterr().out  # no step overflowed


@on_each_family
def test_bf16_with_batches_of_several_shapes(newer_gpu: PretendedGpu, tmp_path: Path, base: Path) -> None:
    """Three buckets; a resolution of 64 would have one."""
    config = config_on_gpu(tmp_path, base, sizes=[(128, 128), (256, 64), (64, 256)])
    shapes = ("--data.resolution", "128", "--data.buckets", "true")
    run = fit(config, "--trainer.precision", "bf16-mixed", *shapes, *STEPS)
    assert_steps_wait(newer_gpu, "bf16-mixed")
    assert waits_of_step(newer_gpu, 2) == ["callbacks/adapter_learns.py", *WAITS["bf16-mixed"]]
    assert any(bool(tensor.any()) for name, tensor in adapter(run, 6).items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("base", "room"), [("tiny_base", ROOM), ("tiny_sdxl", 0)], ids=["stays", "XL leaves"]
)
def test_float32_stopped_and_gone_on_trains_what_the_cpu_trains(
    base: str, room: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With validations, samples and the test of the exports; the pretended card computes as the CPU does.

    Without room for visitors beside it, the UNet leaves for each.
    """
    config = config_on_gpu(tmp_path, request.getfixturevalue(base))
    monkeypatch.setattr(offload, "ROOM", room)
    short = ("--trainer.max_steps", "8", "--model.ema_decay", "0.9")
    with without_exports():
        on_cpu = fit(config, *short, name="cpu", counting=False)
    with PretendedGpu() as gpu:
        monkeypatch.setattr(CountSteps, "gpu", gpu, raising=False)
        run = fit(config, *short, "--export.self_test", "true")
        assert_steps_wait(gpu, "32-true", steps=[6])
        validated = Counter(waits_of_step(gpu, 5)) - Counter(WAITS["32-true"])
        ours = {who: count for who, count in validated.items() if not who.startswith("lightning/")}
        assert ours == VALIDATING or (not room and ours.keys() == VALIDATING.keys())
        with without_exports():
            with pytest.raises(SystemExit) as stop:
                fit(config, *short, "--max_minutes", "0.000001", name="stopped")
            assert stop.value.code == STOPPED_EARLY
            gone_on = fit(config, *short, "--ckpt_path", "last", name="stopped")
    assert same(adapter(gone_on, 8), adapter(run, 8))
    assert same(adapter(on_cpu, 8), adapter(run, 8))
    grids = sorted(path.name for path in (on_cpu / "samples").glob("*.png"))
    assert grids
    for name in grids:  # copies of weights may lie otherwise in memory, by which the last bits of a sum go
        here, there = (np.asarray(Image.open(run / "samples" / name), dtype=int) for run in (on_cpu, run))
        assert np.abs(here - there).max() <= (0 if room else 1)


def test_the_other_commands(gpu: PretendedGpu, config: Path, tmp_path: Path) -> None:
    run = fit(config, "--trainer.max_steps", "2", "--trainer.limit_val_batches", "0")
    small = ("--steps", "2", "--trainer.accelerator", "auto")
    train.main(["predict", "--lora", str(run), "--prompt", "portrait of the sea", *small])
    assert list((run / "pictures").glob("*.png"))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        '{"prompt": "a girl", "group": "portrait"}\n{"prompt": "hills", "group": "landscape"}\n'
    )
    train.main(["test", "--lora", str(run), "--prompts", str(prompts), "--clip", "demo/clip", *small])
    assert (run / "report" / "metrics.json").exists()
    train.main(["export", "--ckpt_path", str(run)])
    train.main(["merge", "--ckpt_path", str(run), "--output", str(tmp_path / "merged")])
    assert (tmp_path / "merged" / "unet" / "diffusion_pytorch_model.safetensors").exists()


# ---------------------------------------------------------------------- the pretended card itself


def test_tensors_of_two_devices_meet_in_an_error(gpu: PretendedGpu) -> None:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    with pytest.raises(MixedDevicesError, match="at least two devices"):
        there + here
    with pytest.raises(MixedDevicesError, match="at least two devices"):
        here.add_(there[0])
    assert (there * torch.tensor(2.0)).device == torch.device("cuda", 0)  # a number may join
    assert not gpu.waits


def test_gradients_are_where_their_tensors_are(gpu: PretendedGpu) -> None:
    weight = torch.ones(3, device="cuda", requires_grad=True)
    (weight * 2).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.is_cuda


def test_a_generator_of_the_cpu_draws_nothing_for_the_card(gpu: PretendedGpu) -> None:
    source = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.randn(3, generator=source, device="cuda")
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.empty(3, device="cuda").normal_(generator=source)
    assert torch.randn(3, generator=source).device.type == "cpu"


def test_what_waits(gpu: PretendedGpu) -> None:
    there = torch.arange(3.0).pin_memory().to("cuda", non_blocking=True)
    assert not gpu.waits
    ways: list[Callable[[], Any]] = [
        lambda: there.sum().item(),
        lambda: bool(there.any()),
        lambda: there.tolist(),
        lambda: there.cpu(),
        lambda: there.nonzero(),
        lambda: there[[0, 1]],
        lambda: torch.ones(3).to("cuda"),
        lambda: torch.ones(3).to("cuda", non_blocking=True),  # not pinned
        lambda: torch.ones(3).pin_memory().to("cuda"),
        lambda: torch.tensor([1.0], device="cuda"),
        lambda: there.copy_(torch.ones(3)),
    ]
    for number, way in enumerate(ways, start=1):
        way()
        assert sum(gpu.waits.values()) == number, gpu.report()


def test_float16_overflows_and_loses_what_is_small(gpu: PretendedGpu) -> None:
    large = torch.full((4, 4), 300.0, device="cuda", dtype=torch.float16)
    product = large @ large  # 4 x 300 x 300 = 360000
    assert product.dtype == torch.float16
    assert bool(product.isinf().all())
    assert float(torch.tensor(2e-8, device="cuda").half()) == 0.0


def test_rows_that_share_memory_go_there_without_waiting(gpu: PretendedGpu) -> None:
    """CUDA pins no expanded tensor."""
    rows = torch.arange(3.0).expand(2, -1)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        rows.pin_memory()
    there = to_device(rows, torch.device("cuda"))
    assert there.is_cuda
    assert not gpu.waits
    assert there.tolist() == [[0.0, 1.0, 2.0]] * 2


def test_a_copy_to_the_host_is_read_when_it_is_done(gpu: PretendedGpu) -> None:
    there = to_device(torch.arange(3.0), torch.device("cuda"))
    assert not gpu.waits
    early = there.to("cpu", non_blocking=True)
    with pytest.raises(UnfinishedCopyError):
        early + 1
    copies: Any = to_host({"a": there, "b": [there * 2, "text"]})
    assert sum(gpu.waits.values()) == 1
    assert copies["a"].tolist() == [0.0, 1.0, 2.0]
    assert copies["b"][0].tolist() == [0.0, 2.0, 4.0]
    assert copies["b"][1] == "text"


def test_what_goes_to_the_cpu_is_there_when_it_is_read(gpu: PretendedGpu) -> None:
    there = to_device(torch.arange(3.0), torch.device("cuda"))
    assert to_device(there, "cpu").tolist() == [0.0, 1.0, 2.0]
    assert sum(gpu.waits.values()) == 1


def test_outside_of_it_the_cpu_is_itself_again() -> None:
    with PretendedGpu():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    assert torch.ones(1).to("cpu").device.type == "cpu"
