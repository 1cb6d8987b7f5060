"""The command line: `python train.py fit` trains a style LoRA; every option is in `python train.py fit --help`.

`main` only wires: the model, the data and the callbacks never import each other and meet here. `audit` is dispatched
before Lightning is imported.
"""

import logging
import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if __name__ == "__main__" and sys.argv[1:2] == ["audit"]:
    from commands.audit import main as audit

    audit(sys.argv[2:])  # exits: what follows takes seconds to import, and the audit needs none of it

import lightning as L
import yaml
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from callbacks.adapter_learns import AdapterLearns
from callbacks.checkpoints import STEP_FILE, Checkpoints, newest, resolve
from callbacks.clip_score import ClipScore
from callbacks.exposure_ledger import ExposureLedger
from callbacks.graceful_stop import STOPPED_EARLY, GracefulStop, StoppedEarly, signals_restored
from callbacks.lora_export import DIFFUSERS_FILE, LoraExport, finished_step
from callbacks.loss_guard import LossGuard
from callbacks.progress import RunProgress
from callbacks.resume_guard import ResumeGuard, changed_settings
from callbacks.sample_images import SampleImages
from callbacks.steady_logger import SteadyLogger
from callbacks.summary import RunSummary, stopped_by
from callbacks.training_log import TrainingLog
from callbacks.validations import LastValidation
from command_line import HelpfulParser, as_typed, check_command, exit_with_message, without
from commands.evaluation_options import EvaluationOptions
from commands.export import export
from commands.fit_config import configs_of, read_config
from commands.merge import merge
from commands.model_card import CARD, write_model_card
from commands.predict import predict
from commands.run_folder import WholeConfig, claim, earlier_settings
from commands.test import SECTION, test
from commands.trainer_options import check_training
from datamodules.caption_images import CaptionImages
from demo.style_set import ensure_style_set
from lightning_modules.adapter_source import read_adapter
from lightning_modules.components import load_tokenizer
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text_conditioning import lost_words, token_count

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "demo.yaml"

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": -1,  # training is one endless epoch, ended by max_steps
    "max_steps": 1500,
    "check_val_every_n_epoch": None,  # validation goes by batches:
    "val_check_interval": 100,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
    "gradient_clip_val": 1.0,
    "use_distributed_sampler": False,  # the stream deals its draws over the ranks itself
    "enable_model_summary": False,
    "deterministic": "warn",
}

LONGEST_NAME = 200
"""Letters of a run's name: a file's may have 255 bytes, and `_step_000100_kohya.safetensors` follows."""

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # pictures are encoded once and kept in memory: loading costs nothing
    ".*module.*in eval mode.*",  # the frozen VAE and text encoder belong in eval mode
    ".*Detected call of `lr_scheduler.step\\(\\)` before.*",  # fp16: the first steps may be skipped for their scale
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 on a newer torch
)


class FitParser(HelpfulParser, LightningArgumentParser):
    """Lightning's parser with our messages."""


class StyleCLI(LightningCLI):
    """Lightning's command line with the run folder and the callbacks of this project."""

    trainer: L.Trainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only what the project answers for."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run folder and the callbacks, each a group of options."""
        parser.add_argument(
            "--name", type=str | None, default=None, help="run's name (default: its config's name)"
        )
        parser.add_argument("--runs", type=str, default="runs", help="folder that holds all runs")
        parser.add_argument(
            "--max_minutes",
            type=PositiveFloat | None,
            default=None,
            help="stop after this many minutes of this process, at the next optimizer step, with a checkpoint, the "
            "exports and the command that goes on",
        )
        parser.add_lightning_class_args(SampleImages, "samples")
        parser.add_lightning_class_args(ClipScore, "clip_score")
        parser.add_lightning_class_args(Checkpoints, "checkpoints")
        parser.add_lightning_class_args(LoraExport, "export")
        parser.add_class_arguments(EvaluationOptions, SECTION)  # kept in the run's config.yaml for `test`
        parser.add_lightning_class_args(LossGuard, "loss_guard")
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")
        parser.link_arguments("data.resolution", "model.resolution")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; tests and notebooks call `main` with arguments of their own."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]
        self.given = list(args)  # type: ignore[arg-type]
        options = self.config[self.config.subcommand]
        for group, settings in (("model.lora", options.model.lora), ("data.captions", options.data.captions)):
            if not isinstance(settings, Namespace):  # the parser takes anything here from a file
                raise ValueError(
                    f"--{group} is {settings!r:.80}; it must hold settings, {group}.NAME: VALUE."
                )
        check_training(options.trainer)
        check_run_names(options)

    def _parse_ckpt_path(self) -> None:
        """Lightning would let the checkpoint's settings win over the command line in silence; ours don't."""

    @property
    def run_folder(self) -> Path:
        """`<runs>/<name>`; the name is that of the configs unless given."""
        options = self.config[self.subcommand]
        name = options.name or "-".join(Path(str(path)).stem for path in options.config)
        return Path(options.runs) / name

    def before_instantiate_classes(self) -> None:
        """Settle where the run lives and where it starts, before anything is loaded."""
        options = self.config[self.subcommand]
        self.graceful_stop = GracefulStop(options.max_minutes)
        self.graceful_stop.listen()
        checkpoints = self.run_folder / "checkpoints"
        self.goes_on = options.ckpt_path is not None  # auto may find nothing, or nothing that is whole
        self.resumed_from = resolve(options.ckpt_path, checkpoints)
        # config.yaml repeats the run: it has the run's name, and no checkpoint to start from
        options.ckpt_path, options.name = None, self.run_folder.name
        if self.resumed_from:
            refuse_if_done(self.resumed_from, options.trainer.max_steps, self.command(), self.run_folder)
        ensure_style_set(Path(options.data.folder))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Lightning's arguments for `fit`, with the checkpoint that was found."""
        return super()._prepare_subcommand_kwargs(subcommand) | {"ckpt_path": self.resumed_from}

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The Trainer with this run's folder and logger, and the callbacks in the order that they need."""
        options = self.config_init[self.subcommand]
        logger = SteadyLogger(self.run_folder, name="", version="", default_hp_metric=False)
        first = [
            TrainingLog(),
            self.graceful_stop,
            *([] if options.trainer.enable_progress_bar is False else [RunProgress()]),
            AdapterLearns(),
            ResumeGuard(self.resumed_from, self.changes() if self.resumed_from else ()),
            options.loss_guard,
            ExposureLedger(),
        ]
        own = [options.samples, options.clip_score, options.checkpoints, options.export, LastValidation()]
        settings = {
            **options.trainer,
            "val_check_interval": in_batches(options.trainer),
            "default_root_dir": str(self.run_folder),
            "logger": logger,
            "callbacks": first + as_list(options.trainer.callbacks),
            **kwargs,
        }
        summary = RunSummary(command=self.command(), resume=self.resume_command())
        return self._instantiate_trainer(settings, [*own, summary])

    def changes(self) -> list[str]:
        """Settings that differ from those that the run had before."""
        now = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
        return changed_settings(earlier_settings(self.run_folder), yaml.safe_load(now))

    def after_instantiate_classes(self) -> None:
        """Keep another run whole; give the data a way to count tokens, unless nothing is ever too long."""
        self.refuse_a_second_run()  # once all values are known to be good
        claim(self.run_folder)
        if self.model.long_captions == "windows":
            return
        tokenizer = cache(lambda: load_tokenizer(self.model.base_model, self.model.base_config))
        self.datamodule.count_tokens = lambda caption: token_count(tokenizer(), caption)
        self.datamodule.lost_words = lambda caption: lost_words(tokenizer(), caption)

    def after_fit(self) -> None:
        """The model card beside the final exports; they are there only after a run that came to its end."""
        files = [
            self.run_folder / DIFFUSERS_FILE,
            self.run_folder / f"{self.run_folder.name}_kohya.safetensors",
        ]
        if self.trainer.is_global_zero and all(path.is_file() for path in files):
            write_model_card(files, read_adapter(files[0]).digest, self.run_folder)

    def refuse_a_second_run(self) -> None:
        """Start no run in the folder of another one.

        Raises:
            ValueError: with the commands that go on, or start beside it.
        """
        folder = self.run_folder
        if not self.goes_on and not os.environ.get("LOCAL_RANK") and newest(folder / "checkpoints"):
            raise ValueError(
                f"{folder} holds a run already. Go on with it:\n  {self.command()} --ckpt_path last\n"
                f"or start another beside it:\n  {self.command()} --name {free_name(folder)}"
            )

    def command(self) -> str:
        """What was typed, without a resume: for messages that offer the next command."""
        rest = without(without(self.given, "--ckpt_path"), "--trainer.max_steps")
        return as_typed(without(rest, "--config", str(DEFAULT_CONFIG)))

    def resume_command(self) -> str:
        """What was typed, going on from the newest checkpoint."""
        rest = without(without(self.given, "--ckpt_path"), "--config", str(DEFAULT_CONFIG))
        return as_typed([*rest, "--ckpt_path", "last"])


def as_list(callbacks: Any) -> list[L.Callback]:
    """`--trainer.callbacks` takes one, several or none."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def check_run_names(options: Any) -> None:
    """Check seed, `--name` and `--runs`.

    Raises:
        ValueError: one of them can't be.
    """
    if not options.runs:
        raise ValueError(
            f"--runs is {options.runs!r}; it must be the folder that holds all runs, such as runs."
        )
    seed, name, runs = options.seed_everything, options.name, Path(options.runs)
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"--seed_everything is {seed}; it must be a whole number from 0 to {2**32 - 1}.")
    if name is not None and (name in ("", ".", "..") or Path(name).name != name or not name.isprintable()):
        raise ValueError(
            f"--name is {name!r}; it must be the name of one folder, which will lie in --runs {runs}."
        )
    if len(str(name or "")) > LONGEST_NAME:
        raise ValueError(
            f"--name has {len(name)} letters; files are named after it, so give at most {LONGEST_NAME}."
        )
    if runs.exists() and not runs.is_dir():
        raise ValueError(f"--runs is {runs}, which is a file; give the folder that holds all runs.")


def in_batches(trainer: Any) -> int | float:
    """`val_check_interval` means optimizer steps here; Lightning counts batches, `accumulate_grad_batches` a step."""
    interval: int | float = trainer.val_check_interval
    return interval * trainer.accumulate_grad_batches if isinstance(interval, int) else interval


def refuse_if_done(checkpoint: Path, max_steps: int, command: str, run: Path) -> None:
    """Say that a run has all its steps already, instead of loading everything to find nothing to do.

    A run that was killed while it wrote its final files isn't done: resumed, it writes them.

    Raises:
        ValueError: with the command that goes on.
    """
    match = STEP_FILE.fullmatch(checkpoint.name)
    final_files = finished_step(run) if (run / CARD).is_file() else None  # the card is written last
    if match and int(match[1]) >= max_steps and int(match[1]) == final_files:
        raise ValueError(
            f"{checkpoint} is step {int(match[1])} of {max_steps}: this run is done. Go on further with\n"
            f"  {command} --ckpt_path last --trainer.max_steps {2 * max_steps}"
        )


def free_name(folder: Path) -> str:
    """The first of name-2, name-3 ... that no run has."""
    n = 2
    while (folder.parent / f"{folder.name}-{n}").exists():
        n += 1
    return f"{folder.name}-{n}"


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: what follows `train.py`; null takes it from the process. No subcommand means `fit`; `fit` without a
            `--config` runs the embedded default, `configs/demo.yaml`. `predict` paints; `test` compares with the base;
            `export` and `merge` make files for other programs; `audit` looks at a folder.
    """
    args = list(sys.argv[1:] if args is None else args) or ["fit"]
    check_command(args[0])
    if args[0] == "audit":
        from commands.audit import main as audit

        audit(args[1:])
    if args[0] == "fit" and not any(a.split("=")[0] in ("--config", "-c") for a in args):
        args[1:1] = ["--config", str(DEFAULT_CONFIG)]
    debug = "--debug" in args
    args = [a for a in args if a != "--debug"]
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # the run says what matters itself
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    with exit_with_message(debug):
        for config in configs_of(args):
            read_config(config)  # for its messages
        if args[0] == "predict":
            return predict(args)
        if args[0] == "test":
            return test(args)
        if args[0] == "export":
            return export(args[1:])
        if args[0] == "merge":
            return merge(args[1:])
        fit(args)


def fit(args: list[str]) -> None:
    """Train; a run that was asked to stop early exits with status 75."""
    try:
        with signals_restored():
            command_line = StyleCLI(
                StableDiffusionLora,
                CaptionImages,
                args=args,
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS,
                auto_configure_optimizers=False,
                save_config_callback=WholeConfig,
                save_config_kwargs={"overwrite": True},
                parser_class=FitParser,
            )
    except StoppedEarly as reason:
        again = as_typed(without(args, "--config", str(DEFAULT_CONFIG)))
        print(f"\nStopped by {reason} before training began; nothing is lost. Start again:\n  {again}")
        sys.exit(STOPPED_EARLY)
    if stopped_by(command_line.trainer):
        sys.exit(STOPPED_EARLY)


if __name__ == "__main__":
    main()
