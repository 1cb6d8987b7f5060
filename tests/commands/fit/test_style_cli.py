"""Whose settings a run has, and the command that goes on with it; each is parsed as `fit` does, none is started."""

from pathlib import Path

import pytest

from commands.plan.planned_run import PlannedRun
from commands.terminal.command_line import as_typed
from tests.small_run import picture_folder

DEMO = Path("configs/demo.yaml")
SPELLINGS = (["--config", str(DEMO)], ["--config", str(DEMO.absolute())], [f"--config={DEMO.absolute()}"])


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    return ["--data.folder", str(picture_folder(tmp_path / "pictures"))]


@pytest.mark.parametrize("given", SPELLINGS, ids=["relative", "absolute", "with_equals"])
def test_a_config_was_given_by_whatever_path(
    given: list[str], pictures: list[str], tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = PlannedRun([*given, *pictures, "--model.base_model", str(tiny_base)])
    assert "without --config" not in capsys.readouterr().out
    assert run.resume_command() == as_typed(
        ["fit", *given, *pictures, "--model.base_model", str(tiny_base), "--ckpt_path", "last"]
    )


def test_the_command_that_goes_on_keeps_every_config(pictures: list[str], tmp_path: Path) -> None:
    """The first is the one that is taken where none is given."""
    own = tmp_path / "own.yaml"
    own.write_text("trainer: {max_steps: 7}\n", encoding="utf-8")
    given = ["--config", str(DEMO.absolute()), "--config", str(own), *pictures]
    run = PlannedRun([*given, "--ckpt_path", "auto"])
    assert run.options.trainer.max_steps == 7
    assert run.resume_command() == as_typed(["fit", *given, "--ckpt_path", "last"])


def test_without_a_config_the_embedded_world_is_run_and_whose_settings_these_are_is_said(
    pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = PlannedRun(pictures)
    assert capsys.readouterr().out.startswith("Note: without --config the settings are those of the embedded")
    assert run.options.trainer.max_steps == 200  # of configs/demo.yaml
    assert run.resume_command() == as_typed(["fit", *pictures, "--ckpt_path", "last"])


def test_without_a_config_another_base_is_refused(pictures: list[str], tiny_base: Path) -> None:
    with pytest.raises(ValueError, match=r"^--model\.base_model is .+, but without --config the settings"):
        PlannedRun([*pictures, "--model.base_model", str(tiny_base)])
