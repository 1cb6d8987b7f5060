"""`~`, what the project ships, and places to write that are none."""

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from commands.terminal.command_line import HelpfulParser, as_typed
from commands.terminal.config_files import read_config
from foundation import given_paths
from foundation.given_paths import PROJECT, SHIPPED, file_to_write, folder_to_fill, located
from lightning_modules.base.loading import base_name


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder than the project's, which is the home folder too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "given", ["~", "~ hills", "a/~/b", "hills", "demo", "demo/other", "", "~no_such_user"]
)
def test_a_text_that_begins_as_no_path_stays(away: Path, given: str) -> None:
    assert located(given) == given


def test_home_is_found_where_no_shell_has_put_it_in(away: Path) -> None:
    assert located("~/my [x] pictures") == f"{away}/my [x] pictures"
    (away / "a.yaml").write_text(
        "data: {folder: ~/pictures, captions: {prefix: a~/b}}\nmodel: {base_model: ~/base}\n"
    )
    assert read_config("~/a.yaml") == {
        "data": {"folder": f"{away}/pictures", "captions": {"prefix": "a~/b"}},
        "model": {"base_model": f"{away}/base"},
    }


def test_every_option_is_located_also_inside_a_group(away: Path) -> None:
    parser = HelpfulParser()
    parser.add_argument("--folder", type=str | None)
    parser.add_argument("--data.cache", type=str, default="~/cache")
    parser.add_argument("--steps", type=int)
    given = parser.parse_args(["--folder=~/a", "--steps", "3"])
    assert (given.folder, given.data.cache, given.steps) == (f"{away}/a", f"{away}/cache", 3)


def test_what_is_shipped_is_found_from_anywhere_under_the_same_name(away: Path) -> None:
    for name in SHIPPED:
        assert located(name) == str(PROJECT / name)
        assert base_name(located(name)) == name
    assert base_name(f"{PROJECT}/models/mine") == "mine"
    (away / "demo").mkdir()  # someone's own
    assert [located(name) for name in SHIPPED] == list(SHIPPED)


def test_shipped_is_what_the_default_config_names() -> None:
    text = (PROJECT / "configs/demo.yaml").read_text()
    assert all(f": {name}" in text for name in SHIPPED)


def test_a_config_of_the_project_is_named_to_who_stands_elsewhere(away: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no such file .* Did you mean .*/configs/ghibli\.yaml\?"):
        read_config("configs/ghibli.yaml")


def test_a_command_to_copy_calls_the_program_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_typed(["fit", "--name", "[a b]"]) == "python train.py fit --name '[a b]'"
    monkeypatch.setattr("sys.argv", ["/some place/train.py", "fit"])
    assert as_typed(["fit"]) == "python '/some place/train.py' fit"


def test_a_sign_that_begins_yaml_comments_is_text() -> None:
    parser = HelpfulParser()
    parser.add_argument("--prompt", type=str | None, default="none")
    parser.add_argument("--prompts", type=str | list[str] | None)
    assert parser.parse_args(["--prompt", "#1 hero"]).prompt == "#1 hero"
    assert parser.parse_args(["--prompts=#a.txt"]).prompts == "#a.txt"
    assert parser.parse_args(["--prompt", "null"]).prompt is None


def test_folders_and_files_to_write_are_made(away: Path) -> None:
    assert folder_to_fill("~/a/b") == away / "a/b"
    assert (away / "a/b").is_dir()
    assert folder_to_fill("a/b") == Path("a/b")
    assert file_to_write("c [x]/d.json") == Path("c [x]/d.json")
    assert list((away / "c [x]").iterdir()) == []


def test_places_that_cannot_be_written_are_refused(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    Path("folder").mkdir()
    for given, said in (
        ("file", "file is a file; give a folder"),
        ("file/x", "file is a file. Name another place"),
    ):
        with pytest.raises(ArgumentTypeError, match=said):
            folder_to_fill(given)
    with pytest.raises(ArgumentTypeError, match="folder is a folder; give a file"):
        file_to_write("folder")
    with pytest.raises(ArgumentTypeError, match=r"'/proc/no'\. Name another place"):
        file_to_write("/proc/no/x.json")
    monkeypatch.setattr(given_paths, "hindrance", lambda path: f"{path.parent} can't be written to")
    with pytest.raises(ArgumentTypeError, match="can't be written: folder can't be written to"):
        folder_to_fill("folder")
