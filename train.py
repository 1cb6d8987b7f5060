"""The command line: `python train.py fit` trains a style LoRA; `python train.py --help` lists the other commands.

Each command is a function in a module of its own name, in a package of `commands/` (`COMMANDS` says which). It is
imported when it is asked for: none waits for libraries that it doesn't use.
"""

import os
import sys
from importlib import import_module

from commands.terminal.command_line import COMMANDS, check_command, exit_with_message, print_any_name
from commands.terminal.config_files import configs_of, read_config
from commands.watch.parent_watch import end_with_parent
from foundation.broken_packages import set_aside_broken_packages

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main(args: list[str] | None = None) -> None:
    """Run a command.

    Args:
        args: what follows `train.py`: one of `command_line.COMMANDS` and its options; null takes it from the process.
            No arguments mean `fit`.
    """
    args = list(sys.argv[1:] if args is None else args)
    print_any_name()
    debug = "--debug" in args
    command, *options = [arg for arg in args if arg != "--debug"] or ["fit"]
    check_command(command)
    with exit_with_message(debug, command, options):
        for config in configs_of(options):
            read_config(config)  # for its messages
        if not {"--help", "-h"} & set(options):
            set_aside_broken_packages()
        package, _ = COMMANDS[command]
        getattr(import_module(f"commands.{package}.{command}"), command)(options)


if __name__ == "__main__":
    end_with_parent()
    main()
