"""The command line's own functions."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import DataLoader, Dataset

from commands.terminal.command_line import (
    HelpfulParser,
    as_typed,
    check_command,
    exit_with_message,
    own_words,
    without,
)
from commands.terminal.config_files import read_config
from foundation.full_memory import memory_is_full
from train import main

ROOT = Path(__file__).parents[3]


SHARES = "{1: 2, on: 1, 2023: 1, no: 1, null: 1, 1e3: 1, 010: 1, 1.50: 1, 2023-01-01: 1, 12:30: 1, ~: 1, cafe: 1e-1}"
NAMES = ["1", "on", "2023", "no", "null", "1e3", "010", "1.50", "2023-01-01", "12:30", "~", "cafe"]


def shares_parser() -> HelpfulParser:
    parser = HelpfulParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--shares", type=dict[str, float] | None)
    return parser


def test_names_are_text_whatever_yaml_takes_them_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(f"shares: {SHARES}\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "b.yaml").write_text(config.read_text())
    files = (str(config), "a.yaml", "configs/b.yaml")
    for args in (["--shares", SHARES], *(["--config", file] for file in files)):
        shares = shares_parser().parse_args(args).shares
        assert list(shares) == NAMES
        assert (shares["1"], shares["no"], shares["cafe"]) == (2.0, 1.0, 0.1)
    assert list(read_config(str(config))["shares"]) == NAMES


def test_names_stay_text_in_what_is_written_and_read_again(tmp_path: Path) -> None:
    parser = shares_parser()
    written = parser.dump(parser.parse_args(["--shares", SHARES]))
    config = tmp_path / "a.yaml"
    config.write_text(written)
    assert list(parser.parse_args(["--config", str(config)]).shares) == NAMES
    assert list(yaml.safe_load(written)["shares"]) == NAMES


def test_one_name_twice_in_an_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        shares_parser().parse_args(["--shares", "{a: 1, a: 2}"])
    assert "--shares is {a: 1, a: 2}; it must be names with values" in capsys.readouterr().err


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_config_files_are_utf_8_in_any_locale(tmp_path: Path, mark: str) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(f"{mark}# 日本語\nshares: {{少女: 1}}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", READS_A_CONFIG, str(config)],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "['\\u5c11\\u5973']\n", done.stderr


READS_A_CONFIG = """
import locale, sys
from tests.commands.terminal.test_command_line import shares_parser
assert locale.getencoding() != "utf-8"
print(ascii(list(shares_parser().parse_args(["--config", sys.argv[1]]).shares)))
"""


def test_names_that_the_terminal_lacks_are_printed_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(printed, encoding="cp1252", newline=""))
    with pytest.raises(SystemExit):
        main(["少女"])
    sys.stderr.flush()
    print("café \udcff", flush=True)
    assert b"there is no command '\\u5c11\\u5973'" in printed.getvalue()
    assert printed.getvalue().endswith(b"caf\xe9 \\udcff" + os.linesep.encode())


def test_without_drops_an_option_and_its_value_in_both_spellings() -> None:
    assert without(["fit", "--ckpt_path", "last", "--name", "a"], "--ckpt_path") == ["fit", "--name", "a"]
    assert without(["fit", "--ckpt_path=last", "--name", "a"], "--ckpt_path") == ["fit", "--name", "a"]


def test_a_typed_command_can_be_copied_into_a_shell() -> None:
    assert (
        as_typed(["fit", "--data.folder", "my pictures"]) == "python train.py fit --data.folder 'my pictures'"
    )


def test_a_mendable_error_is_its_message_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, exit_with_message():
        raise ValueError("--data.folder is x; give a folder")
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "error: --data.folder is x; give a folder" in printed
    assert "Traceback" not in printed


def test_ctrl_c_is_a_line_and_a_shell_s_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, exit_with_message():
        raise KeyboardInterrupt
    assert stop.value.code == 130  # 128 and SIGINT's number, as bash says it
    assert capsys.readouterr().err == "\nStopped by Ctrl-C.\n"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_with_message(debug=True):
        raise ValueError("no")
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_a_worker_is_what_it_said() -> None:
    class Absent(Dataset[int]):
        def __getitem__(self, index: int) -> int:
            raise OSError("the cache was deleted.\nGo on with --ckpt_path last")

        def __len__(self) -> int:
            return 1

    with pytest.raises(OSError, match="Original Traceback") as error:
        next(iter(DataLoader(Absent(), num_workers=1)))
    assert own_words(error.value) == "the cache was deleted.\nGo on with --ckpt_path last"
    assert own_words(OSError("the disk is full")) == "the disk is full"


def test_an_unforeseen_error_is_one_message_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, exit_with_message():
        raise TypeError("no such thing")
    assert stop.value.code == 1
    printed = capsys.readouterr().err
    assert "error: TypeError: no such thing" in printed
    assert "Run it again with --debug" in printed
    assert "Traceback" not in printed


def test_an_option_in_the_command_s_place_is_met_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check_command("--config")
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "error: --config stands where the command should. Valid: fit, test, predict," in printed
    assert "python train.py fit --config" in printed


@pytest.mark.parametrize("arguments", [["--debug", "fitt"], ["fitt", "--debug"]])
def test_debug_may_stand_anywhere(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "there is no command 'fitt'" in capsys.readouterr().err


FULL = [
    (torch.OutOfMemoryError("Tried to allocate 2 GiB"), "the GPU's memory is full (Tried to allocate 2 GiB)"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "the GPU's"),
    (RuntimeError("CUDA error: out of memory"), "the GPU's"),
    (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "the GPU's"),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: ..."),
        "this machine's memory is full ([enforce",
    ),
    (
        RuntimeError("GET was unable to find an engine to execute this computation"),
        "the GPU's memory is probably full (GET was unable",
    ),
    (
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        "the GPU's memory is probably",
    ),
    (
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        "the GPU's memory is probably",
    ),
    (MemoryError(), "this machine's memory is full (MemoryError)"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "this machine's"),
]


@pytest.mark.parametrize(("error", "said"), FULL, ids=lambda value: str(value)[:40])
def test_full_memory_is_met_with_what_saves_it(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, exit_with_message():
        raise error
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert f"error: {said}" in printed
    for way_out in (
        "--data.batch_size 1",
        "--model.gradient_checkpointing true",
        "--data.validation_batch_size 1",
        "python train.py plan",
    ):
        assert way_out in printed


@pytest.mark.parametrize(
    ("command", "advice"), [("predict", "--batch_size 1"), ("test", "--height, --width"), ("merge", "Close")]
)
def test_the_advice_has_the_options_of_the_command(
    command: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), exit_with_message(command=command):
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")
    printed = capsys.readouterr().err
    assert advice in printed
    assert "--data." not in printed


@pytest.mark.parametrize("command", ["fit", "predict", "test"])
def test_sixteen_bits_are_not_advised_to_who_has_them(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("trainer: {precision: 16-mixed}")
    for options, advised in (
        ([], True),
        (["--trainer.precision", "32-true"], True),
        (["--trainer.precision=bf16-mixed"], False),
        (["--config", str(config)], False),
        (["--config", str(config), "--trainer.precision", "32-true"], True),
    ):
        with pytest.raises(SystemExit), exit_with_message(command=command, options=options):
            raise torch.OutOfMemoryError("Tried to allocate 2 GiB")
        printed = capsys.readouterr().err
        assert ("or --trainer.precision 16-mixed on a GPU" in printed) == advised, options
        assert "--" in printed
        assert "{" not in printed


def test_the_advice_knows_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: list[str]) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    monkeypatch.setattr("commands.fit.fit.fit", full)
    with pytest.raises(SystemExit):
        main(["fit", "--trainer.precision", "16-mixed"])
    printed = capsys.readouterr().err
    assert "--data.batch_size 1" in printed
    assert "--trainer.precision" not in printed


def test_other_errors_are_not_taken_for_full_memory() -> None:
    for error in (
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        RuntimeError("out of resource: shared memory, Required: 101376"),
        ValueError("the picture 'out of memory.png' is broken"),
        OSError(errno.ENOSPC, "No space left on device"),
    ):
        assert not memory_is_full(error)
