"""A run whose name and folders hold signs with a meaning elsewhere: globs, formats, variables, YAML, home."""

from pathlib import Path

import pytest
from PIL import Image

from commands.terminal.config_files import read_config
from tests.small_run import picture_folder, small_config
from train import main

NAME = "#1 [v2]{a} 100%d $HOME, it's é"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A home folder with a run of one step under `runs [x]*?`; its config names everything by `~`."""
    home = tmp_path_factory.mktemp("home [x]* #")
    (home / "base [sd]").symlink_to(tiny_base)
    picture_folder(home / "my [pictures] %s")
    config = small_config(home, home / "base [sd]", home / "my [pictures] %s")
    config.write_text(config.read_text().replace(str(home), "~"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        main(
            ["fit", "--config=~/small.yaml", "--runs=~/runs [x]*?", f"--name={NAME}", "--trainer.max_steps=1"]
        )
    return home


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """That run's folder, seen from another one."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home / "runs [x]*?" / NAME


def test_all_its_files_lie_in_its_folder(run: Path, home: Path) -> None:
    assert [path.name for path in run.parent.iterdir()] == [NAME]
    there = {path.name for path in run.iterdir()}
    assert {"config.yaml", "checkpoints", f"{NAME}_kohya.safetensors", "samples"} <= there
    assert [name for name in there if name.startswith("events.out.tfevents")]
    settings = read_config(str(run / "config.yaml"))
    assert settings["name"] == NAME
    assert settings["data"]["cache_folder"] == str(home / "cache")
    assert (home / "cache").is_dir()


def test_it_goes_on_by_name_and_by_path(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["fit", "--config=~/small.yaml", "--runs=~/runs [x]*?"]
    main([*given, "--name", NAME, "--ckpt_path", "last", "--trainer.max_steps", "2"])
    assert (run / "checkpoints/step_000002.ckpt").is_file()
    step = "~/runs [x]*?/" + f"{NAME}/checkpoints/step_000001.ckpt"
    main([*given, "--runs=other", "--name=[a", f"--ckpt_path={step}", "--trainer.max_steps", "2"])
    assert Path("other/[a/checkpoints/step_000002.ckpt").is_file()
    with pytest.raises(SystemExit):
        main([*given, "--name", NAME])
    printed = capsys.readouterr()
    assert f"tensorboard --logdir '{run.parent}' --samples" in printed.out
    beside = printed.err.partition("start another beside it:\n")[2]
    assert beside.count("--name") == 1
    assert """--name '#1 [v2]{a} 100%d $HOME, it'"'"'s é-2'""" in beside


def test_it_paints_and_exports(run: Path, home: Path) -> None:
    main(["predict", "--runs=~/runs [x]*?", "--prompt", "#1 hero --s 1 --n fog", "--output=~/out [x] %d"])
    (picture,) = (home / "out [x] %d").iterdir()
    assert Image.open(picture).info["parameters"].startswith("#1 hero <lora:")
    assert "Negative prompt: fog\nSteps: 1," in Image.open(picture).info["parameters"]
    main(["export", f"--ckpt_path=~/runs [x]*?/{NAME}", "--output=~/exp [x]", "--self_test=false"])
    exported = {path.name for path in (home / "exp [x]").iterdir()}
    assert {f"{NAME}_kohya.safetensors", f"{NAME}_diffusers.safetensors", "README.md"} <= exported


def test_equal_prompts_are_said_and_painted_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.txt").write_text("hills --s 1\nhills --s 1\nhills --s 1 --d 2\n")
    given = ["--prompts", "p.txt", "--output", "out", "--trainer.enable_progress_bar=false"]
    main(["predict", "--lora", str(run), *given])
    assert "3 prompts are 2 pictures: equal ones" in capsys.readouterr().out
    assert len(list(Path("out").iterdir())) == 2
