"""The command line of `fit`: its options, and the run that they describe.

The model, the data and the callbacks never import each other and meet here.
"""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from callbacks.adapter_learns import AdapterLearns
from callbacks.charts import Charts
from callbacks.checkpoints import Checkpoints
from callbacks.ckpt_path import resolve_ckpt_path
from callbacks.clip_score import ClipScore
from callbacks.exposure_ledger import ExposureLedger
from callbacks.graceful_stop import GracefulStop
from callbacks.lora_export import DIFFUSERS_FILE, LoraExport
from callbacks.loss_guard import LossGuard
from callbacks.progress import RunProgress
from callbacks.resume_guard import ResumeGuard, changed_settings
from callbacks.sample_images import SampleImages
from callbacks.steady_logger import SteadyLogger
from callbacks.summary import RunSummary
from callbacks.time_shares import TimeShares
from callbacks.training_log import TrainingLog
from callbacks.validation_line import ValidationLine
from callbacks.validations import LastValidation
from commands.fit.loop import end_without_steps
from commands.runs.evaluation_options import SECTION, EvaluationOptions
from commands.runs.model_card import write_model_card
from commands.runs.run_folder import (
    check_run_names,
    claim,
    earlier_settings,
    refuse_a_second_run,
    refuse_if_done,
    run_name,
)
from commands.terminal.arithmetic import kernels, use_tf32
from commands.terminal.command_line import as_typed, without
from commands.terminal.config_files import configs_of, note_without_config, with_default_config
from commands.terminal.trainer_options import check_training, on_cuda
from commands.watch.parent_watch import is_first_here
from commands.watch.process_watch import LastExchange
from demo.style_set import ensure_style_set
from lightning_modules.base.compilation import check_compiler
from lightning_modules.base.float8_storage import check_storage
from lightning_modules.base.loading import load_tokenizer
from lightning_modules.lora.reading import read_adapter
from lightning_modules.text.conditioning import lost_words, token_count


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
        options = self.parsed(parser, args)
        for group, settings in (("model.lora", options.model.lora), ("data.captions", options.data.captions)):
            if not isinstance(settings, Namespace):  # the parser takes anything here from a file
                raise ValueError(
                    f"--{group} is {settings!r:.80}; it must hold settings, {group}.NAME: VALUE."
                )
        check_training(options.trainer)
        check_storage(options.model.base_storage, str(options.trainer.precision))
        if options.model.compile_blocks:
            check_compiler(on_gpu=on_cuda(options.trainer.accelerator))
        check_run_names(options)

    def parsed(self, parser: LightningArgumentParser, args: ArgsType) -> Namespace:
        """The options; where no config was given those of the embedded world's, and for whom they are is said.

        Raises:
            ValueError: they don't fit the base.
        """
        self.given = list(args)  # type: ignore[arg-type]
        self.config = parser.parse_args(with_default_config(self.given))
        options: Namespace = self.config[self.config.subcommand]
        if not configs_of(self.given):
            note = note_without_config(options.model.base_model, options.data.folder)
            if note and is_first_here():
                print(note, flush=True)
        return options

    def _parse_ckpt_path(self) -> None:
        """Lightning would let the checkpoint's settings win over the command line in silence; ours don't."""

    @property
    def run_folder(self) -> Path:
        """`<runs>/<name>`; the name is that of the configs unless given."""
        options = self.config[self.subcommand]
        return Path(options.runs) / run_name(options)

    def before_instantiate_classes(self) -> None:
        """Settle where the run lives and where it starts, before anything is loaded."""
        options = self.config[self.subcommand]
        self.graceful_stop = GracefulStop(options.max_minutes)
        self.graceful_stop.listen()
        checkpoints = self.run_folder / "checkpoints"
        self.goes_on = options.ckpt_path is not None  # auto may find nothing, or nothing that is whole
        self.resumed_from = resolve_ckpt_path(options.ckpt_path, checkpoints)
        # config.yaml repeats the run: it has the run's name, and no checkpoint to start from
        options.ckpt_path, options.name = None, self.run_folder.name
        if self.resumed_from:
            refuse_if_done(self.resumed_from, options.trainer.max_steps, self.command(), self.run_folder)
        ensure_style_set(Path(options.data.folder))

    def _run_subcommand(self, subcommand: str) -> None:
        """Train; a start that is refused leaves no empty folder."""
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            with suppress(OSError):  # it holds something
                self.run_folder.rmdir()
            raise

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Lightning's arguments for `fit`, with the checkpoint that was found."""
        return super()._prepare_subcommand_kwargs(subcommand) | {"ckpt_path": self.resumed_from}

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The Trainer with this run's folder and logger, and the callbacks in the order that they need."""
        options = self.config_init[self.subcommand]
        logger = SteadyLogger(self.run_folder, name="", version="", default_hp_metric=False)
        first = [
            TimeShares(),
            TrainingLog(),
            Charts(),
            self.graceful_stop,
            *([] if options.trainer.enable_progress_bar is False else [RunProgress()]),
            ResumeGuard(self.resumed_from, self.changes() if self.resumed_from else ()),
            options.loss_guard,
            AdapterLearns(),
            ExposureLedger(),
        ]
        own = [
            options.samples,
            options.clip_score,
            options.checkpoints,
            ValidationLine(),
            LastExchange(),
            options.export,
            LastValidation(),
        ]
        settings = {
            **options.trainer,
            "val_check_interval": in_batches(options.trainer),
            **kernels(options.trainer, buckets=options.data.buckets),
            "default_root_dir": str(self.run_folder),
            "logger": logger,
            "callbacks": first + as_list(options.trainer.callbacks),
            **kwargs,
        }
        summary = RunSummary(command=self.command(), resume=self.resume_command())
        use_tf32(options.trainer.accelerator)
        trainer: L.Trainer = self._instantiate_trainer(settings, [*own, summary])
        end_without_steps(trainer)
        return trainer

    def changes(self) -> list[str]:
        """Settings that differ from those that the run had before."""
        now = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
        return changed_settings(earlier_settings(self.run_folder), yaml.safe_load(now))

    def after_instantiate_classes(self) -> None:
        """Keep another run whole; give the data a way to count tokens, unless nothing is ever too long."""
        if not self.goes_on:  # once all values are known to be good
            unnamed = as_typed(without(self._given_without_resume(), "--name"))
            refuse_a_second_run(self.run_folder, self.command(), unnamed)
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

    def command(self) -> str:
        """What was typed, without a resume: for messages that offer the next command."""
        return as_typed(self._given_without_resume())

    def _given_without_resume(self) -> list[str]:
        return without(without(self.given, "--ckpt_path"), "--trainer.max_steps")

    def resume_command(self) -> str:
        """What was typed, going on from the newest checkpoint."""
        return as_typed([*without(self.given, "--ckpt_path"), "--ckpt_path", "last"])


def as_list(callbacks: Any) -> list[L.Callback]:
    """`--trainer.callbacks` takes one, several or none."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def in_batches(trainer: Any) -> int | float:
    """`val_check_interval` means optimizer steps here; Lightning counts batches, `accumulate_grad_batches` a step."""
    interval: int | float = trainer.val_check_interval
    return interval * trainer.accumulate_grad_batches if isinstance(interval, int) else interval
