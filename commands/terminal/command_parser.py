"""The parser of commands that take Lightning's options beside this project's own.

It has this project's messages, and its help shows the command's own options before the many of the Trainer.
"""

from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from commands.terminal.command_line import HelpfulParser


class CommandParser(HelpfulParser, LightningArgumentParser):
    """Lightning's parser, made helpful."""

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
