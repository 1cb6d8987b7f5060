"""What commands that paint with a finished adapter have in common: which adapter, on which base, how it is written.

`python train.py predict` paints prompts, `python train.py test` compares base and LoRA; both are `Trainer.predict`
over a list of pictures.
"""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from callbacks.painting_progress import PaintingProgress
from callbacks.picture_writer import PictureWriter
from commands.runs.lora_file import WHICH_LORA, LoraFile, base_of, find_lora
from commands.terminal.arithmetic import arithmetic_restored, use_tf32
from commands.terminal.lightning_cli import CommandParser, quiet_lightning
from commands.terminal.trainer_options import check_painting
from commands.watch.process_watch import go_on_alone, lost_processes_said, watched_children
from datamodules.painting.picture_list import PictureList
from lightning_modules.adapter_painter import AdapterPainter
from lightning_modules.base.latents import own_size
from lightning_modules.base.loading import base_name
from lightning_modules.lora.reading import read_adapter

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # the list deals its pictures over the ranks itself
}

NOT_OPTIONS = {"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"}
"""Arguments of `Trainer.predict` that aren't the user's to choose."""


class PaintingCLI(LightningCLI):
    """Lightning's command line around an `AdapterPainter`."""

    trainer: L.Trainer
    model: AdapterPainter
    lora: LoraFile

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Which adapter."""
        parser.add_argument("--lora", type=str | None, default=None, help=WHICH_LORA)
        parser.add_argument("--runs", type=str, default="runs", help="folder that holds all runs")
        parser.link_arguments("lora", "model.lora")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; tests and notebooks call `main` with arguments of their own."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]
        check_painting(self.config[self.config.subcommand].trainer)

    def before_instantiate_classes(self) -> None:
        """Find the adapter, and take from its run what wasn't given."""
        options = self.config[self.subcommand]
        self.lora = lora = find_lora(options.lora, Path(options.runs))
        options.model.lora = str(lora.path)
        model = options.model
        model.base_model, model.base_config, model.prediction_type = base_of(
            lora, read_adapter(lora.path), model.base_model, model.base_config, model.prediction_type
        )
        if model.zero_terminal_snr is None:
            model.zero_terminal_snr = lora.said_of_base("zero_terminal_snr", model.base_model)
        if model.long_captions is None:
            model.long_captions = lora.setting("model", "long_captions")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The Trainer with the callbacks that write and count."""
        writer = PictureWriter(
            Path(base_name(self.model.base_model)).name,
            self.lora.name,
            self.model.adapter.digest,
            self.model.layer_read,
        )
        options = self.config_init[self.subcommand].trainer
        use_tf32(options.accelerator)  # as the samples of a run are painted
        progress = [] if options.enable_progress_bar is False else [PaintingProgress()]
        settings = {**options, "callbacks": [writer, *progress], **kwargs}  # what is counted is written
        return L.Trainer(**settings)

    def paint(self, pictures: PictureList) -> None:
        """Paint what isn't there. Every process has to call this; afterwards the pictures of all are there.

        Lightning passes over every hook of a process that has no batch, so all meet behind it.
        """
        self.trainer.predict(self.model, datamodule=pictures, return_predictions=False)
        self.trainer.strategy.barrier()
        go_on_alone()

    def size(self) -> tuple[int, int]:
        """Height and width where nobody says them: those that the run trained at, or else the base's own."""
        side = self.lora.setting("data", "resolution")
        return (side, side) if side else own_size(self.model.base_model, self.model.base_config)

    def name_pictures(self, pictures: PictureList) -> None:
        """Tell the list what else decides what its pictures show."""
        model = self.model
        told = [
            model.prediction_type,
            model.zero_terminal_snr,
            model.long_captions,
            str(self.trainer.precision),
        ]
        told += [] if model.base_storage is None else [model.base_storage]
        pictures.painted_by = repr((base_name(model.base_model), *told))
        pictures.adapter = model.adapter.digest


def run_painting(
    name: str, command_line: type[PaintingCLI], args: list[str], data: type[PictureList] | None = None
) -> None:
    """Run a command that paints.

    Args:
        name: the command's name.
        command_line: the command.
        args: what follows its name.
        data: the pictures, where the command's options are theirs.
    """
    quiet_lightning()
    with arithmetic_restored(), watched_children(), lost_processes_said():
        command_line(
            AdapterPainter,
            data,
            args=[name, *args],
            seed_everything_default=False,  # pictures have seeds of their own
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            save_config_callback=None,
            parser_class=CommandParser,
        )


def counted_pictures(count: int) -> str:
    """How many pictures, e.g. "8 pictures"."""
    return "1 picture" if count == 1 else f"{count} pictures"


def what_is_there(pictures: PictureList) -> str:
    """How far a list is, e.g. "runs/demo/pictures: 3 of 8 pictures there already"."""
    left = sum(len(jobs) for jobs in pictures.waiting())
    return f"{pictures.output}: {len(pictures.jobs) - left} of {counted_pictures(len(pictures.jobs))} there already"
