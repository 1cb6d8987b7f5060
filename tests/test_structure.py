"""The layout's promises: who imports whom, and what stays pure."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = [
    *sorted((ROOT / "lightning_modules/diffusion").glob("*.py")),
    ROOT / "datamodules/pictures/geometry.py",
    ROOT / "datamodules/stream/balanced_sampling.py",
    ROOT / "foundation/keyed_random.py",
]
MAY_IMPORT = {
    "foundation": "",
    "evaluation": "foundation",
    "callbacks": "evaluation foundation",
    "lightning_modules.diffusion": "foundation",
    "lightning_modules.optimization": "foundation",
    "lightning_modules.text": "evaluation foundation",
    "lightning_modules.base.families": "text diffusion foundation",
    "lightning_modules.base": "text diffusion foundation",
    "lightning_modules.lora": "base diffusion foundation",
    "lightning_modules.painting": "text base foundation",
    "lightning_modules.memory": "lora base text foundation",
    "lightning_modules": "memory painting lora text base optimization diffusion evaluation foundation",
    "datamodules.pictures": "problems foundation",
    "datamodules.folder": "pictures problems evaluation foundation",
    "datamodules.stream": "folder pictures problems foundation",
    "datamodules.audit": "stream folder pictures problems evaluation foundation",
    "datamodules.painting": "evaluation foundation",
    "datamodules": "audit stream folder pictures painting evaluation foundation",
    "commands.watch": "callbacks foundation",
    "commands.terminal": "watch foundation",
    "commands.runs": "terminal watch LIBRARY",
    "commands.audit": "terminal LIBRARY",
    "commands.compare": "runs terminal watch LIBRARY",
    "commands.export": "runs terminal LIBRARY",
    "commands.fit": "runs terminal watch LIBRARY",
    "commands.plan": "fit terminal LIBRARY",
}
"""Which rooms each may import besides itself, from the ground up; rooms of its own package by their last name."""

LIBRARY = ("lightning_modules", "datamodules", "callbacks", "evaluation", "foundation", "demo")


def imports(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def imported(path: Path) -> set[str]:
    """Full names of the modules of this project that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else node.module for name in names.values()}
    return {
        name
        for name in found
        if name.split(".")[0] in {room.split(".")[0] for room in MAY_IMPORT} | {"train"}
    }


def allowed(room: str) -> tuple[str, ...]:
    """The beginnings of what a room may import."""
    package = room.split(".")[0]
    words = MAY_IMPORT[room].replace("LIBRARY", " ".join(LIBRARY)).split()
    return (room, *words, *(f"{package}.{word}" for word in words))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_each_room_imports_only_those_below_it(room: str) -> None:
    files = sorted((ROOT / room.replace(".", "/")).glob("*.py"))
    assert len(files) > 1
    for path in files:
        for name in imported(path):
            assert any(name == one or name.startswith(f"{one}.") for one in allowed(room)), (path, name)


def test_every_room_has_rules_and_says_what_belongs_there() -> None:
    packages = {"foundation", "evaluation", "callbacks", "lightning_modules", "datamodules", "commands"}
    rooms = {
        ".".join(path.parent.relative_to(ROOT).parts): ast.get_docstring(
            ast.parse(path.read_text(encoding="utf-8"))
        )
        for package in packages
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert rooms.keys() == MAY_IMPORT.keys() | {"commands"}
    assert all(rooms.values()), rooms


def test_the_rules_stand_from_the_ground_up() -> None:
    """Each room may import only rooms that stand before it in the table, so there is no circle."""
    rooms = list(MAY_IMPORT)
    for place, room in enumerate(rooms):
        above = [one for one in rooms[place + 1 :] if one in allowed(room)]
        assert not above, (room, above)


def test_nobody_outside_of_the_families_asks_which_family_it_is() -> None:
    marks = r"\bSD_1\b|\bSD_2\b|\bSDXL\b|use_linear_projection|text_encoder_2|is_sd2|\bxl\b"
    allowed = {"lightning_modules/lora/tensor_names.py": {"text_encoder_2"}}  # of other trainers' files
    for package in ("lightning_modules", "callbacks", "commands", "evaluation", "datamodules", "foundation"):
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name == "families":
                continue
            code = "\n".join(line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines())
            found = set(re.findall(marks, code)) - allowed.get(str(path.relative_to(ROOT)), set())
            assert not found, (path, found)


@pytest.mark.parametrize("path", PURE, ids=lambda p: p.name)
def test_the_mathematics_import_nothing_but_torch(path: Path) -> None:
    standard = {"array", "collections", "dataclasses", "fractions", "hashlib", "math", "typing"}
    assert imports(path) <= standard | {"torch", "foundation", "lightning_modules"}
    assert "lightning" not in imports(path)


def test_no_drawer_modules() -> None:
    names = {path.stem for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    assert not names & {"utils", "common", "helpers", "misc"}


def test_no_function_is_over_60_lines() -> None:
    """Docstrings and nested functions included."""
    files = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    functions = [
        (node.end_lineno - node.lineno + 1, node.name, path.relative_to(ROOT).as_posix())
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    ]
    assert len(functions) > 1000
    assert [one for one in sorted(functions, reverse=True) if one[0] > 60] == []


def test_only_what_the_command_line_takes_flat_has_more_than_ten_options() -> None:
    """Other classes take a dataclass."""
    files = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    crowded = {
        cls.name
        for path in files
        for cls in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(cls, ast.ClassDef)
        for made in cls.body
        if isinstance(made, ast.FunctionDef)
        and made.name == "__init__"
        and len([*made.args.args, *made.args.kwonlyargs]) > 1 + 10
    }
    assert crowded == {"ModelOptions", "PictureFolder", "PromptList"}


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
