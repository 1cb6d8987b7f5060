"""What the step benchmark compares does the same work, and leaves the run alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.step
from benchmarks.floor import FloorStep, floor_inputs, floor_loss, gradient_scaler, mixed_precision
from benchmarks.interludes import FLOOR, FLOOR_AGAIN, OURS, SCRIPT, Interludes, in_turn, undisturbed
from benchmarks.measured_run import Measured
from benchmarks.step import arguments, fast_precisions, machine, settings, write
from benchmarks.step_table import HEADER, MiddleHalf, Result, Setting, ratio, table
from benchmarks.usual_script import ScriptStep
from datamodules.picture_folder import PictureFolder
from datamodules.pictures.decoding import read_part
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.small_run import adapter, picture_folder, same, small_config
from tests.tiny_adapters import acting_module
from train import main

SETTING = Setting("embedded", "32-true", 2, True)


@pytest.fixture
def module(tiny_base: Path) -> StableDiffusionLora:
    return acting_module(tiny_base)


def batch_of_two() -> dict[str, Any]:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return {
        "latent_mean": latents,
        "latent_std": latents.abs(),
        "caption": ["portrait of a girl", "the sea"],
        "draw": torch.tensor([4, 5]),
        "loss_weight": torch.tensor([1.0, 0.5]),
    }


def gradients(module: StableDiffusionLora) -> list[torch.Tensor]:
    found = [parameter.grad for parameter in module.trainable]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


def test_the_floor_has_the_loss_and_the_gradients_of_our_step(module: StableDiffusionLora) -> None:
    """Equal work: else a ratio would compare two different things."""
    ours = module.training_step(batch_of_two(), 0)["loss"]
    ours.backward()  # type: ignore[no-untyped-call]
    expected = gradients(module)
    module.zero_grad()
    floor = floor_loss(module.unet, floor_inputs(module, batch_of_two()))
    floor.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(floor, ours)
    assert all(torch.equal(a, b) for a, b in zip(gradients(module), expected, strict=True))


def test_the_floor_steps_as_the_runs_optimizer_would(module: StableDiffusionLora) -> None:
    """AdamW's first step moves each value by about the learning rate, 1e-4, against its gradient."""
    before = [parameter.detach().clone() for parameter in module.trainable]
    FloorStep(module, batch_of_two())()
    moved = [(a.detach() - b).abs().max().item() for a, b in zip(module.trainable, before, strict=True)]
    assert moved == pytest.approx([1e-4] * len(moved), rel=0.1)


@pytest.mark.parametrize(
    ("dtype", "scaled", "cast"),
    [
        (torch.float32, False, None),
        (torch.bfloat16, False, torch.bfloat16),
        (torch.float16, True, torch.float16),
    ],
)
def test_floor_and_script_compute_in_the_runs_precision(
    module: StableDiffusionLora, dtype: torch.dtype, scaled: bool, cast: torch.dtype | None
) -> None:
    """Autocast to the frozen weights' dtype, and a gradient scaler for fp16 alone, as the Trainer's plugin has them."""
    module.unet.to(dtype)
    assert gradient_scaler(module).is_enabled() == scaled
    with mixed_precision(module.unet, "cpu"):
        assert torch.is_autocast_enabled("cpu") == (cast is not None)
        assert cast is None or torch.get_autocast_dtype("cpu") == cast


def test_the_script_like_step_encodes_what_our_caches_hold(
    module: StableDiffusionLora, tmp_path: Path
) -> None:
    """Its posterior's draws stay within the posterior, and its embeddings are ours."""
    data = PictureFolder(str(picture_folder(tmp_path / "pictures")), resolution=64, cache_folder=None)
    data.setup()
    step = ScriptStep(module, data.training, 2)
    before = [parameter.detach().clone() for parameter in module.trainable]
    step()
    assert not any(torch.equal(a, b) for a, b in zip(module.trainable, before, strict=True))  # it was taken
    captions = ["portrait of a girl", "the sea"]
    assert torch.equal(
        step.read(captions), torch.stack([text.context for text in module.encode_text(captions)])
    )
    pictures = [read_part(record.path, 64, 64) for record in data.training[:2]]
    mean, std = module.encode_images(torch.stack(pictures))
    factor = float(module.vae.config.scaling_factor)
    assert ((step.encode(pictures) / factor - mean).abs() <= 6 * std + 1e-5).all()
    inputs = step.inputs(data.training[:2])
    assert inputs.x_t.shape == (2, 4, 8, 8)
    assert inputs.weight.shape == (2,)


def test_in_turn_begins_with_another_one_each_time() -> None:
    work = {"a": lambda: None, "b": lambda: None, "c": lambda: None}
    assert ["".join(name for name, _ in in_turn(work, turn)) for turn in range(4)] == [
        "abc",
        "bca",
        "cab",
        "abc",
    ]


def test_undisturbed_takes_values_and_gradients_back() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    with undisturbed([parameter]):
        parameter.sum().backward()  # type: ignore[no-untyped-call]
        parameter.data += 1
    assert parameter.tolist() == [1, 1]
    assert parameter.grad is None


@pytest.mark.parametrize("cached", [True, False])
def test_interludes_measure_each_kind_and_leave_the_run_as_it_is(
    tmp_path: Path, tiny_base: Path, cached: bool
) -> None:
    config = small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))
    words = ["fit", "--config", str(config), f"--runs={tmp_path}", "--trainer.max_steps=3"]
    main([*words, "--name=alone"])
    callback = ["--trainer.callbacks+=benchmarks.interludes.Interludes"]
    options = [f"--trainer.callbacks.{name}" for name in ("steps=3", "warm_up=1", f"cached={cached}".lower())]
    with pytest.raises(Measured) as done:
        main([*words, "--name=timed", "--trainer.max_steps=99", *callback, *options])
    kinds = {OURS, FLOOR, FLOOR_AGAIN, SCRIPT} if cached else {OURS, FLOOR}
    assert {name: len(seconds) for name, seconds in done.value.what.seconds.items()} == dict.fromkeys(
        kinds, 3
    )
    assert all(second > 0 for seconds in done.value.what.seconds.values() for second in seconds)
    if cached:  # else pictures are encoded two at a time, which differs in the last bits
        states = [adapter(tmp_path / name, 3) for name in ("alone", "timed")]
        assert same(*states)


def test_when_the_time_is_over_three_rounds_are_enough() -> None:
    """Behind the one that warms up; with time left all nine are taken."""
    late, early = (Interludes(9, warm_up=1, until=time.monotonic() + left) for left in (-1.0, 3600.0))
    done: dict[str, list[int]] = {"late": [], "early": []}
    for rounds in range(1, 11):
        for name, one in (("late", late), ("early", early)):
            one.seconds[OURS].append(1.0)
            done[name] += [rounds] if one._done() else []
    assert done == {"late": [4, 5, 6, 7, 8, 9, 10], "early": [10]}


def test_ratios_are_of_the_same_round() -> None:
    """A round that was slow for both has its own ratio: 2, 3, 1 -> median 2, quartiles 1.5 and 2.5."""
    assert ratio([2, 30, 1], [1, 10, 1]) == MiddleHalf(2, 1.5, 2.5)
    assert ratio([3], [2]) == MiddleHalf(1.5, 1.5, 1.5)


def result() -> Result:
    return Result(
        SETTING,
        cached={OURS: [2.2], FLOOR: [2.0], FLOOR_AGAIN: [2.1], SCRIPT: [4.4]},
        uncached={OURS: [6.0], FLOOR: [2.0]},
    )


def test_the_table_has_the_machine_and_a_line_a_setting() -> None:
    lines = table([result()], {"processor": "abacus", "threads": 2}).splitlines()
    assert lines[0] == "Machine: processor abacus, threads 2."
    assert "\n".join(lines[2:4]) == HEADER
    assert lines[4] == (
        "| embedded, 32-true, 2, checkpointing | 2.000 | 1.100 (1.100 to 1.100) | 3.000 (3.000 to 3.000) |"
        " 0.500 (0.500 to 0.500) | 1.050 (1.050 to 1.050) |"
    )


def test_the_json_has_every_step(tmp_path: Path) -> None:
    write(tmp_path / "steps.json", [result()])
    written = json.loads((tmp_path / "steps.json").read_text())
    assert written["machine"] == machine()
    [one] = written["results"]
    assert one["setting"] == {
        "model": "embedded",
        "precision": "32-true",
        "batch_size": 2,
        "gradient_checkpointing": True,
        "compiled": False,
    }
    assert one["seconds"]["without caches"] == {OURS: [6.0], FLOOR: [2.0]}
    assert one["ratios"]["ours_to_floor"]["median"] == pytest.approx(1.1)


def test_settings_are_all_pairs_but_of_the_real_size_the_fastest_only() -> None:
    assert len(list(settings(["embedded", "middle"], ["32-true", "bf16-mixed"]))) == 16
    [real] = settings(["real"], ["32-true", "bf16-mixed"])
    assert real == Setting("real", "bf16-mixed", 1, False)


def test_slow_bf16_is_left_out_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(benchmarks.step, "slowness_of_bf16", lambda: 200.0)
    assert fast_precisions() == ("32-true",)
    assert "bf16 is left out: a matrix product in it takes 200 times as long" in capsys.readouterr().out
    monkeypatch.setattr(benchmarks.step, "slowness_of_bf16", lambda: 0.5)
    assert fast_precisions() == ("32-true", "bf16-mixed")


def test_a_card_that_only_emulates_bf16_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Timed on such a card (T4), launching a small product would hide how slow it is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(benchmarks.step, "slowness_of_bf16", lambda: pytest.fail("timed"))
    assert fast_precisions() == ("32-true", "16-mixed")
    assert "bf16 is left out: Tesla T4 has no instructions for it." in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert fast_precisions() == ("32-true", "16-mixed", "bf16-mixed")


def test_the_real_size_is_measured_when_asked_for() -> None:
    assert arguments([]).models == ["embedded", "middle"]
    assert arguments(["--models", "real", "--threads", "2"]).models == ["real"]


def test_places_to_write_are_made_or_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch, output = tmp_path / "new/scratch", tmp_path / "new/figures/step.json"
    assert arguments(["--scratch", str(scratch), "--output", str(output)]).scratch == scratch
    assert scratch.is_dir()
    assert output.parent.is_dir()
    for option, place, words in (
        ("--scratch", Path(__file__), "is a file; give a folder"),
        ("--output", scratch, "is a folder; give a file"),
    ):
        with pytest.raises(SystemExit):
            arguments([option, str(place)])
        assert words in capsys.readouterr().err
