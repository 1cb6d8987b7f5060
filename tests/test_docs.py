"""The pages say what is there: their links, files, commands and options exist."""

import re
import shlex
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
import yaml

from commands.terminal.command_line import COMMANDS
from train import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES}
MAP = TEXTS["docs/code.md"]
PYTHON = re.compile(r"python (?:train\.py|-m) \w(?:[^`\n#\\]|\\\n)*")
"""A command in a block or in a sentence, up to its comment."""


def commands(text: str) -> list[list[str]]:
    """The words of each `python train.py ...` and `python -m ...`, from `train.py` or `-m` on."""
    found = [shlex.split(one.replace("\\\n", " ")) for one in PYTHON.findall(text)]
    return [words[1 : words.index("&&") if "&&" in words else None] for words in found]


def option_names(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w.]*", text))


@cache
def options_of(command: str) -> set[str]:
    """The options that a command of `train.py` says it has, as its help lists them."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([command, "--help"])
    own = option_names(printed.getvalue()) | {"--debug"}
    return own | options_of("fit") if command == "plan" else own


def anchor(heading: str) -> str:
    """How GitHub names a heading in links."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_readme_is_read_in_minutes() -> None:
    assert len(TEXTS["README.md"].split()) <= 1500


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)", TEXTS["README.md"]))
    assert linked == {name for name in TEXTS if name.startswith("docs/")}


@pytest.mark.parametrize("name", [name for name in TEXTS if name.startswith("docs/")])
def test_a_page_begins_with_the_command_that_it_is_about(name: str) -> None:
    assert re.match(r"# .+\n\n```bash\n(python|pytest) ", TEXTS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", TEXTS[name])
    for path, heading in links:
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), path
        if heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in map(anchor, headings), (path, heading)


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_of_ours_that_is_named_exists(name: str) -> None:
    files = re.findall(r"`([\w./]+\.py|(?:configs|notebooks|experiments|tests)/[\w./]+)`", TEXTS[name])
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_map_is_short_and_names_a_file_for_each_question() -> None:
    rows = re.findall(r"^\| .+\? \| (.+) \|$", MAP, flags=re.MULTILINE)
    assert 8 < len(rows) <= 25
    assert [row for row in rows if not re.search(r"`[\w/]+\.py`", row)] == []


def test_the_map_has_every_room() -> None:
    packages = ("foundation", "evaluation", "lightning_modules", "datamodules", "callbacks", "commands")
    for package in packages:
        row = re.search(rf"^\| `{package}` .+$", MAP, flags=re.MULTILINE)
        assert row, package
        for room in (ROOT / package).glob("*/__init__.py"):
            assert f"`{room.parent.name}`" in row[0], room


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_and_option_exists(name: str) -> None:
    for program, what, *rest in commands(TEXTS[name]):
        given = {
            word.partition("=")[0] for word in rest if word.startswith("--") and ".init_args." not in word
        }
        if program == "train.py" and what in COMMANDS:
            assert given <= options_of(what), (what, rest)
        elif program == "-m":
            module = find_spec(what)
            assert module, what
            assert module.origin, what
            code = Path(module.origin).read_text(encoding="utf-8")
            assert [option for option in given if f'"{option}"' not in code] == [], what
        else:
            assert what == "COMMAND", (program, what)


@pytest.mark.parametrize("name", TEXTS)
def test_every_option_of_a_section_exists(name: str) -> None:
    """Those that stand in a sentence: `--data.shares`, of whatever command."""
    known = set().union(*map(options_of, COMMANDS))
    named = {one.rstrip(".") for one in option_names(TEXTS[name]) if "." in one.rstrip(".")}
    assert {one for one in named if ".init_args" not in one} - known == set()


def test_a_style_of_ones_own_is_a_config_that_resolves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.findall(r"```yaml\n(.+?)```", TEXTS["docs/options.md"], flags=re.DOTALL)[-1]
    own = tmp_path / "my_style.yaml"
    own.write_text(example, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(ROOT / "configs/ghibli.yaml"), "--config", str(own), "--print_config"])
    assert stop.value.code == 0
    run = yaml.safe_load(capsys.readouterr().out)
    assert (run["data"]["shares"], run["data"]["resolution"]) == ({"portrait": 1, "landscape": 1}, 512)
    assert [one["seed"] for one in run["samples"]["prompts"]] == [1, 2]
    assert (run["test"]["enhancement"], run["test"]["prompts"]) == ("(gouache:1.2)", None)


def test_what_is_checked_before_a_commit_is_what_ci_checks() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert entries == [line for line in lines if line.startswith(("ruff", "mypy"))]
