"""The run that `fit` would make of some options, for the plan of its memory: parsed as there, and not started."""

from collections.abc import Sequence
from typing import Any, cast

from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from callbacks.sample_images import SamplePrompt
from commands.fit.fit import TRAINER_DEFAULTS
from commands.fit.style_cli import StyleCLI
from commands.terminal.lightning_cli import CommandParser, quiet_lightning
from commands.terminal.trainer_options import OTHER_SPELLINGS, check_planned
from datamodules.caption_images import CaptionImages
from datamodules.pictures.geometry import bucket_sizes
from foundation.picture_settings import grouped_by_settings
from lightning_modules.base.float8_storage import check_storage
from lightning_modules.memory.kernels import Device
from lightning_modules.memory.plan import RunShape
from lightning_modules.memory.work import Precision, Setting
from lightning_modules.stable_diffusion_lora import StableDiffusionLora


class PlannedRun(StyleCLI):
    """Lightning's command line of `fit`, which parses and checks and goes no further.

    Attributes:
        options: all of them, with the callbacks' as objects.
        shape: what the run's memory depends on.
    """

    model: StableDiffusionLora
    datamodule: CaptionImages
    options: Any
    shape: RunShape

    def __init__(self, args: Sequence[str]) -> None:
        """Parse.

        Args:
            args: options of `fit`, its name not among them; without a `--config`, `configs/demo.yaml` is planned.

        Raises:
            ValueError: an option can't be.
        """
        quiet_lightning()
        super().__init__(
            StableDiffusionLora,
            CaptionImages,
            args=["fit", *args],
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            save_config_callback=None,
            parser_class=CommandParser,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; the machine need not be this one."""
        options = self.parsed(parser, args)
        check_planned(options.trainer)
        check_storage(options.model.base_storage, str(options.trainer.precision))

    def _set_seed(self) -> None:
        """Nothing is drawn."""

    def before_instantiate_classes(self) -> None:
        """No folder, no checkpoint, no signals."""

    def instantiate_classes(self) -> None:
        """The model and the data, which load nothing, and no Trainer."""
        self.config_init = self.parser.instantiate_classes(self.config)
        self.options = options = self.config_init[self.subcommand]
        self.model, self.datamodule = options.model, options.data
        self.shape = self._shape(options)

    def after_instantiate_classes(self) -> None:
        """No folder is claimed."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Train nothing."""

    def _shape(self, options: Any) -> RunShape:
        model, data = self.model, self.datamodule
        given = str(options.trainer.precision)
        precision = cast(Precision, OTHER_SPELLINGS.get(given, given))
        device: Device = "cpu" if options.trainer.accelerator == "cpu" else "cuda"
        return model.run_shape(
            Setting(device, precision),
            batch=data.batch_size,
            sizes=largest_sizes(data.resolution, data.buckets),
            validation_batch=data.validation_batch_size,
            samples=sample_calls(options.samples.prompts, data.resolution),
            text_encoder_stays=data.captions_vary,
            self_test=options.export.self_test,
            accumulate=options.trainer.accumulate_grad_batches,
        )


def largest_sizes(resolution: int, buckets: bool) -> list[tuple[int, int]]:
    """Height and width of the square, and with buckets of the largest of them."""
    square = (resolution, resolution)
    if not buckets:
        return [square]
    width, height = max(bucket_sizes(resolution), key=lambda size: size[0] * size[1])
    return list(dict.fromkeys([square, (height, width)]))


def sample_calls(prompts: Sequence[SamplePrompt], resolution: int) -> list[tuple[int, int, int, bool]]:
    """Pictures painted in one call, as `callbacks.sample_images.paint` does: count, height, width, guided."""
    calls = [(len(indices), prompts[indices[0]]) for indices in grouped_by_settings(prompts)]
    return [
        (count, first.height or resolution, first.width or resolution, first.guidance_scale > 1)
        for count, first in calls
    ]
