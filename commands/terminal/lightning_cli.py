"""Commands that take Lightning's options beside this project's own: their parser, and what Lightning doesn't say then.

The parser has this project's messages, and its help shows the command's own options before the many of the Trainer.
"""

import logging
import warnings
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from commands.terminal.command_line import HelpfulParser
from commands.terminal.named_classes import classes_before_settings

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # pictures are encoded once and kept in memory: loading costs nothing
    ".*module.*in eval mode.*",  # the frozen VAE and text encoder belong in eval mode
    ".*Detected call of `lr_scheduler.step\\(\\)` before.*",  # fp16: the first steps may be skipped for their scale
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 on a newer torch
)


class CommandParser(HelpfulParser, LightningArgumentParser):
    """Lightning's parser, made helpful."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """The options; a class has its own settings, and those given with it in whatever order."""
        words, *others = args
        return super().parse_args(classes_before_settings(words), *others, **kwargs)

    def format_help(self, formatter: Any = None) -> str:
        """The help; its usage is one line, since every option stands below it."""
        before = self._action_groups, self.usage
        self._action_groups = sorted(before[0], key=_of_the_trainer)  # stable
        self.usage = f"python train.py {self.prog.split()[-1]} [options]"
        try:
            return str(super().format_help(formatter))
        finally:
            self._action_groups, self.usage = before


def _of_the_trainer(group: Any) -> bool:
    return any(action.dest.startswith("trainer.") for action in group._group_actions)


def quiet_lightning() -> None:
    """Hold back what Lightning says of itself that no user of this project can act on: commands say what matters.

    Call it after Lightning was imported, which sets its own levels.
    """
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
