"""How the command line talks to people: one line that helps instead of a page of usage, and no traceback.

Errors that a user can mend are `ValueError`s with a text that says what was given, what is valid and which option to
change. `--debug` shows the traceback as well. Nothing here loads PyTorch or Lightning, since not every command
needs them.
"""

import difflib
import io
import re
import shlex
import signal
import sys
import traceback
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader
from jsonargparse.typing import Path_fr

from commands.terminal.config_files import SettingsLoader, check_options_follow_configs, precision_of
from commands.terminal.option_errors import KINDS, did_you_mean, in_plain_words
from commands.watch.parent_watch import is_first_to_say
from foundation.full_memory import memory_is_full, which_memory_is_full
from foundation.given_paths import located

USER_ERROR = 2
"""Exit status when the user can mend it."""

UNFORESEEN = 1
"""Exit status of any other error."""

COMMANDS = {
    "fit": ("fit", "train a LoRA; without --config, on the embedded world"),
    "test": ("compare", "compare base and LoRA: pictures, intervals, a page to look at"),
    "predict": ("compare", "paint prompts with a trained LoRA"),
    "audit": ("audit", "look at a folder of captioned pictures before training"),
    "plan": ("plan", "say what a run will hold in memory, and whether it fits a card"),
    "export": ("export", "write a LoRA for diffusers, ComfyUI or A1111, with a model card"),
    "merge": ("export", "put a LoRA into its base, as a pipeline folder"),
}
"""What may follow `train.py`: the package in `commands` that it lies in, and what it does."""

IN_16_BITS = ", or --trainer.precision 16-mixed on a GPU"
PAINT_LESS = "Paint fewer pictures together (--batch_size 1) or smaller ones (--height, --width){in_16_bits}."
MEMORY_ADVICE = {
    "fit": "Try --data.batch_size 1 --trainer.accumulate_grad_batches 4, or --model.gradient_checkpointing true"
    "{in_16_bits}; if it was validation, --data.validation_batch_size 1. python train.py plan, with the same options, "
    "says what each part takes.",
    "predict": PAINT_LESS,
    "test": PAINT_LESS,
}
"""What to change where memory is full, by command; `IN_16_BITS` for runs that aren't."""


_read_yaml = get_loader("yaml")


def _read_value(text: str) -> Any:
    """A value as jsonargparse reads YAML; but none is a comment (`--prompt "#1 hero"`), and names are text."""
    if text.startswith("#") and "\n" not in text:
        return text
    value = _read_yaml(text)
    return yaml.load(text, SettingsLoader) if isinstance(value, dict | list) else value


set_loader("yaml", _read_value, (yaml.YAMLError,))


class HelpfulParser(ArgumentParser):
    """A parser whose errors are one message with a suggestion, not fifty lines of usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take options as they are spelt: argparse would accept `--data.share` for `--data.shares`."""
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_args(self, args: Sequence[str], **kwargs: Any) -> Any:  # type: ignore[override]
        """The options, of the command line and of configs, with paths as they are meant.

        Raises:
            ValueError: a config stands behind an option that it sets too, or a text is null, which jsonargparse lets
                pass.
        """
        check_options_follow_configs(args)
        options = super().parse_args(args, **kwargs)
        self._refuse_null_texts(options)
        return _with_paths(options)

    def _refuse_null_texts(self, options: Namespace) -> None:
        usual = {action.dest: action.default for action in self._all_actions()}
        kinds = self.option_kinds()
        for name, value in options.items():
            option = name.removeprefix(f"{options.get('subcommand')}.")
            if value is None and kinds.get(option) is str and isinstance(usual[option], str):
                none = "" if usual[option] else ', or "" for none'
                raise ValueError(f"--{option} is null; it must be {KINDS[str]}{none}.")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message in plain words, with the closest option's name, and exit with status 2."""
        if not self.exit_on_error:  # of a class that a value names: the parser around it says the rest
            raise ArgumentError(None, message) from ex
        if is_first_to_say(message):
            print(f"error: {in_plain_words(message, self.option_kinds())}", file=sys.stderr)
        sys.exit(USER_ERROR)

    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config file, as UTF-8 in any locale: jsonargparse would take the locale's encoding."""
        file = Path_fr(path)
        with file.relative_path_context():
            content = Path(file.absolute).read_text(encoding="utf-8-sig")
            parsed: Namespace = self.parse_string(content, Path(path).name, *args, **kwargs)
            return parsed

    def option_kinds(self) -> dict[str, Any]:
        """Every option of this parser and of its subcommands, e.g. `model.lora.rank`, with its type."""
        return {action.dest: getattr(action, "_typehint", None) for action in self._all_actions()}

    def _all_actions(self) -> list[Any]:
        parsers = [
            self,
            *(p for a in self._actions for p in (getattr(a, "_name_parser_map", None) or {}).values()),
        ]
        return [action for parser in parsers for action in parser._actions]

    def option_names(self) -> list[str]:
        """Every option of this parser and of its subcommands, e.g. `model.lora.rank`."""
        return sorted(self.option_kinds())


def _with_paths(options: Namespace) -> Namespace:
    """The options with each path where it is; only a path begins as one."""
    for name, value in list(options.items()):
        if isinstance(value, str):
            options[name] = located(value)
    return options


def print_any_name() -> None:
    """Let names be printed that the terminal's encoding lacks (Japanese in cp1252), as their escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's isn't one, and takes everything
            stream.reconfigure(errors="backslashreplace")


def check_command(name: str) -> None:
    """Exit with a message unless `train.py` has a command of this name; list them for `--help`."""
    if name in ("-h", "--help"):
        print("python train.py COMMAND [options]\n")
        for command, (_, what) in COMMANDS.items():
            print(f"  {command:<8} {what}")
        print("\npython train.py COMMAND --help lists a command's options.")
        sys.exit()
    if name.startswith("-"):
        print(
            f"error: {name} stands where the command should. Valid: {', '.join(COMMANDS)}; e.g. python train.py fit "
            f"{name} ...",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        print(
            f"error: there is no command {name!r}. Valid: {', '.join(COMMANDS)}."
            f"{did_you_mean(next(iter(close), None))}",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)


@contextmanager
def exit_with_message(
    debug: bool = False, command: str = "fit", options: Sequence[str] = ()
) -> Iterator[None]:
    """Turn errors that the user can mend into their message and exit status 2; Ctrl-C into a line and a shell's 130.

    Args:
        debug: show the traceback as well.
        command: what is run, for advice that has its options.
        options: what follows it, so that none of them is advised that is there already.
    """
    try:
        yield
    except KeyboardInterrupt:  # of a command, or a time, without a better answer: libraries load for seconds
        if debug:
            traceback.print_exc()
        print("\nStopped by Ctrl-C.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except _mendable() as error:
        if debug:
            traceback.print_exc()
        _exit_if_memory_is_full(error, command, options)
        if isinstance(error, ValueError) and not is_first_to_say(str(error)):
            sys.exit(USER_ERROR)
        print(f"error: {own_words(error)}", file=sys.stderr)
        if not debug:
            print("(add --debug to see where it happened)", file=sys.stderr)
        sys.exit(USER_ERROR)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _exit_if_memory_is_full(error, command, options)
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        place = Path(traceback.extract_tb(error.__traceback__)[-1].filename).name
        print(
            f"(not foreseen, in {place}. Run it again with --debug, and report what it prints then)",
            file=sys.stderr,
        )
        sys.exit(UNFORESEEN)


def own_words(error: Exception) -> str:
    """An error's text; of one from a loader's worker, whose text is a traceback, what the worker's error said."""
    text = str(error)
    if "\nOriginal Traceback" not in text:
        return text
    said = re.split(r"^[\w.]*(?:Error|Exception): ", text, flags=re.MULTILINE)
    return said[-1].strip() if len(said) > 1 else text.strip().splitlines()[-1]


def _exit_if_memory_is_full(error: Exception, command: str, options: Sequence[str]) -> None:
    if memory_is_full(error):
        in_16_bits = "" if "16" in precision_of(options) else IN_16_BITS
        advice = MEMORY_ADVICE.get(command, "Close what else uses it.").format(in_16_bits=in_16_bits)
        reason = str(error) or type(error).__name__
        print(f"error: {which_memory_is_full(error)} ({reason})\n{advice}", file=sys.stderr)
        sys.exit(USER_ERROR)


def _mendable() -> tuple[type[Exception], ...]:
    """Errors that the user can mend; Lightning's own kind only where Lightning was loaded."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    return (ValueError, OSError, *([lightning.MisconfigurationException] if lightning else []))


def without(args: list[str], option: str) -> list[str]:
    """The arguments without `option X` and `option=X`."""
    kept: list[str] = []
    rest = iter(args)
    for arg in rest:
        name, equals, _ = arg.partition("=")
        if name == option:
            if not equals:
                next(rest, None)
            continue
        kept.append(arg)
    return kept


def as_typed(args: list[str]) -> str:
    """The arguments as a command to copy, with `train.py` as it was called."""
    called = sys.argv[0] if Path(sys.argv[0]).name == "train.py" else "train.py"
    return shlex.join(["python", called, *args])
