"""The contract of resume: a run that stopped anywhere and went on equals the run that never stopped, bit for bit."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from callbacks.ckpt_path import newest, step_file
from callbacks.graceful_stop import STOPPED_EARLY
from callbacks.lora_export import DIFFUSERS_FILE, finished_step
from foundation.tensor_store import TensorStore
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.callbacks.tiny_painter import curve, events_of
from tests.small_run import adapter, picture_folder, same, small_config, without_exports
from tests.tiny_models import on_each_family, save_tiny_base
from train import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def config(tmp_path: Path, base: Path) -> Path:
    return small_config(tmp_path, base, picture_folder(tmp_path / "pictures"))


def fit(config: Path, name: str, *options: str) -> Path:
    """Run `fit` in this process and return the run's folder."""
    runs = config.parent / "runs"
    main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *options])
    return runs / name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A run that never stopped, by its base and options; each is trained once, and read only."""

    @cache
    def run(base: Path, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("straight")
        return fit(small_config(folder, base, picture_folder(folder / "pictures")), "straight", *options)

    return run


@pytest.fixture
def straight(base: Path, trained: Callable[..., Path]) -> Callable[..., Path]:
    """A run on the test's base that never stopped, by its options."""
    return partial(trained, base)


@pytest.fixture
def begun(config: Path, straight: Callable[..., Path]) -> Path:
    """A run of two steps, named `run`, that belongs to the test."""
    return shutil.copytree(straight("--trainer.max_steps", "2"), config.parent / "runs" / "run")


ACCUMULATION = ("--trainer.accumulate_grad_batches", "2")
WORKERS = ("--data.num_workers", "2")
NO_VALIDATION = ("--trainer.limit_val_batches", "0")
AVERAGE = ("--model.ema_decay", "0.9")
ALL_THREE = (*WORKERS, *ACCUMULATION, *NO_VALIDATION)


@pytest.mark.parametrize(
    ("base", "options"),
    [
        *(
            ("tiny_base", options)
            for options in ((), WORKERS, ACCUMULATION, NO_VALIDATION, AVERAGE, ALL_THREE)
        ),
        ("tiny_sdxl", AVERAGE),
    ],
    ids=["plain", "workers", "accumulation", "no validation", "moving average", "all three", "sdxl, average"],
    indirect=["base"],
)
def test_stopping_and_going_on_equals_never_stopping(
    config: Path, options: tuple[str, ...], straight: Callable[..., Path]
) -> None:
    whole = straight(*(options[2:] if options[:2] == WORKERS else options))  # loader processes change nothing
    with without_exports():
        fit(config, "stopped", "--trainer.max_steps", "5", *options)
        stopped = fit(config, "stopped", "--ckpt_path", "last", *options)
    assert same(adapter(whole, 12), adapter(stopped, 12))
    assert not same(adapter(whole, 12), adapter(stopped, 3))
    if options == AVERAGE:
        assert same(average(whole), average(stopped))
        assert not same(average(stopped), adapter(stopped, 12))


def average(run: Path) -> dict[str, torch.Tensor]:
    """The moving average of a run's twelve steps."""
    ema = torch.load(step_file(run / "checkpoints", 12), weights_only=True)["ema"]
    assert ema["updates"] == 12
    found: dict[str, torch.Tensor] = ema["average"]
    return found


@on_each_family
def test_a_run_of_varying_and_long_captions_and_weighted_losses_goes_on_exactly(config: Path) -> None:
    pictures = config.parent / "pictures" / "metadata.jsonl"
    rows = [json.loads(line) for line in pictures.read_text().splitlines()]
    for row in rows:  # the second caption takes two windows, as "hills" is one token
        row["text"] = [
            f"{row['text']}, sky, sea, girl",
            ", ".join([row["text"], "sea", "hills " * 80, "sky"]),
        ]
    pictures.write_text("".join(json.dumps(row) + "\n" for row in rows))
    varied = (
        *("--data.captions.shuffle_tags", "true", "--data.captions.tag_dropout", "0.3"),
        *("--data.loss_weights", "{landscape: 0.5}", "--model.long_captions", "windows"),
        *("--trainer.limit_val_batches", "0"),
    )
    straight = adapter(fit(config, "straight", *varied, "--trainer.max_steps", "6"), 6)
    fit(config, "stopped", *varied, "--trainer.max_steps", "4")
    stopped = fit(config, "stopped", *varied, "--trainer.max_steps", "6", "--ckpt_path", "last")
    assert same(straight, adapter(stopped, 6))
    assert not same(straight, adapter(stopped, 4))


@pytest.mark.parametrize(("base", "options"), [("tiny_base", ()), ("tiny_sdxl", AVERAGE)], indirect=["base"])
def test_validation_does_not_disturb_training(
    straight: Callable[..., Path], options: tuple[str, ...]
) -> None:
    assert same(adapter(straight(*options), 12), adapter(straight(*options, *NO_VALIDATION), 12))


def test_another_seed_is_another_run(config: Path, straight: Callable[..., Path]) -> None:
    other = fit(config, "other", "--seed_everything", "8", "--trainer.max_steps", "3")
    assert not same(adapter(straight(), 3), adapter(other, 3))


@pytest.mark.parametrize("workers", [(), WORKERS], ids=["0", "2"])
def test_a_run_killed_at_a_random_moment_goes_on_exactly(
    config: Path, workers: tuple[str, ...], straight: Callable[..., Path]
) -> None:
    options = (*workers, *ACCUMULATION)
    killed = config.parent / "runs" / "killed"
    command = [sys.executable, "train.py", "fit", "--config", str(config), "--runs", str(killed.parent)]
    process = subprocess.Popen(
        [*command, "--name", "killed", *options, "--trainer.max_steps", "2000"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while newest(killed / "checkpoints") is None:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.random() * 0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached = newest(killed / "checkpoints")
    assert reached is not None
    step = int(reached.stem.removeprefix("step_"))
    end = max(12, step + 3)
    # far from 12 only where killing took long
    expected = straight(*options, *(() if end == 12 else ("--trainer.max_steps", str(end))))
    resumed = fit(config, "killed", *options, "--ckpt_path", "last", "--trainer.max_steps", str(end))
    assert same(adapter(expected, end), adapter(resumed, end))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (("--model.lora.rank", "8"), "lora rank: the checkpoint has 4, this run 8"),
        (("--seed_everything", "8"), "seed: the checkpoint has 7, this run 8"),
        (("--data.shares", "{portrait: 1, landscape: 1}"), "shares"),
    ],
)
def test_another_run_is_refused_with_what_differs(
    config: Path, begun: Path, option: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        fit(config, "run", "--ckpt_path", "last", *option)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert "belongs to another run" in printed


def test_more_steps_and_another_rate_are_allowed_and_said(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(config, "run", "--trainer.max_steps", "2")
    fit(config, "run", "--ckpt_path", "last", "--trainer.max_steps", "4", "--model.optimizer.lr", "0.002")
    changes = ["model.optimizer.init_args.lr: 0.001 -> 0.002", "trainer.max_steps: 2 -> 4"]
    assert (
        "Going on with other settings than before:\n  " + "\n  ".join(changes) + "\n"
        in capsys.readouterr().out
    )
    texts = events_of(run).Tensors("resume/text_summary")
    assert [(t.step, t.tensor_proto.string_val[0].decode()) for t in texts] == [
        (3, "\n".join(f"- {change}" for change in changes))
    ]
    # the warm-up of 50 steps from a fiftieth, after four of them
    assert group(run, 4)["lr"] == pytest.approx(0.002 * (0.02 + 0.98 * 4 / 50))


def test_a_refused_resume_leaves_the_settings_that_the_run_had(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(config, "run", "--trainer.max_steps", "2")
    settings = (run / "config.yaml").read_text()
    on = ("--ckpt_path", "last", "--trainer.max_steps", "3", "--model.optimizer.weight_decay", "0.3")
    for refused in (("--model.optimizer.amsgrad", "true"), ("--model.ema_decay", "0.9")):
        with pytest.raises(SystemExit):
            fit(config, "run", *on, *refused)
        assert (run / "config.yaml").read_text() == settings
    capsys.readouterr()
    fit(config, "run", *on)
    changes = ["model.optimizer.init_args.weight_decay: 0.01 -> 0.3", "trainer.max_steps: 2 -> 3"]
    assert "settings than before:\n  " + "\n  ".join(changes) + "\n---" in capsys.readouterr().out
    assert "weight_decay: 0.3" in (run / "config.yaml").read_text()


def group(run: Path, step: int) -> dict[str, Any]:
    """The optimizer's settings in a checkpoint."""
    checkpoint = torch.load(step_file(run / "checkpoints", step), weights_only=True)
    settings: dict[str, Any] = checkpoint["optimizer_states"][0]["param_groups"][0]
    return settings


def test_settings_of_optimizer_and_schedule_act_from_the_step_on_where_they_are_given(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run has them from its start; the other gets them at step 3, and steps 4 to 6 are as they say."""
    schedule = "{class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: %d, gamma: %s}}"
    short = ("--export.self_test", "false", "--samples.prompts", "[]", "--trainer.val_check_interval", "3")
    run = fit(config, "run", "--trainer.max_steps", "3", "--model.lr_scheduler", schedule % (2, 0.5), *short)
    given = (
        *("--trainer.max_steps", "6", "--model.lr_scheduler", schedule % (4, 0.1)),
        *("--model.optimizer.weight_decay", "0.5", "--model.optimizer.betas", "[0.5, 0.6]", *short),
    )
    fit(config, "run", "--ckpt_path", "last", *given)
    said = capsys.readouterr().out
    for line in (
        "model.lr_scheduler.init_args.gamma: 0.5 -> 0.1",
        "model.lr_scheduler.init_args.step_size: 2 -> 4",
        "model.optimizer.init_args.betas.1: 0.999 -> 0.6",
        "model.optimizer.init_args.weight_decay: 0.01 -> 0.5",
    ):
        assert f"  {line}\n" in said
    found = group(run, 6)
    assert found["lr"] == pytest.approx(0.001 * 0.1)
    assert (found["weight_decay"], tuple(found["betas"])) == (0.5, (0.5, 0.6))
    with pytest.raises(SystemExit):
        fit(
            config,
            "run",
            "--ckpt_path",
            "last",
            "--trainer.max_steps",
            "9",
            "--model.optimizer.amsgrad",
            "true",
        )
    assert "AdamW with these settings remembers max_exp_avg_sq of each parameter" in capsys.readouterr().err


def test_a_schedule_that_ends_before_the_run_is_said_on_a_resume_too(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cosine = (
        "--model.lr_scheduler={class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 2}}",
    )
    short = ("--export.self_test", "false", "--samples.prompts", "[]", *cosine)
    fit(config, "run", "--trainer.max_steps", "2", *short)
    assert "rises again" not in capsys.readouterr().err
    with pytest.warns(UserWarning, match="ends at step 2, and --trainer.max_steps is 4: .* Set T_max to 4"):
        fit(config, "run", "--trainer.max_steps", "4", "--ckpt_path", "last", *short)


def test_one_picture_more_is_another_run_that_can_start_from_this_one(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("--export.self_test", "false", "--samples.prompts", "[]", "--trainer.max_steps", "2")
    run = fit(config, "run", *short)
    picture_folder(config.parent / "pictures", portraits=9)
    with pytest.raises(SystemExit):
        fit(config, "run", "--ckpt_path", "last", *short, "--trainer.max_steps", "4")
    said = capsys.readouterr().err
    checkpoint = step_file(run / "checkpoints", 2)
    assert "pictures: the checkpoint has" in said
    assert (
        f"another --name, and no --ckpt_path. With --model.init_lora {checkpoint} it starts from what" in said
    )
    started = fit(config, "more", "--model.init_lora", str(checkpoint), *short)
    assert adapter(started, 2).keys() == adapter(run, 2).keys()


def test_going_back_to_an_older_checkpoint_sets_the_newer_ones_aside(config: Path) -> None:
    run = fit(config, "run", "--trainer.max_steps", "6", "--checkpoints.keep", "3")
    older = run / "checkpoints" / "step_000003.ckpt"
    fit(config, "run", "--ckpt_path", str(older), "--trainer.max_steps", "5", "--checkpoints.keep", "3")
    assert newest(run / "checkpoints") == run / "checkpoints" / "step_000005.ckpt"
    assert (run / "checkpoints" / "abandoned" / "step_000006.ckpt").exists()


def test_saves_by_the_clock_fall_between_optimizer_steps(config: Path, straight: Callable[..., Path]) -> None:
    often = ("--checkpoints.minutes", "1e-9", "--checkpoints.every_n_steps", "1000")
    run = fit(config, "often", *ACCUMULATION, *often, "--trainer.max_steps", "7")
    assert newest(run / "checkpoints") == run / "checkpoints" / "step_000007.ckpt"
    fit(config, "often", *ACCUMULATION, *often, "--ckpt_path", "last")
    assert same(adapter(straight(*ACCUMULATION), 12), adapter(run, 12))


def test_the_first_interrupt_saves_and_the_run_goes_on_exactly(
    config: Path, straight: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupt in the middle of an accumulation window waits for the optimizer's step."""
    interrupting = ("--trainer.callbacks+=tests.small_run.InterruptAtBatch",)
    with pytest.raises(SystemExit) as stop:
        fit(config, "stopped", *ACCUMULATION, *interrupting)
    assert stop.value.code == STOPPED_EARLY
    run = config.parent / "runs" / "stopped"
    printed = capsys.readouterr().out
    assert "Stopped by Ctrl-C: 4 of 12 steps" in printed
    typed = f"--name stopped {shlex.join(ACCUMULATION + interrupting)} --ckpt_path last\n"
    assert typed in printed.split("Go on:\n")[-1]
    assert newest(run / "checkpoints") == run / "checkpoints" / "step_000004.ckpt"
    assert not (run / "samples" / "step_000004.png").exists()  # it stops without another validation
    assert (run / "pytorch_lora_weights.safetensors").exists()
    fit(config, "stopped", *ACCUMULATION, "--ckpt_path", "last")
    assert same(adapter(straight(*ACCUMULATION), 12), adapter(run, 12))


def test_a_finished_run_says_so_and_how_to_go_on(
    config: Path, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        fit(config, "run", "--ckpt_path", "auto", "--trainer.max_steps", "2")
    assert stop.value.code == 2
    assert "step 2 of 2: this run is done" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "other.ckpt"
    path.write_text("not a checkpoint")  # 16 bytes
    with pytest.raises(SystemExit):
        fit(config, "run", "--ckpt_path", str(path))
    assert "is cut short, or no checkpoint at all (16 bytes)" in capsys.readouterr().err


def test_the_saved_config_repeats_the_run(config: Path) -> None:
    run = fit(config, "run", "--trainer.max_steps", "2")
    fit(config, "run", "--ckpt_path", "last", "--trainer.max_steps", "6")
    main(["fit", "--config", str(run / "config.yaml"), "--runs", str(config.parent / "again")])
    assert same(adapter(run, 6), adapter(config.parent / "again" / "run", 6))


def test_a_used_folder_stops_and_offers_both_ways(
    config: Path, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        fit(config, "run", "--trainer.max_steps", "1")
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "--ckpt_path last" in printed
    assert "--name run-2" in printed


def test_a_torn_checkpoint_is_passed_over_and_the_run_goes_on_exactly(
    config: Path, straight: Callable[..., Path]
) -> None:
    run = fit(config, "torn", *NO_VALIDATION, "--trainer.max_steps", "6")
    torn = step_file(run / "checkpoints", 6)
    torn.write_bytes(torn.read_bytes()[:5000])
    with pytest.warns(UserWarning, match=r"step_000006\.ckpt is cut short.*passed over"):
        fit(config, "torn", *NO_VALIDATION, "--trainer.max_steps", "9", "--ckpt_path", "auto")
    assert same(adapter(straight(*NO_VALIDATION), 9), adapter(run, 9))
    assert [path.name for path in (run / "checkpoints" / "abandoned").iterdir()] == ["step_000006.ckpt"]


def test_where_every_checkpoint_is_damaged_auto_starts_afresh_and_sets_them_aside(
    config: Path, begun: Path
) -> None:
    before = adapter(begun, 2)
    for path in (begun / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.warns(UserWarning, match="passed over"):
        fit(config, "run", *NO_VALIDATION, "--trainer.max_steps", "2", "--ckpt_path", "auto")
    assert same(before, adapter(begun, 2))
    abandoned = begun / "checkpoints" / "abandoned"
    assert [path.name for path in abandoned.iterdir()] == ["step_000002.ckpt"]


def test_a_base_of_the_same_name_with_other_weights_is_refused(
    config: Path, begun: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_tiny_base(config.parent / "elsewhere" / tiny_base.name, seed=5)
    with pytest.raises(SystemExit) as stop:
        fit(config, "run", "--ckpt_path", "last", "--model.base_model", str(other))
    assert stop.value.code == 2
    assert "has the same name but other weights" in capsys.readouterr().err


def test_the_time_is_counted_by_process_and_ends_the_run_between_two_steps(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):  # the second process has its minutes again: it gets a step further
        with pytest.raises(SystemExit) as stop:
            fit(config, "run", "--max_minutes", "1e-9", "--ckpt_path", "auto")
        assert stop.value.code == STOPPED_EARLY
        assert f"Stopped by --max_minutes: {step} of 12 steps" in capsys.readouterr().out
        assert finished_step(config.parent / "runs" / "run") == step


def test_a_stop_before_training_keeps_what_was_encoded(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    put = TensorStore.put
    puts: list[str] = []

    def interrupted(store: TensorStore, key: str, entry: dict[str, torch.Tensor]) -> None:
        put(store, key, entry)
        puts.append(key)
        if len(puts) == 3:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(TensorStore, "put", interrupted)
    with pytest.raises(SystemExit) as stop:
        fit(config, "run")
    assert stop.value.code == STOPPED_EARLY
    assert "Stopped by SIGTERM before training began" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is before
    [shard] = (config.parent / "cache" / "latents").rglob("*.safetensors")
    assert {name.split("/")[0] for name in load_file(shard)} == set(puts)


def test_a_run_that_was_killed_before_its_final_files_were_whole_writes_them(
    config: Path, begun: Path
) -> None:
    final = load_file(begun / DIFFUSERS_FILE)
    (begun / DIFFUSERS_FILE).unlink()
    fit(config, "run", "--trainer.max_steps", "2", "--ckpt_path", "auto")
    assert same(final, load_file(begun / DIFFUSERS_FILE))
    assert finished_step(begun) == 2


def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_loaded(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "runs").mkdir()
    (config.parent / "runs" / "run").write_text("a file where the folder should be")
    with pytest.raises(SystemExit) as stop:
        fit(config, "run")
    assert stop.value.code == 2
    assert "runs/run can't be written to" in (printed := capsys.readouterr().err)
    assert "--runs" in printed


class Killed(BaseException):
    """In place of a signal that nobody can catch."""


def fit_killed_while_validating(
    config: Path, step: int, *options: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of a run that ended in the validation of a step, its samples not painted."""
    validation_step = StableDiffusionLora.validation_step

    def killed(self: StableDiffusionLora, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == step:
            raise Killed
        validation_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionLora, "validation_step", killed)
        with pytest.raises(Killed):
            fit(config, "killed", *options)
    run = config.parent / "runs" / "killed"
    (run / "samples" / f"step_{step:06d}.png").unlink()  # as if it had been killed while it painted
    return run


def test_a_validation_that_was_killed_is_made_up_for_and_changes_nothing(
    config: Path, straight: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--checkpoints.every_n_steps", "4")
    run = fit_killed_while_validating(config, 8, *options, monkeypatch=monkeypatch)
    assert newest(run / "checkpoints") == step_file(run / "checkpoints", 8)
    fit(config, "killed", *options, "--ckpt_path", "last")
    assert same(adapter(straight(), 12), adapter(run, 12))
    assert (run / "samples" / "step_000008.png").is_file()
    assert curve(events_of(run), "val/loss") == curve(events_of(straight()), "val/loss")
    assert list(curve(events_of(run), "val/loss")) == [4, 8, 12]


@pytest.mark.parametrize("max_steps", ["6", "8"], ids=["no step left", "more steps"])
def test_the_last_validation_that_was_killed_is_made_up_for(
    config: Path, straight: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, max_steps: str
) -> None:
    """Killed between the last checkpoint and its validation, at a step that is no multiple of the interval."""
    whole = shutil.copytree(straight("--trainer.max_steps", "6"), config.parent / "runs" / "whole")
    if max_steps != "6":
        fit(config, "whole", "--trainer.max_steps", max_steps, "--ckpt_path", "last")
    run = fit_killed_while_validating(config, 6, "--trainer.max_steps", "6", monkeypatch=monkeypatch)
    assert not (run / DIFFUSERS_FILE).exists()
    fit(config, "killed", "--trainer.max_steps", max_steps, "--ckpt_path", "last")
    names = [sorted(path.name for path in (one / "samples").iterdir()) for one in (whole, run)]
    assert names[0] == names[1]
    assert "step_000006.png" in names[1]
    losses = curve(events_of(run), "val/loss")
    assert losses == curve(events_of(whole), "val/loss")
    assert list(losses) == sorted({4, 6, int(max_steps)})
    assert finished_step(run) == int(max_steps)
    assert same(load_file(whole / DIFFUSERS_FILE), load_file(run / DIFFUSERS_FILE))


def test_a_validation_that_was_done_is_not_done_again(config: Path) -> None:
    options = ("--trainer.val_check_interval", "2")
    run = fit(config, "run", *options, "--trainer.max_steps", "4")
    (run / "samples" / "step_000004.png").unlink()
    fit(config, "run", *options, "--trainer.max_steps", "6", "--ckpt_path", "last")
    assert sorted(path.name for path in (run / "samples").glob("step_*.png"))[-1] == "step_000006.png"
    assert not (run / "samples" / "step_000004.png").exists()
    assert list(curve(events_of(run), "val/loss")) == [2, 4, 6]


def test_the_last_step_is_validated_wherever_it_lies(straight: Callable[..., Path]) -> None:
    run = straight("--trainer.max_steps", "6")
    assert list(curve(events_of(run), "val/loss")) == [4, 6]
    assert (run / "samples" / "step_000006.png").is_file()
