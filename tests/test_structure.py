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
    for node in ast.walk(ast.parse(path.read_text())):
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
    rows = re.findall(r"^\| .+\? \| (.+) \|$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    paths = [path for row in rows for path in re.findall(r"`([\w/]+\.py)`", row)]
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_no_drawer_modules() -> None:
    names = {path.stem for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    assert not names & {"utils", "common", "helpers", "misc"}
