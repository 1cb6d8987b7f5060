"""Config files of `fit` become options; what is typed comes later and wins."""

from pathlib import Path

import pytest

from commands.terminal.config_files import note_without_config, with_configs

KNOWN = {"data", "trainer.max_steps", "model.base_model"}


def test_known_settings_become_options_before_the_typed_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(
        "seed_everything: 7\ndata: {folder: pictures, shares: {a: 2, b: 1}, trigger: null}\n"
        "model: {base_model: demo/base, lora: {rank: 4}}\ntrainer: {max_steps: 10, precision: 32}\n"
        "samples: {prompts: []}\n"
    )
    second.write_text("data: {folder: others}\n")
    args = with_configs(["--config", str(first), "--data.flip", "false", f"--config={second}"], KNOWN)
    assert args[-2:] == ["--data.flip", "false"]
    assert set(args[:-2]) == {
        "--data.seed=7",
        "--data.folder=others",
        '--data.shares={"a": 2, "b": 1}',
        "--data.trigger=null",
        "--model.base_model=demo/base",
        "--trainer.max_steps=10",
    }


def test_shares_of_a_later_config_replace_those_of_an_earlier_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("data: {shares: {a: 2, b: 1}}\n")
    second.write_text("data: {shares: {c: 1}}\n")
    args = with_configs(["--config", str(first), "--config", str(second)], KNOWN)
    assert args == ['--data.shares={"c": 1}']


def test_nothing_stays_nothing_whatever_the_option_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: {trigger: null, holdout_folder: null, folder: x}\n")
    kinds = {"data.trigger": str, "data.holdout_folder": str | None, "data.folder": str}
    assert with_configs(["--config", str(path)], KNOWN, kinds) == [
        "--data.trigger=",
        "--data.holdout_folder=null",
        "--data.folder=x",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "is not valid YAML"), ("just words", "holds no settings: it should have sections")],
)
def test_a_config_that_cannot_be_used_says_so(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        with_configs(["--config", str(path)], KNOWN)


WHOSE = (
    "without --config the settings are those of the embedded world (configs/demo.yaml: 128 pixels, learning rate 0.001"
    ", 200 steps, its prompts)"
)


def test_the_embedded_world_needs_no_config() -> None:
    assert note_without_config("demo/base", "demo/style_set") == ""


def test_the_embedded_world_may_be_spelt_in_other_ways() -> None:
    assert note_without_config("./demo/base/", str(Path("demo/style_set").absolute())) == ""


def test_pictures_of_ones_own_without_a_config_are_told_whose_settings_they_get() -> None:
    note = note_without_config("demo/base", "my_pictures")
    assert note.startswith(f"Note: {WHOSE}, and its miniature base is trained on your pictures.")
    assert "put --config configs/ghibli.yaml, or a copy of it, before the other options" in note


def test_a_base_of_ones_own_without_a_config_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^--model\.base_model is owner/name, but without --config"
    ) as refused:
        note_without_config("owner/name", "demo/style_set")
    assert WHOSE in str(refused.value)
    assert "Give a config that fits yours, before the other options: --config configs/ghibli.yaml" in str(
        refused.value
    )
