"""What each command loads: nobody waits for a library that the command doesn't use."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands.terminal.command_line import COMMANDS
from tests.small_run import picture_folder

ROOT = Path(__file__).parent.parent

SLOW = {
    "torch",
    "lightning",
    "diffusers",
    "transformers",
    "peft",
    "torchmetrics",
    "lightning_modules",
    "callbacks",
}
"""What takes a second or more to import, and what imports it."""


def loaded(*arguments: str) -> tuple[object, set[str]]:
    """Exit status of `train.py` with these arguments, and which of `SLOW` its process has loaded at the end."""
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path('train.py', run_name='__main__')\n"
        f"except SystemExit as stop:\n    print('status', stop.code or 0, *sorted({SLOW!r} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stdout.splitlines()[-1].split()
    assert words[0] == "status", done.stdout + done.stderr
    return int(words[1]), set(words[2:])


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["plan", "--help"], 0),
        (["fitt"], 2),
        (["fit", "--config", "absent.yaml"], 2),
    ],
    ids=["help", "plan help", "typo", "absent config"],
)
def test_what_only_talks_loads_nothing(arguments: list[str], status: int) -> None:
    assert loaded(*arguments) == (status, set())


def test_an_audit_loads_pytorch_alone(tmp_path: Path) -> None:
    """PyTorch's generators decide which pictures are held out, and which are trained on how often."""
    folder = str(picture_folder(tmp_path / "set"))
    options = ["--data.folder", folder, "--data.resolution", "64", "--data.cache_folder", "null"]
    _, libraries = loaded("audit", *options, "--out", str(tmp_path / "out"))
    assert libraries == {"torch"}
    assert (tmp_path / "out/audit.html").exists()
    assert loaded("audit", "--help") == (0, {"torch"})


def test_every_command_is_a_function_in_a_module_of_its_name() -> None:
    for name, (package, _) in COMMANDS.items():
        assert f"def {name}(args" in (ROOT / "commands" / package / f"{name}.py").read_text(), name
