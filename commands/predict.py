"""`python train.py predict`: paint a list of prompts with a trained adapter.

    python train.py predict                                        the sample prompts of the run trained last
    python train.py predict --prompt "a girl, (watercolor:1.2)"    one prompt
    python train.py predict --lora my.safetensors --model.base_model FOLDER --prompts prompts.txt

Run again, it paints what is missing. The pieces: which adapter, `commands/adapter_choice.py`; into the UNet,
`lightning_modules/adapter_source.py`; prompts, `datamodules/prompt_entries.py`; what is done already,
`datamodules/prompt_list.py`; the files, `callbacks/picture_writer.py`.
"""

import inspect
import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from callbacks.painting_progress import PaintingProgress
from callbacks.picture_writer import PictureWriter
from command_line import HelpfulParser
from commands.adapter_choice import AdapterChoice, choose_adapter, own_size
from datamodules.prompt_list import PromptList
from lightning_modules.adapter_painter import AdapterPainter
from lightning_modules.adapter_source import read_adapter
from lightning_modules.components import base_name

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # the list deals its pictures over the ranks itself
}

NOT_OPTIONS = {"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"}
"""Arguments of `Trainer.predict` that aren't the user's to choose."""


class PredictParser(HelpfulParser, LightningArgumentParser):
    """Lightning's parser with our messages."""


class PredictCLI(LightningCLI):
    """Lightning's command line for painting: prompts and their settings are options of their own."""

    trainer: L.Trainer
    model: AdapterPainter
    datamodule: PromptList
    choice: AdapterChoice

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Painting only."""
        return {"predict": NOT_OPTIONS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Which adapter, and the prompts with their settings without a `data.` before them."""
        parser.add_argument(
            "--lora",
            type=str | None,
            default=None,
            help="run folder, checkpoint, or exported file in diffusers or kohya format (default: the last run)",
        )
        parser.add_argument("--runs", type=str, default="runs", help="folder that holds all runs")
        parser.link_arguments("lora", "model.lora")
        parser.add_class_arguments(PromptList, None)
        for name in inspect.signature(PromptList).parameters:
            parser.link_arguments(name, f"data.{name}")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; tests and notebooks call `main` with arguments of their own."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]

    def before_instantiate_classes(self) -> None:
        """Find the adapter, and take from its run what wasn't given."""
        options = self.config[self.subcommand]
        self.choice = choice = choose_adapter(options.lora, Path(options.runs))
        options.model.lora = str(choice.file)
        header = read_adapter(choice.file).metadata
        if options.model.base_model is None:
            options.model.base_model = choice.base_model(header.get("base"))
            options.model.base_config = options.model.base_config or choice.setting("model", "base_config")
        for name in ("zero_terminal_snr", "long_captions"):
            if options.model[name] is None:
                options.model[name] = choice.setting("model", name)
        if options.data.output is None:
            options.data.output = str(choice.run / "pictures") if choice.run else "pictures"
        if options.data.prompt is None and options.data.prompts is None and choice.run:
            options.data.prompts = str(choice.run / "config.yaml")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The Trainer with the callbacks that write and count."""
        writer = PictureWriter(
            Path(base_name(self.model.base_model)).name, self.choice.name, self.model.adapter.digest
        )
        callbacks = [writer, PaintingProgress()]  # what is counted is written
        settings = {**self.config_init[self.subcommand].trainer, "callbacks": callbacks, **kwargs}
        return L.Trainer(**settings)

    def after_instantiate_classes(self) -> None:
        """Tell the data how large pictures are by default, and what else decides what they show."""
        model, data = self.model, self.datamodule
        side = self.choice.setting("data", "resolution")
        data.size = (side, side) if side else own_size(model.base_model, model.base_config)
        decides = (
            base_name(model.base_model),
            model.zero_terminal_snr,
            model.long_captions,
            model.adapter.digest,
        )
        data.painted_by = repr((*decides, str(self.trainer.precision)))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Lightning's arguments for `predict`: pictures are written, not collected in memory."""
        return super()._prepare_subcommand_kwargs(subcommand) | {"return_predictions": False}

    def _run_subcommand(self, subcommand: str) -> None:
        """Paint what isn't there; when all is there, load nothing."""
        if os.environ.get("LOCAL_RANK"):  # the first process has said it
            return super()._run_subcommand(subcommand)
        data = self.datamodule
        there, waiting = len(data.jobs), len(data.waiting())
        print(f"Adapter: {self.choice.file} on {self.model.base_model}", flush=True)
        print(f"{data.output}: {there - waiting} of {pictures(there)} there already", flush=True)
        if waiting:
            super()._run_subcommand(subcommand)
            print(f"Done: {pictures(there)} in {data.output}", flush=True)


def pictures(count: int) -> str:
    """A count in words, e.g. "8 pictures"."""
    return "1 picture" if count == 1 else f"{count} pictures"


def predict(args: list[str]) -> None:
    """Run the command.

    Args:
        args: what follows `train.py`, with `predict` first.
    """
    PredictCLI(
        AdapterPainter,
        PromptList,
        args=args,
        seed_everything_default=False,  # pictures have seeds of their own
        trainer_defaults=TRAINER_DEFAULTS,
        auto_configure_optimizers=False,
        save_config_callback=None,
        parser_class=PredictParser,
    )
