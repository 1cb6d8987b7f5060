"""`python train.py predict`: paint a list of prompts with a trained adapter.

    python train.py predict                                        the sample prompts of the run trained last
    python train.py predict --prompt "a girl, (watercolor:1.2)"    one prompt
    python train.py predict --lora my.safetensors --model.base_model FOLDER --prompts prompts.txt

Run again, it paints what is missing. The pieces: which adapter, `commands/compare/painting_cli.py`; into the UNet,
`lightning_modules/lora/reading.py`; prompts, `datamodules/painting/prompt_entries.py`; what is done already,
`datamodules/painting/picture_list.py`; the files, `callbacks/picture_writer.py`.
"""

import inspect

from lightning.pytorch.cli import LightningArgumentParser

from commands.compare.painting_cli import (
    NOT_OPTIONS,
    PaintingCLI,
    counted_pictures,
    run_painting,
    what_is_there,
)
from commands.watch.parent_watch import local_rank
from datamodules.painting.prompt_list import PromptList


class PredictCLI(PaintingCLI):
    """Prompts and their settings are options of their own, without a `data.` before them."""

    datamodule: PromptList

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Painting only."""
        return {"predict": NOT_OPTIONS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The adapter and the prompts."""
        super().add_arguments_to_parser(parser)
        # without a type it is what was typed: as `str | None` the prompts null and ~ would be none
        parser.add_argument(
            "--prompt", help="one prompt to paint, with weights such as (x:1.2) and flags such as --n"
        )
        parser.add_class_arguments(PromptList, None, skip={"prompt"})
        for name in inspect.signature(PromptList).parameters:
            parser.link_arguments(name, f"data.{name}")

    def before_instantiate_classes(self) -> None:
        """Without prompts the run's own; without a folder one in the run."""
        super().before_instantiate_classes()
        data, run = self.config[self.subcommand].data, self.lora.run
        if data.output is None:
            data.output = str(run / "pictures") if run else "pictures"
        if data.prompt is None and data.prompts is None and run:
            data.prompts = str(run / "config.yaml")

    def after_instantiate_classes(self) -> None:
        """Tell the data how large pictures are by default, and what else decides what they show."""
        self.datamodule.size = self.size()
        self.name_pictures(self.datamodule)

    def _run_subcommand(self, subcommand: str) -> None:
        """Paint what isn't there; when all is there, load nothing."""
        data, says = self.datamodule, self.trainer.is_global_zero
        if says:
            print(f"Adapter: {self.lora.path} on {self.model.base_model}", flush=True)
            print(what_is_there(data), flush=True)
            if len(data.jobs) < len(data.entries):
                print(
                    f"Note: {len(data.entries)} prompts are {counted_pictures(len(data.jobs))}: equal ones, with the "
                    "same seed and settings, are painted once.",
                    flush=True,
                )
        if data.waiting() or local_rank() is not None:  # then all have to go the same way
            self.paint(data)
            if says:
                print(f"Done: {counted_pictures(len(data.jobs))} in {data.output}", flush=True)


def predict(args: list[str]) -> None:
    """Run the command.

    Args:
        args: what follows `train.py predict`.
    """
    run_painting("predict", PredictCLI, args, PromptList)
