"""`python train.py fit`: train a style LoRA.

    python train.py fit                                             the embedded world
    python train.py fit --config configs/ghibli.yaml                a run of one's own
    python train.py fit --config configs/ghibli.yaml --ckpt_path last       go on with it

The options and what they make are in `commands/fit/style_cli.py`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from callbacks.graceful_stop import STOPPED_EARLY, StoppedEarly, signals_restored
from callbacks.summary import stopped_by
from commands.fit.style_cli import StyleCLI
from commands.runs.run_folder import WholeConfig
from commands.terminal.arithmetic import arithmetic_restored
from commands.terminal.command_line import as_typed
from commands.terminal.lightning_cli import CommandParser, quiet_lightning
from commands.watch.parent_watch import is_first_here
from commands.watch.process_watch import lost_processes_said, watched_children
from datamodules.caption_images import CaptionImages
from lightning_modules.stable_diffusion_lora import StableDiffusionLora

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
}


def fit(args: list[str]) -> None:
    """Run the command; a run that was asked to stop early exits with status 75.

    Args:
        args: what follows `train.py fit`; without a `--config`, `configs/demo.yaml` is run.
    """
    quiet_lightning()
    try:
        with (
            arithmetic_restored(),
            watched_children(),
            signals_restored(),
            lost_processes_said(),
            new_memory_unfilled(),
        ):
            command_line = StyleCLI(
                StableDiffusionLora,
                CaptionImages,
                args=["fit", *args],
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS,
                auto_configure_optimizers=False,
                save_config_callback=WholeConfig,
                save_config_kwargs={"overwrite": True},
                parser_class=CommandParser,
            )
    except StoppedEarly as reason:
        if not is_first_here():
            sys.exit(1)  # so that the first process, if it wasn't asked, doesn't wait for this one
        print(f"\nStopped by {reason} before training began; nothing is lost. Start again:")
        print(f"  {as_typed(['fit', *args])}")
        sys.exit(STOPPED_EARLY)
    if stopped_by(command_line.trainer):
        sys.exit(STOPPED_EARLY)


@contextmanager
def new_memory_unfilled() -> Iterator[None]:
    """Inside, `--trainer.deterministic` doesn't have each uninitialised tensor filled with NaN.

    PyTorch does that by default to show code that reads memory it never wrote. It takes no part in a result otherwise:
    which kernels run, and so that they are deterministic, stays as it is, and steps are spared a pass over each buffer.
    """
    before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before  # type: ignore[attr-defined]
