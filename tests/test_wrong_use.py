"""Wrong use is met with help: one message that says what was given and what is valid, before training starts.

Each case is a command as a person might type it by mistake, run through the real command line, with words that its
message must hold. Exit status 2, no traceback, and no training step.
"""

import json
import os
import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.small_run import picture_folder, small_config
from train import main


class Payload:
    """A pickle of this would make a folder named `ran` here."""

    def __reduce__(self) -> tuple[Any, ...]:
        """What opening the pickle would do."""
        return (os.mkdir, ("ran",))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A base, pictures, a config and a run of one step; read only."""
    folder = tmp_path_factory.mktemp("shelf")
    shutil.copytree(tiny_base, folder / "base")
    picture_folder(folder / "pictures")
    config = small_config(folder, folder / "base", folder / "pictures")
    (folder / "empty").mkdir()
    (folder / "file.txt").write_text("a text\n")
    main(["fit", "--config", str(config), "--runs", str(folder / "runs"), "--trainer.max_steps", "1"])
    return folder


@pytest.fixture
def here(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a case, with the shelf's things in it, where training would be an error."""

    def started(*_: object) -> None:
        raise AssertionError("training started")

    for item in shelf.iterdir():
        if item.name == "runs":
            shutil.copytree(item, tmp_path / item.name)
        else:
            (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StableDiffusionLora, "on_train_start", started)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The message with which a command is refused."""
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    printed = capsys.readouterr().err
    assert stop.value.code == 2, printed
    assert "Traceback" not in printed
    assert "error: " in printed
    return printed


FIT = ("fit", "--config", "small.yaml", "--name", "new")

OPTIONS: list[tuple[tuple[str, ...], str]] = [
    (("--data.foldr", "x"), "there is no option --data.foldr. Did you mean --data.folder?"),
    (("--model.lora.ranc", "4"), "Did you mean --model.lora.rank?"),
    (("--data.share", "{}"), "Did you mean --data.shares?"),
    (("--lora.rank", "4"), "Did you mean --model.lora.rank?"),
    (("--learning_rate", "1e-4"), "Did you mean --model.optimizer.init_args.lr?"),
    (("--max_steps", "4"), "Did you mean --trainer.max_steps?"),
    (("--mixed_precision", "fp16"), "Did you mean --trainer.precision?"),
    (("--confgi", "x"), "Did you mean --config?"),
    (("--data.captions.shuffle_tag", "true"), "Did you mean --data.captions.shuffle_tags?"),
    (("extra",), "there is no option extra"),
    (("--data.folder",), "--data.folder needs a value behind it"),
    (("--model.optimizer.init_args.lrr", "1"), "there is no setting 'lrr'. Did you mean lr?"),
    # types
    (("--model.lora.rank", "four"), "--model.lora.rank is 'four'; it must be a whole number above 0"),
    (("--model.lora.rank", "0"), "--model.lora.rank is 0; it must be a whole number above 0"),
    (("--model.lora.alpha", "-1"), "it must be a finite number above 0, or null"),
    (("--model.lora.dropout", "1"), "--model.lora.dropout is 1; it must be at least 0 and below 1"),
    (("--model.lora.target_modules", "to_q"), "or one regular expression that whole names match"),
    (("--model.lora.target_modules", "[to_qq]"), "has 'to_qq': no linear or convolution layer"),
    (("--data.resolution", "abc"), "--data.resolution is abc; it must be a whole number"),
    (("--data.flip", "maybe"), "--data.flip is maybe; it must be true or false"),
    (("--data.group_by", "labels"), "it must be one of label, orientation. Did you mean label?"),
    (("--model.timestep_sampling", "unifrom"), "Did you mean uniform?"),
    # shares
    (("--data.shares", "2:1"), "such as {portrait: 2, landscape: 1}"),
    (("--data.shares", "121"), "YAML reads 2:1 as this number"),
    (("--data.shares", "{portrait: two, landscape: 1}"), "a positive number for each group"),
    (("--data.shares", "{portrait: 2, landscape: 0}"), "a share must be a positive number"),
    (("--data.shares", "{portrat: 2, landscape: 1}"), "but the pictures have ['landscape', 'portrait']"),
    (("--data.shares", "{portrait: 2}"), "but the pictures have ['landscape', 'portrait']"),
    (("--data.loss_weights", "{x: 1}"), "data.loss_weights names the groups ['x']"),
    # numbers of the data
    (("--data.resolution", "0"), "it must be a positive multiple of 8"),
    (("--data.resolution", "100"), "it must be a positive multiple of 8"),
    (("--data.resolution", "1000000"), "it must be at most 4096"),
    (("--data.batch_size", "-1"), "it must be at least 1"),
    (("--data.batch_size", "10000"), "data.batch_size is 10000, but there are 11 pictures to train on"),
    (("--data.num_workers", "1000"), "data.num_workers is 1000; it must be from 0 to"),
    (("--data.holdout_fraction", "1"), "it must be at least 0 and below 1"),
    (("--data.captions.tag_dropout", "1"), "it must be at least 0 and below 1"),
    (("--data.seed", "3"), "--data.seed is taken from --seed_everything"),
    (("--seed_everything", "-1"), "it must be a whole number from 0 to 4294967295"),
    (("--seed_everything", "true"), "it must be a whole number from 0 to 4294967295"),
    # folders
    (("--data.folder", "pictuers"), "there is no such folder (seen from"),
    (("--data.folder", "pictuers"), "Did you mean pictures?"),
    (("--data.folder", "file.txt"), "but that is a file"),
    (("--data.folder", ""), "give the folder of your pictures"),
    (("--data.folder", "empty"), "no pictures (1): empty"),
    (("--data.holdout_folder", "pictures"), "the same as data.folder"),
    (("--data.cache_folder", "file.txt"), "a file; give a folder, or null"),
    (("--runs", "file.txt"), "--runs is file.txt, which is a file"),
    (("--name", "../x"), "it must be the name of one folder"),
    (("--name", ""), "it must be the name of one folder"),
    # numbers of the model
    (("--model.caption_dropout", "1.5"), "--model.caption_dropout is 1.5; it must be at least 0 and below 1"),
    (("--model.noise_offset", "-1"), "it must be from 0 to 1"),
    (("--model.noise_offset", "nan"), "it must be a finite number"),
    (("--model.min_snr_gamma", "0"), "it must be above 0 (5 is usual), or null"),
    (("--model.ema_decay", "1"), "it must be between 0 and 1"),
    (("--model.validation_noise_levels", "0"), "it must be from 1 to 100"),
    (("--model.zero_terminal_snr", "maybe"), "it must be true or false, or null"),
    # optimizer
    (("--model.optimizer.init_args.lr", "1e4"), "lr is 10000; it must be above 0"),
    (("--model.optimizer.init_args.lr", "1e4"), "Did you mean 1e-4?"),
    (("--model.optimizer.init_args.lr", "0"), "lr is 0; it must be above 0"),
    (
        ("--model.optimizer.init_args.lr", "-1"),
        "Invalid learning rate: -1.0. See --model.optimizer.init_args",
    ),
    (
        ("--model.optimizer.init_args.lr", "fast"),
        "--model.optimizer.init_args.lr is fast; it must be a finite number",
    ),
    (("--model.optimizer.init_args.betas", "[0.9]"), "it must be a list of 2 values"),
    (("--model.optimizer", "AdamWW"), "Did you mean torch.optim.AdamW?"),
    (("--model.optimizer", "torch.optim.AdmW"), "torch.optim has no AdmW. Did you mean torch.optim.AdamW?"),
    (("--model.optimizer", "torch.nn.Linear"), "torch.nn.Linear is no Optimizer"),
    (("--model.optimizer", "prodigyy.Prodigy"), "prodigyy isn't installed"),
    (("--model.lr_scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR"), "CosineAnnealingLR needs T_max"),
    (("--model.lr_scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"), "waits for a metric"),
    (
        ("--model.lr_scheduler.init_args.start_factor", "0"),
        "--model.lr_scheduler can't be made of these settings",
    ),
    # trainer
    (("--trainer.max_steps", "0"), "--trainer.max_steps is 0; it must be at least 1"),
    (("--trainer.max_steps", "-1"), "--trainer.max_steps is -1; it must be at least 1"),
    (("--trainer.max_epochs", "3"), "Training is one endless epoch, ended by --trainer.max_steps"),
    (("--trainer.fast_dev_run", "true"), "set --trainer.max_steps 2"),
    (
        ("--trainer.limit_train_batches", "5"),
        "--trainer.limit_train_batches is 5, which isn't for this trainer",
    ),
    (("--trainer.logger", "false"), "A run logs to TensorBoard"),
    (("--trainer.enable_checkpointing", "false"), "Checkpoints are written by --checkpoints.every_n_steps"),
    (("--trainer.devices", "0"), "--trainer.devices is 0; it must be auto, or a number from 1 to"),
    (("--trainer.devices", "9999"), "--trainer.devices is 9999; it must be auto, or a number from 1 to"),
    (("--trainer.devices", "two"), "--trainer.devices is two"),
    (("--trainer.num_nodes", "2"), "it would wait for them for ever"),
    (("--trainer.accelerator", "gpuu"), "Did you mean gpu?"),
    (("--trainer.accelerator", "tpu"), "it must be one of auto, cpu, gpu, cuda, mps"),
    (
        ("--trainer.precision", "16-mixed"),
        "this run is on the CPU, which has no fp16 arithmetic for training",
    ),
    (
        ("--trainer.precision", "16-mixd"),
        "it must be one of 32-true, bf16-mixed, 16-mixed. Did you mean 16-mixed?",
    ),
    (("--trainer.precision", "bf16-true"), "valid here: 32-true, bf16-mixed, 16-mixed"),
    (("--trainer.strategy", "fsdp"), "Each process holds the whole model"),
    (("--trainer.accumulate_grad_batches", "0"), "it must be at least 1, the batches of a step"),
    (("--trainer.val_check_interval", "0"), "it must be a whole number of optimizer steps, at least 1"),
    (("--trainer.val_check_interval", "0.5"), "it must be a whole number of optimizer steps, at least 1"),
    (("--trainer.gradient_clip_val", "-1"), "it must be above 0, or null"),
    (("--trainer.callbacks", "Foo"), "it must be a list of classes by their full paths"),
    (
        ("--trainer.callbacks", "lightning.pytorch.callbacks.ModelCheckpoint"),
        "--trainer.callbacks has ModelCheckpoint, which isn't for this trainer",
    ),
    (("--trainer.callbacks", "lightning.pytorch.callbacks.EarlyStopping"), "EarlyStopping needs monitor"),
    (("--trainer.max_time", "00:01:00:00"), "Set --max_minutes: it stops between two steps"),
    (("--trainer.model_registry", "x"), "which isn't for this trainer"),
    (("--trainer.sync_batchnorm", "true"), "Stable Diffusion has no batch norm"),
    (("--trainer.num_sanity_val_steps", "-5"), "it must be 0 (none) or more batches, or -1 for all"),
    (("--trainer.gradient_clip_val", "nan"), "--trainer.gradient_clip_val is nan; it must be"),
    (("--trainer.gradient_clip_algorithm", "vaule"), "it must be norm or value"),
    (("--trainer.max_steps", "1e3"), "--trainer.max_steps is 1000.0; it must be a whole number"),
    (("--trainer.limit_val_batches", "1.5"), "a number of batches, 0 or more, or a part from 0.0 to 1.0"),
    (("--trainer.log_every_n_steps", "0"), "--trainer.log_every_n_steps is 0; it must be at least 1"),
    (("--trainer.profiler", "foo"), "it can only be one of ['simple', 'advanced', 'pytorch', 'xla']"),
    (("--max_minutes", "0"), "--max_minutes is 0; it must be a finite number above 0"),
    (("--checkpoints.keep", "0"), "--checkpoints.keep is 0; it must be a whole number above 0"),
    (("--loss_guard.on_bad_loss", "skp"), "it must be one of stop, skip. Did you mean skip?"),
    (("--export", "false"), "it has settings of its own: --export.self_test"),
    (("--data.captions", "5"), "it has settings of its own: --data.captions.prefix, --data.captions.suffix"),
    (("--data.buckets", "64"), "--data.buckets is 64; it must be true or false"),
    (("--data.cache_folder", ""), "data.cache_folder is empty; give a folder, or null"),
    (("--runs", ""), "--runs is ''; it must be the folder that holds all runs"),
    (("--name", "a" * 121), "--name has 121 bytes"),
    (("--name", "あ" * 41), "--name has 123 bytes (a letter that isn't ASCII has two to four)"),
    (("--name", "~x"), "no ~ in front"),
    (("--runs", "s3://bucket/runs"), "--runs is s3://bucket/runs, an address; give a folder"),
    (("--name", " x"), "no blank at its ends"),
    (("--name", "a\u200bb"), "of printable signs"),
    (("--name", "a:b"), 'none of < > : " / \\ | ? *'),
    (("--model.prediction_type", "v"), "it must be one of epsilon, v_prediction, sample, or null"),
    (("--parameterization", "v"), "is read from its scheduler/scheduler_config.json"),
    (("--use_8bit_adam",), "Give --model.optimizer bitsandbytes.optim.AdamW8bit"),
    (("--enable_bucket",), "Did you mean --data.buckets?"),
    (("--model.lora.rank", "2000"), "--model.lora.rank is 2000; it must be at most 1280"),
    (("--model.optimizer", "torch.optim.LBFGS"), "LBFGS, which computes the loss several times a step"),
    (("--model.optimizer", "torch.optim.SparseAdam"), "SparseAdam, which takes sparse gradients"),
    (
        ("--model.optimizer", "torch.optim.Muon", "--model.lora.target_modules", "[conv1]"),
        "--model.optimizer can't be made of these settings: ValueError: Muon only supports 2D parameters",
    ),
    (
        ("--model.optimizer.init_args.weight_decay", "1e9"),
        "weight_decay is 1e+09: times the learning rate 0.001 that is more than the whole adapter",
    ),
    (("--model.lr_scheduler", "cosine"), "Did you mean torch.optim.lr_scheduler.CosineAnnealingLR?"),
    (("--model.lr_scheduler", "torch.optim.AdamW"), "torch.optim.AdamW is no LRScheduler"),
    (
        ("--model.lr_scheduler={class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 0}}",),
        "--model.lr_scheduler can't be made of these settings: ZeroDivisionError",
    ),
    (
        (
            "--model.lr_scheduler={class_path: torch.optim.lr_scheduler.OneCycleLR, "
            "init_args: {max_lr: 0.001, total_steps: 5}}",
        ),
        "--model.lr_scheduler is a OneCycleLR that has 5 steps and fails at the next",
    ),
    # samples and scores
    (("--samples.prompts", "[{prompt: 'hills <lora:x:1>'}]"), "<lora:x:1> names a network"),
    (("--samples.prompts", "[{prompt: a, negative_prompt: 'x --n y'}]"), "--n would be painted as a word"),
    (("--clip_score.style_prompt", "a AND b"), "--clip_score.style_prompt: AND composes prompts"),
    (("--test.enhancement", "[a|b]"), "--enhancement: [a|b] takes turns between prompts"),
    (("--samples.prompts", "a girl"), "it must be a list such as [{prompt: a house by the sea, seed: 1}]"),
    (("--samples.prompts", "[{promt: a}]"), "there is no setting 'promt'. Did you mean prompt?"),
    (
        ("--samples.prompts", "[{prompt: a, sampler: k_euler}]"),
        "sampler is k_euler; it must be one of ddim, euler",
    ),
    (("--samples.prompts", "[{prompt: a, seed: -1}]"), "seed is -1; it must be a whole number, 0 or more"),
    (("--samples.prompts", "[{prompt: a, height: 100}]"), "64x100 (width x height) are not multiples of 8"),
    (("--samples.prompts", "[{prompt: a, width: 0}]"), "width is 0; it must be a whole number above 0"),
    (("--samples.prompts", "[{prompt: a, width: 4104}]"), "4104x64 (width x height) are above 4096"),
    (("--samples.prompts", "[{prompt: a, steps: 5000}]"), "it must be a whole number from 1 to 1000"),
    (("--samples.prompts", "[{prompt: a, seed: 1.5}]"), "seed is 1.5; it must be a whole number, 0 or more"),
    (("--samples.prompts", "[{prompt: a, clip_skip: 50}]"), "clip_skip 50, valid are 0 to 1"),
    (
        ("--clip_score.model", "empty"),
        "--clip_score.model is empty: it could not be loaded: it needs config.json",
    ),
    (("--clip_score.model", "./clipp"), "--clip_score.model is ./clipp: there is no such folder"),
    # the base
    (("--model.base_model", "bsae"), "there is no such folder or file"),
    (("--model.base_model", "bsae"), "Did you mean base?"),
    (("--model.base_model", ""), "there is no such folder or file"),
    (("--model.base_model", "nobody/nothing"), "nobody/nothing: there is no such folder here, and"),
    (("--model.base_model", "https://huggingface.co/a/b/tree/main"), "The model's id is a/b: give that"),
    (("--model.base_model", "empty"), "it has no model_index.json"),
    (("--model.base_config", "base"), "leave base_config out"),
    # checkpoints
    (("--ckpt_path", "last"), "--ckpt_path last: there is no complete checkpoint in runs/new/checkpoints"),
    (("--ckpt_path", "last"), "newest of this run only; --name names another: small."),
    (("--ckpt_path", "latest"), "Valid: last, auto, best, or a checkpoint's path"),
    (("--ckpt_path", "file.txt"), "no checkpoint"),
    (
        ("--ckpt_path", "lastt"),
        "no such file. Valid: last, auto, best, or a checkpoint's path. Did you mean last?",
    ),
    (("--ckpt_path", "best"), "runs/new/checkpoints/best.ckpt: it is written at the first validation"),
    (("--ckpt_path", "empty"), "that is a folder. Valid: last, auto, best"),
    (("--ckpt_path", "runs/small"), "Did you mean runs/small/checkpoints/step_000001.ckpt?"),
    (("--ckpt_path", "pictures/00.png"), "is cut short, or no checkpoint at all"),
    (("--ckpt_path", "runs/small/pytorch_lora_weights.safetensors"), "no checkpoint at all"),
    # adapters to start from
    (("--model.init_lora", "nope.safetensors"), "there is no such file"),
    (("--model.init_lora", "empty"), "a folder without an adapter in it"),
    (("--ckpt_path", "base/unet/diffusion_pytorch_model.safetensors"), "no checkpoint"),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=[" ".join(case[0])[:70] for case in OPTIONS])
def test_a_wrong_option_of_fit(
    here: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    assert words in refusal(capsys, *FIT, *options)


def test_a_refused_start_leaves_no_empty_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no pictures" in refusal(capsys, *FIT, "--data.folder", "empty")
    assert not (here / "runs/new").exists()


QUOTED = " A text that YAML reads as something else (a number, yes, no, on, off) stands in quotes"

CONFIGS: list[tuple[bytes, str]] = [
    (b"data: {folder: x", "line 1, column 17: expected ',' or '}'"),
    (
        b"data:\n\tfolder: x\n",
        "line 2, column 1: found character '\\t' that cannot start any token. YAML wants blanks",
    ),
    (b"data: {folder: a}\ndata: {flip: true}\n", "`data` comes twice, in lines 1 and 2. Keep one."),
    (b"data:\n  flip: true\n  flip: false\n", "`flip` comes twice, in lines 2 and 3"),
    (b"- a\n- b\n", "holds no settings: it should have sections such as `data:`"),
    (b"", "holds no settings"),
    (b"\xff\xfe\x00\x01", "is no UTF-8 text"),
    (b"[" * 5000, "is not valid YAML: it is nested too deeply"),
    (b"seed_everything: 2024-99-99\n", "--seed_everything is 2024-99-99; it must be a whole number"),
    (b"data: [1, 2]\n", "the section `data` is [1, 2]; it should hold settings"),
    (b"model: null\n", "the section `model` is None"),
    (b"dat: {folder: x}\n", "there is no option dat.folder. Did you mean --data.folder?"),
    (b"data: {captions: {prefx: a}}\n", "Did you mean --data.captions.prefix?"),
    (b"data: {shares: 2:1}\n", "--data.shares is 121 (YAML reads 2:1 as this number)"),
    (b"runs: 1e-3\n", f"--runs is 0.001; it must be a text.{QUOTED}"),
    (b"runs: 2023\n", f"--runs is 2023; it must be a text.{QUOTED}"),
    (b"model: {base_config: no}\n", f"--model.base_config is False; it must be a text, or null.{QUOTED}"),
    (b"data: {trigger: no}\n", f"--data.trigger is False; it must be a text.{QUOTED}"),
    (b"data: {captions: {prefix: on}}\n", f"--data.captions.prefix is True; it must be a text.{QUOTED}"),
    (b"samples: {prompts: [{prompt: 2023}]}\n", f"prompt is 2023; it must be a text, or null.{QUOTED}"),
    (b"test: {labels: [no, LoRA]}\n", f"two names, such as [Base Model, LoRA].{QUOTED}"),
    (b"model: {optimizer: {class_path: torch.optim.AdmW}}\n", "Did you mean torch.optim.AdamW?"),
    (b"trainer: {max_step: 3}\n", "Did you mean --trainer.max_steps?"),
    (b"5: {a: 1}\n", "there is no option 5.a"),
    (b"a: &a [*a]\n", "`a` holds itself, by a YAML alias (*)"),
    (b'data: {folder: "a\\0b"}\n', "no text or path may hold a NUL"),
    (b"data: !!python/object/apply:os.system [ls]\n", "could not determine a constructor for the tag"),
    (b"runs: null\n", "--runs is null; it must be a text."),
    (b"config: other.yaml\n", "a config file can't name another"),
    (b"model: {lora: 5}\n", "--model.lora is 5; it must hold settings"),
    (b"data: {captions: [1]}\n", "--data.captions is [1]; it must hold settings"),
    (
        b"model: {optimizer: {class_path: torch.optim.AdamW, init_args: [1]}}\n",
        "--model.optimizer.init_args is [1]; it must be names with values",
    ),
    (b"learning_rate: 0.1\n", "Did you mean --model.optimizer.init_args.lr?"),
]


@pytest.mark.parametrize(("text", "words"), CONFIGS, ids=[case[1][:50] for case in CONFIGS])
def test_a_wrong_config(here: Path, capsys: pytest.CaptureFixture[str], text: bytes, words: str) -> None:
    (here / "wrong.yaml").write_bytes(text)
    assert words in refusal(capsys, *FIT, "--config", "wrong.yaml")


@pytest.mark.parametrize(
    ("command", "text", "words"),
    [
        ("audit", "data: {trigger: no}", f"--data.trigger is False; it must be a text.{QUOTED}"),
        ("audit", "data: {captions: {prefix: on}}", f"prefix is True; it must be a text.{QUOTED}"),
        ("audit", "model: {base_model: 1e3}", f"--model.base_model is 1000.0; it must be a text.{QUOTED}"),
        ("plan", "data: {trigger: null}", '--data.trigger is null; it must be a text, or "" for none'),
        (
            "plan",
            "data: {captions: {suffix: null}}",
            '--data.captions.suffix is null; it must be a text, or "" for',
        ),
        ("predict", "prompt: 2023", "--prompt is 2023; it must be a text, which has quotes in YAML"),
    ],
)
def test_a_text_that_yaml_reads_as_something_else(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, words: str
) -> None:
    (here / "wrong.yaml").write_text(text)
    folder = ["--data.folder", "pictures"] if command == "audit" else []
    assert words in refusal(capsys, command, "--config", "wrong.yaml", *folder)


def test_numbers_and_lists_are_not_told_of_quotes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("data: {shares: 2:1}", "data: {resolution: no}", "model: {lora: {target_modules: {a: 1}}}"):
        (here / "wrong.yaml").write_text(text)
        assert "stands in quotes" not in refusal(capsys, *FIT, "--config", "wrong.yaml")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ("fitt",),
            "there is no command 'fitt'. Valid: fit, test, predict, audit, plan, export, merge. Did you mean fit?",
        ),
        (("fit", "--config", "smal.yaml"), "there is no such file"),
        (("fit", "--config", "smal.yaml"), "Did you mean small.yaml?"),
        (("fit", "--config", "base"), "is a folder; give a YAML file"),
        (("fit", "--config", "small.yaml"), "runs/small holds a run already"),
        (("fit", "--config", "small.yaml", "--model.ema_decay", "2"), "--model.ema_decay is 2"),
        (
            (
                "fit",
                "--config",
                "small.yaml",
                "--ckpt_path",
                "last",
                "--model.lora.rank",
                "8",
                "--trainer.max_steps",
                "3",
            ),
            "lora rank: the checkpoint has 4, this run 8",
        ),
        (
            ("--config", "small.yaml"),
            "--config stands where the command should. Valid: fit, test",
        ),
        (("fit", "--config", ""), "--config needs a value behind it"),
        (("audit", "--config"), "--config needs a value behind it"),
        (("predict", "--prompst", "a"), "Did you mean --prompt?"),
        (("predict", "--ckpt_path", "runs/small"), "Did you mean --lora?"),
        (("predict", "--cfg", "4"), "Did you mean --guidance_scale?"),
        (("predict", "--cfg-scale", "4"), "Did you mean --guidance_scale?"),
        (("predict", "--n", "blurry"), "Did you mean --negative_prompt?"),
        (("predict", "--lora", "runs"), "It holds runs: runs/small."),
        (("predict", "--lora", "runs/smal"), "Did you mean runs/small?"),
        (("predict", "--lora", ""), "--lora is empty: give a run's folder or a file"),
        (("predict", "--config", "small.yaml"), "holds the settings of a training (model.lora)"),
        (
            ("predict", "--prompt", "a", "--width", "5000"),
            "--width: 5000 is not a number of pixels, 8 to 4096",
        ),
        (("predict", "--prompt", "a", "--steps", "5000"), "is not a whole number, 1 to 1000"),
        (("predict", "--prompt", "a", "--output", "file.txt/x"), "file.txt is a file. Name another folder"),
        (("predict", "--prompt", "a", "--trainer.limit_predict_batches", "0"), "All pictures are painted"),
        (("predict", "--prompt", "a", "--trainer.max_time", "00:00:00:01"), "Stop it with Ctrl-C"),
        (("predict", "--prompt", "a", "--trainer.max_steps", "5"), "Nothing is trained here"),
        (("test", "--lora", "nope"), "there is no such file"),
        (("test", "--runs", "empty"), "there is no trained run in empty/"),
        (("test", "--prompts", "[]"), "--prompts is []: give one prompt or more"),
        (("test", "--prompts", "nope.txt"), "there is no such file"),
        (("test", "--prompts", "[{promt: a}]"), "test.prompts 1: needs a prompt"),
        (("test", "--prompt", "a"), "Did you mean --prompts?"),
        (("test", "--seeds", "5"), "a list of whole numbers, 0 or more, such as [0, 1, 2]"),
        (("test", "--seeds", "[1, 1]"), "give one or more, each once"),
        (("test", "--strengths", "[-1]"), "give two or more, rising from 0"),
        (("test", "--strengths", "x"), "a list of numbers that rise from 0"),
        (("test", "--labels", "[a]"), "two names, such as [Base Model, LoRA]"),
        (("test", "--lora_scale", "0"), "--lora_scale is 0, which is the base"),
        (("test", "--held_out", "nope"), "--held_out nope: there is no such folder."),
        (("test", "--held_out", "file.txt"), "--held_out file.txt: that is a file"),
        (("test", "--held_out", "empty"), "--held_out empty can't be used"),
        (("test", "--output", "file.txt"), "is a file; give the folder that the report goes to"),
        (("test", "--output", "file.txt/x"), "file.txt is a file. Name another folder"),
        (("test", "--pictures", "file.txt"), "--pictures file.txt is a file"),
        (("test", "--clip", "empty"), "--clip is empty: it could not be loaded: it needs config.json"),
        (("test", "--sampler", "x"), "it must be one of ddim, euler"),
        (("export", "--lora", "runs/small"), "Did you mean --ckpt_path?"),
        (("export", "--ckpt_path", "empty"), "is a folder without an adapter"),
        (("export", "--ckpt_path", "nope.safetensors"), "there is no such file"),
        (
            ("export", "--ckpt_path", "base/unet/diffusion_pytorch_model.safetensors"),
            "is no LoRA of Stable Diffusion",
        ),
        (("export", "--ckpt_path", "pictures/00.png"), "no whole .safetensors file"),
        (("export", "--format", "kohia"), "it must be one of diffusers, kohya, or null. Did you mean kohya?"),
        (("export", "--dtype", "fp8"), "it must be one of fp32, bf16, fp16"),
        (("export", "--output", "a.safetensors"), "is one file, for two formats"),
        (("export", "--output", "file.txt"), "is a file of another kind"),
        (("export", "--output", "a.ckpt"), "is a file of another kind"),
        (("export", "--output", ""), "--output is empty"),
        (("export", "--output", "file.txt/x"), "file.txt is a file. Name another folder"),
        (
            ("export", "--format", "kohya", "--output", "base/unet/diffusion_pytorch_model.safetensors"),
            "is there already and is no whole adapter file, so it isn't written over",
        ),
        (("export", "--model.base_model", "nope"), "there is no such folder or file"),
        (("merge",), "--output is needed"),
        (("merge", "--output", ""), "--output is needed"),
        (("merge", "--output", "base"), "exists already: name another folder"),
        (("merge", "--output", "base/merged", "--model.base_model", "base"), "lies in the base itself"),
        (("merge", "--output", "file.txt/x"), "file.txt is a file. Name another folder"),
        (
            ("merge", "--output", "m", "--lora_scale", "nan"),
            "--lora_scale is nan; it must be a finite number",
        ),
        (("merge", "--output", "m", "--lora_scale", "1e30"), "so it isn't kept. Nothing was written to m"),
        (("merge", "--output", "m", "--ckpt_path", "nope"), "there is no such file"),
        (("predict", "--runs", "empty"), "there is no trained run in empty/"),
        (("predict", "--lora", "nope.safetensors"), "there is no such file"),
        (("predict", "--lora", "empty"), "is a folder without an adapter"),
        (("predict", "--lora", "file.txt"), "no whole .safetensors file"),
        (("predict", "--prompts", "nope.txt"), "there is no such file"),
        (("predict", "--prompts", "empty"), "that is a folder; give a file"),
        (("predict", "--prompt", "hills AND sea"), "AND composes prompts"),
        (("predict", "--prompt", "hills --cn x.png"), "--prompt: --cn isn't known here"),
        (("predict", "--prompt", "a", "--negative_prompt", "embedding:bad"), "names a textual inversion"),
        (("predict", "--prompt", "a", "--seed", "[1, 2]"), "--seed is [1, 2]; it must be a whole number"),
        (("predict", "--prompt", "a", "--height", "-64"), "--height: -64 is not a number of pixels"),
        (("test", "--prompts", "[hills AND sea]"), "test.prompts 1: prompt: AND composes prompts"),
        (("predict", "--prompt", "a", "--prompts", "file.txt"), "are both given"),
        (("predict", "--prompt", "a", "--seed", "-1"), "--seed: -1 is not a whole number from 0"),
        (("predict", "--prompt", "a", "--steps", "0"), "--steps: 0 is not a whole number, 1 to 1000"),
        (("predict", "--prompt", "a", "--height", "100"), "not multiples of 8"),
        (("predict", "--prompt", "a", "--clip_skip", "50"), "clip_skip 50, valid are 0 to 1"),
        (("predict", "--prompt", "a", "--sampler", "k_euler"), "it must be one of ddim, euler"),
        (("predict", "--prompt", "a", "--batch_size", "0"), "it must be a whole number above 0"),
        (("predict", "--prompt", "a", "--output", "file.txt"), "is a file; give the folder"),
        (("predict", "--prompt", "a", "--trainer.devices", "0"), "--trainer.devices is 0"),
        (("predict", "--prompt", "a", "--model.base_model", "nope"), "there is no such folder or file"),
        (("audit", "--data.foldr", "x"), "Did you mean --data.folder?"),
        (("audit", "--data.folder", "pictuers"), "Did you mean pictures?"),
        (("audit",), "--data.folder is missing"),
        (
            ("audit", "--data.folder", "pictures", "--data.resolution", "64", "--clip", "./nope"),
            "--clip is ./nope: there is no such folder",
        ),
        (("audit", "--data.folder", "pictures", "--write"), "give --clip MODEL as well"),
        (("audit", "--data.folder", "pictures", "--trainer.max_steps", "0"), "--trainer.max_steps is 0"),
        (("audit", "--config", "nope.yaml"), "there is no such file"),
    ],
    ids=lambda value: " ".join(value)[:70] if isinstance(value, tuple) else "",
)
def test_a_wrong_command(
    here: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], words: str
) -> None:
    assert words in refusal(capsys, *args)


def edit(file: str, **settings: Any) -> Callable[[Path], object]:
    """Change settings of a JSON file of a base; None takes one out."""

    def change(base: Path) -> None:
        content = json.loads((base / file).read_text()) | settings
        (base / file).write_text(
            json.dumps({name: value for name, value in content.items() if value is not None})
        )

    return change


def without(name: str) -> Callable[[Path], object]:
    """Take a file out of a base."""
    return lambda base: (base / name).unlink()


def cut(name: str) -> Callable[[Path], object]:
    """Cut a file of a base short."""
    return lambda base: (base / name).write_bytes((base / name).read_bytes()[:2000])


def renamed_weights(name: str) -> Callable[[Path], object]:
    """Weights of other names than the config describes."""
    return lambda base: save_file(
        {f"x{k}": t for k, t in load_file(base / name).items()}, base / name, {"format": "pt"}
    )


def with_code(part: str, safe: str, pickled: str) -> Callable[[Path], object]:
    """Weights that are a pickle with code in it."""

    def change(base: Path) -> None:
        (base / part / safe).unlink()
        torch.save({"weights": Payload()}, base / part / pickled)

    return change


UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"

BASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "refiner": (edit("model_index.json", text_encoder=[None, None]), "is a refiner of Stable Diffusion XL"),
    "sd3": (
        edit("model_index.json", transformer=["diffusers", "SD3Transformer2DModel"]),
        "a transformer model",
    ),
    "flux": (edit("model_index.json", _class_name="FluxPipeline"), "a transformer model"),
    "inpainting": (edit(UNET, in_channels=9), "takes 9 channels where its VAE makes 4: an inpainting model"),
    "depth": (edit(UNET, in_channels=5), "takes 5 channels"),
    "text width": (edit(TEXT, hidden_size=768), "768 wide but the UNet's cross_attention_dim is 32"),
    "sdxl unet": (
        edit(UNET, addition_embed_type="text_time"),
        "it lacks text_encoder_2/config.json, tokenizer_2/",
    ),
    "kandinsky unet": (
        edit(UNET, addition_embed_type="text_image"),
        "is conditioned on text_image beside text",
    ),
    "t5": (edit(TEXT, model_type="t5"), "its text_encoder is a t5"),
    "control net": (edit(UNET, _class_name="ControlNetModel"), "its unet is a ControlNetModel"),
    "prediction type": (
        edit("scheduler/scheduler_config.json", prediction_type="vpred"),
        "known are epsilon",
    ),
    "schedule": (edit("scheduler/scheduler_config.json", beta_schedule="foo"), "describes no noise schedule"),
    "steps of schedule": (
        edit("scheduler/scheduler_config.json", num_train_timesteps=0),
        "describes no noise schedule",
    ),
    "index": (without("model_index.json"), "it has no model_index.json"),
    "config": (without(UNET), "is incomplete, it lacks unet/config.json"),
    "weights": (without(f"unet/{WEIGHTS}"), "has no weights: neither"),
    "tokenizer": (lambda base: shutil.rmtree(base / "tokenizer"), "lacks tokenizer/*.json"),
    "broken tokenizer": (
        lambda base: (base / "tokenizer/tokenizer.json").write_text("{"),
        "tokenizer can't be read",
    ),
    "no JSON": (lambda base: (base / UNET).write_text("{"), "is not valid JSON"),
    "JSON of another kind": (
        lambda base: (base / UNET).write_text("[]"),
        "holds no settings but []",
    ),
    "cut weights": (cut(f"unet/{WEIGHTS}"), "is damaged or cut short"),
    "cut text encoder": (cut("text_encoder/model.safetensors"), "is damaged or cut short"),
    "pointer": (
        lambda base: (
            (base / "vae" / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n") and None
        ),
        "is a pointer of git-lfs, not the weights",
    ),
    "weights of another model": (
        renamed_weights(f"unet/{WEIGHTS}"),
        "config and weights belong to different models",
    ),
    "text encoder of another model": (
        renamed_weights("text_encoder/model.safetensors"),
        "text_encoder lacks",
    ),
    "unet with code": (
        with_code("unet", WEIGHTS, "diffusion_pytorch_model.bin"),
        "a pickle that holds more than tensors",
    ),
    "vae with code": (
        with_code("vae", WEIGHTS, "diffusion_pytorch_model.bin"),
        "a pickle that holds more than tensors",
    ),
    "text encoder with code": (
        with_code("text_encoder", "model.safetensors", "pytorch_model.bin"),
        "a pickle that holds more than tensors",
    ),
}


@pytest.mark.parametrize("name", BASES)
def test_a_base_that_cannot_be_trained(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    change, words = BASES[name]
    base = shutil.copytree(here / "base", here / "other")
    change(base)
    assert words in refusal(capsys, *FIT, "--model.base_model", "other")
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["base.ckpt", "base.bin", "base.pt", "base.gguf"])
def test_a_base_in_one_pickled_file_is_not_opened(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Path(name).write_bytes(pickle.dumps(Payload()))
    words = refusal(capsys, *FIT, "--model.base_model", name)
    assert (
        "a single file must be .safetensors. Others are pickles, and opening one runs whatever code" in words
    )
    assert not Path("ran").exists()


def test_a_single_file_that_is_no_base(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, "lora.safetensors")
    given = ("--model.base_model", "lora.safetensors")
    assert "is a LoRA, not a model. Give it to --model.init_lora" in refusal(capsys, *FIT, *given)
    assert "lora.safetensors" in refusal(capsys, *FIT, *given, "--model.base_config", "base")
    Path("cut.safetensors").write_bytes(b"garbage")
    words = refusal(capsys, *FIT, "--model.base_model", "cut.safetensors", "--model.base_config", "base")
    assert "is damaged or cut short" in words


CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "pickle with code": lambda path: path.write_bytes(pickle.dumps(Payload())),
    "checkpoint with code": lambda path: torch.save({"fingerprint": {}, "state_dict": Payload()}, path),
    "another thing's": lambda path: torch.save({"model": torch.zeros(1)}, path),
    "a list": lambda path: torch.save([1, 2], path),
    "wrong fingerprint": lambda path: torch.save({"fingerprint": 5, "state_dict": {}}, path),
    "text": lambda path: path.write_text("text"),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_is_none(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    CHECKPOINTS[name](Path("step_000001.ckpt"))
    words = refusal(capsys, *FIT, "--ckpt_path", "step_000001.ckpt", "--trainer.max_steps", "5")
    assert "no checkpoint" in words
    words = refusal(
        capsys, "predict", "--lora", "step_000001.ckpt", "--model.base_model", "base", "--prompt", "a"
    )
    assert "step_000001.ckpt" in words
    assert not Path("ran").exists()


MIDDLE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def layer(kind: torch.dtype = torch.float32, **header: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """One layer that the tiny bases have, and a header."""
    down, up = torch.ones(2, 64, dtype=kind), torch.ones(64, 2, dtype=kind)
    return {f"{MIDDLE}.lora_down.weight": down, f"{MIDDLE}.lora_up.weight": up}, header


@pytest.mark.parametrize("command", ["predict", "export", "merge", "fit"])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        (layer(ss_v2="False"), "was trained on Stable Diffusion 1.x, as its header says, and this base is"),
        (layer(torch.int32), "holds whole numbers in mid_block.attentions.0"),
    ],
    ids=["another family", "whole numbers"],
)
def test_an_adapter_that_every_command_refuses(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, file: Any, words: str
) -> None:
    tensors, header = file
    save_file(tensors, "lora.safetensors", header)
    given = {
        "predict": ("predict", "--prompt", "a", "--lora"),
        "export": ("export", "--ckpt_path"),
        "merge": ("merge", "--output", "m", "--ckpt_path"),
        "fit": (*FIT, "--model.init_lora"),
    }[command]
    assert words in refusal(capsys, *given, "lora.safetensors", "--model.base_model", "base")


def test_a_run_of_another_family(here: Path, capsys: pytest.CaptureFixture[str], tiny_base_sd1: Path) -> None:
    given = ("export", "--ckpt_path", "runs/small", "--model.base_model", str(tiny_base_sd1))
    said = "was trained on Stable Diffusion 2.x, as its header says, and this base is Stable Diffusion 1.x"
    assert said in refusal(capsys, *given)


ADAPTERS: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "sdxl": ({"lora_te2_x.lora_down.weight": torch.zeros(1, 2)}, "holds text encoder layers only"),
    "unknown names": ({"model.diffusion_model.x": torch.zeros(1)}, "is no LoRA of Stable Diffusion"),
    "another base": (
        {
            "lora_unet_mid_block_attentions_9_proj_in.lora_down.weight": torch.zeros(1, 2),
            "lora_unet_mid_block_attentions_9_proj_in.lora_up.weight": torch.zeros(2, 1),
        },
        "mid_block_attentions_9_proj_in",
    ),
    "another width": (
        {
            "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.zeros(1, 999),
            "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.zeros(999, 1),
        },
        "doesn't fit this base",
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_does_not_fit(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    tensors, words = ADAPTERS[name]
    save_file(tensors, "lora.safetensors")
    given = ("predict", "--lora", "lora.safetensors", "--prompt", "a")
    assert words in refusal(capsys, *given, "--model.base_model", "base")


def huge_png(path: Path) -> None:
    """A PNG of 100 bytes whose header claims 50000x50000 pixels."""
    chunks = [
        (b"IHDR", pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    whole = [
        pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(whole))


def test_what_is_wrong_with_a_folder_is_told_with_what_is_wrong_with_its_mix(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = picture_folder(here / "others")
    (folder / "00.png").write_bytes(b"")
    huge_png(folder / "01.png")
    outside = here / "outside.png"
    shutil.copy(folder / "02.png", outside)
    (folder / "02.png").unlink()
    (folder / "02.png").symlink_to(outside)
    with (folder / "metadata.jsonl").open("a") as metadata:
        metadata.write(
            '{"file_name": "../outside.png", "text": "a", "group": "Portrait"}\n{"file_name": 5}\n'
        )
    words = refusal(capsys, *FIT, "--data.folder", "others", "--data.shares", "{portrat: 2, landscape: 1}")
    for said in (
        "empty files (0 bytes) (1): 00.png",
        "too many pixels (1): 01.png",
        "paths that leave the folder (1): ../outside.png",
        "lines or files that can't be read (1): metadata.jsonl line 14",
        "the mix can't be drawn (1): data.shares names the groups ['landscape', 'portrat']",
        "groups whose names differ by capital letters alone, kept apart (1): Portrait and portrait",
    ):
        assert said in words, words


def test_a_progress_bar_can_be_left_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(here)
    main([*FIT, "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "1", "--runs", "others"])
    assert (here / "others/new/checkpoints/step_000001.ckpt").is_file()
