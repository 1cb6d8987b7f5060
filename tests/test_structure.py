"""The layout's promises: who imports whom, what stays pure, and that the README's map is true."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = [
    *sorted((ROOT / "lightning_modules/diffusion").glob("*.py")),
    ROOT / "datamodules/geometry.py",
    ROOT / "datamodules/balance.py",
    ROOT / "keyed_random.py",
]
NEVER_EACH_OTHER = ("lightning_modules", "datamodules", "callbacks")


def imports(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", NEVER_EACH_OTHER)
def test_the_three_packages_never_import_each_other(package: str) -> None:
    others = set(NEVER_EACH_OTHER) - {package}
    seen = {path.name: imports(path) & (others | {"train"}) for path in (ROOT / package).rglob("*.py")}
    assert len(seen) > 3
    assert not {name: bad for name, bad in seen.items() if bad}


def test_evaluation_imports_none_of_the_others() -> None:
    for path in (ROOT / "evaluation").glob("*.py"):
        assert not imports(path) & {*NEVER_EACH_OTHER, "train", "demo", "commands"}, path


@pytest.mark.parametrize("path", PURE, ids=lambda p: p.name)
def test_the_mathematics_import_nothing_but_torch(path: Path) -> None:
    standard = {"array", "collections", "dataclasses", "fractions", "hashlib", "math", "typing"}
    assert imports(path) <= standard | {"torch", "keyed_random", "lightning_modules", "transfer"}
    assert "lightning" not in imports(path)


def test_the_readme_map_names_files_that_exist() -> None:
    rows = re.findall(
        r"^\| .+\? \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    paths = [path for row in rows for path in re.findall(r"`([\w/]+\.py)`", row)]
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_no_drawer_modules() -> None:
    names = {path.stem for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    assert not names & {"utils", "common", "helpers", "misc"}


def test_texts_are_read_and_written_as_utf_8_in_any_locale() -> None:
    """Every `open`, `read_text` and `write_text` of ours says its encoding, or that it is for bytes."""
    calls = [
        (path, call)
        for path in ROOT.rglob("*.py")
        if not {"tests", ".venv"} & set(path.relative_to(ROOT).parts)
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and opens_text(call)
    ]
    assert len(calls) > 20
    silent = [
        (path, call) for path, call in calls if not any(word.arg == "encoding" for word in call.keywords)
    ]
    assert [f"{path.relative_to(ROOT)}:{call.lineno}" for path, call in silent] == []


def opens_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args
    binary = any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)
    of_another = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in OPENING_NO_TEXT
    return name in ("read_text", "write_text") or (name == "open" and not binary and not of_another)


OPENING_NO_TEXT = ("Image", "os", "webbrowser", "self.text", "self.latents", "tarfile", "zipfile")
