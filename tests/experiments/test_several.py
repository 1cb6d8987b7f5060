import pytest

from experiments import several


def test_each_command_is_run_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(several, "main", ran.append)
    several.run_several(["test", "--lora", "a", "--", "test", "--lora", "b", "--strengths=[0.0, 0.5]"])
    assert ran == [["test", "--lora", "a"], ["test", "--lora", "b", "--strengths=[0.0, 0.5]"]]
    ran.clear()
    several.run_several(["fit", "--config", "c"])
    assert ran == [["fit", "--config", "c"]]


def test_one_that_fails_ends_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        several.run_several(["fitt", "--", "plan", "--help"])
    assert stop.value.code == 2
    assert "there is no command 'fitt'" in capsys.readouterr().err
