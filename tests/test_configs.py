"""Every YAML resolves, and nothing of the default leaks into the others."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.picture_folder import PictureFolder
from datamodules.pictures.geometry import bucket_sizes
from datamodules.stream.split import hold_out_count
from demo.prompts import EVALUATION_PROMPTS, STYLE_PROMPT
from lightning_modules.base.families.known import family_of_id
from lightning_modules.base.families.sdxl import SDXL
from train import main

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def resolved(config: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    """What `--print_config` shows."""
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), *options, "--print_config"])
    assert stop.value.code == 0
    printed: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
    return printed


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_every_config_resolves_and_reads_as_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def contains(whole: object, part: object) -> bool:
        if isinstance(part, dict) and isinstance(whole, dict):
            return all(key in whole and contains(whole[key], value) for key, value in part.items())
        if isinstance(part, list) and isinstance(whole, list):
            return len(whole) == len(part) and all(contains(w, p) for w, p in zip(whole, part, strict=True))
        return bool(whole == part)

    assert contains(resolved(config, capsys), yaml.safe_load(config.read_text()))


def test_the_users_final_run_number_by_number(capsys: pytest.CaptureFixture[str]) -> None:
    run = resolved(ROOT / "configs/ghibli.yaml", capsys)
    model, data, trainer = run["model"], run["data"], run["trainer"]
    assert isinstance(model, dict)
    assert isinstance(data, dict)
    assert isinstance(trainer, dict)
    assert model["base_model"] == "waifu-diffusion/wd-1-5-beta2"
    assert model["lora"]["rank"] == 16
    assert model["optimizer"]["init_args"]["lr"] == 1e-4
    assert model["gradient_checkpointing"] is True
    assert (data["resolution"], data["shares"]) == (512, {"portrait": 2, "landscape": 1})
    assert (trainer["max_steps"], trainer["precision"]) == (1500, "16-mixed")
    assert run["clip_score"] == run["clip_score"] | {"model": "openai/clip-vit-base-patch32"}  # type: ignore[operator]
    assert "ghibli_style, (watercolor:1.2), Luffy from One Piece, smiling, blue sky background" in str(
        run["samples"]
    )


@pytest.mark.parametrize("config", ["ghibli", "illustrious", "noobai_v"])
def test_how_often_each_picture_is_seen_is_as_the_comment_says(config: str) -> None:
    text = (ROOT / f"configs/{config}.yaml").read_text()
    run = yaml.safe_load(text)
    numbers = re.search(
        r"# (\d+) steps x (\d+) = (\d+) draws: of (\d+) \+ (\d+) pictures (\d+) \+ (\d+) .* is seen (\d+) times",
        text,
    )
    assert numbers is not None
    steps, batch, draws, *pictures, times = (int(number) for number in numbers.groups())
    assert (steps, batch) == (run["trainer"]["max_steps"], run["data"]["batch_size"])
    assert draws == steps * batch
    fraction = inspect.signature(PictureFolder).parameters["holdout_fraction"].default
    for share, whole, trained in zip((2 / 3, 1 / 3), pictures[:2], pictures[2:], strict=True):
        assert trained == whole - hold_out_count(whole, fraction)
        assert round(draws * share / trained) == times


@pytest.mark.parametrize(
    ("config", "objective", "painting"),
    [
        ("illustrious", (None, None), {"sampler": "euler_a", "guidance_scale": 6, "guidance_rescale": 0}),
        (
            "noobai_v",
            ("v_prediction", True),
            {"sampler": "euler", "guidance_scale": 4.5, "guidance_rescale": 0.7},
        ),
    ],
)
def test_the_configs_of_stable_diffusion_xl_train_and_paint_as_their_bases_do(
    config: str,
    objective: tuple[object, ...],
    painting: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the bases' cards say, at the size and shapes that they were made for, to the schedule's end."""
    run: dict[str, Any] = resolved(ROOT / f"configs/{config}.yaml", capsys)
    model, data = run["model"], run["data"]
    assert family_of_id(model["base_model"]) is SDXL
    assert (model["prediction_type"], model["zero_terminal_snr"]) == objective
    assert (data["resolution"], data["buckets"], model["lora"]["rank"]) == (1024, True, 16)
    assert model["lr_scheduler"]["init_args"]["T_max"] == run["trainer"]["max_steps"]
    prompts = run["samples"]["prompts"]
    assert {one["group"] for one in prompts} == set(data["shares"])
    for painted in (*prompts, run["test"]):
        assert {name: painted[name] or 0 for name in painting} == painting  # null in `test` is the default
    for one in prompts:
        assert one["prompt"].startswith(f"{data['trigger']}, ")
        assert (one["width"], one["height"]) in bucket_sizes(data["resolution"])


def test_a_number_is_a_number_where_a_class_does_not_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1e-4 is a text in YAML 1.1, and most optimizers' parameters have no types."""
    config = tmp_path / "estimating.yaml"
    path = "tests.lightning_modules.optimization.test_resumed_optimizer.Estimating"
    optimizer = f"{{class_path: {path}, init_args: {{lr: 1e-4, d0: 1E-6}}}}"
    config.write_text(f"model: {{base_model: demo/base, optimizer: {optimizer}}}\n")
    growth = ("--model.optimizer.init_args.growth", "2e+1")
    model = resolved(config, capsys, *growth)["model"]
    assert isinstance(model, dict)
    assert model["optimizer"]["init_args"] == {"lr": 1e-4, "d0": 1e-6, "growth": 20.0}
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump({"model": {"base_model": "demo/base", "optimizer": model["optimizer"]}}))
    assert resolved(again, capsys)["model"]["optimizer"] == model["optimizer"]  # type: ignore[index]


def test_ghibli_resolves_the_same_without_the_demo_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a copy of the code that has no `configs/demo.yaml`."""
    for item in ROOT.iterdir():
        if item.name not in {"configs", "runs", ".git"}:
            (tmp_path / item.name).symlink_to(item)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/ghibli.yaml").write_text((ROOT / "configs/ghibli.yaml").read_text())
    (tmp_path / "train.py").unlink()
    (tmp_path / "train.py").write_text((ROOT / "train.py").read_text())
    command = [sys.executable, "train.py", "fit", "--config", "configs/ghibli.yaml", "--print_config"]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert yaml.safe_load(alone) == resolved(ROOT / "configs/ghibli.yaml", capsys)


def test_the_demo_samples_are_the_prompts_that_the_recipe_keeps_out_of_its_training() -> None:
    demo = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    assert [(row["group"], row["prompt"]) for row in demo["samples"]["prompts"]] == list(EVALUATION_PROMPTS)
    assert demo["clip_score"]["style_prompt"] == STYLE_PROMPT


def test_no_arguments_mean_the_embedded_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["model"]["base_model"] == "demo/base"


@pytest.mark.parametrize("command", ["fit", "plan"])
@pytest.mark.parametrize(
    "option",
    ["--data.folder=mine", "--model.optimizer.lr=1e-3", "--model.optimizer=SGD", "--data.shares={a: 1}"],
)
def test_a_config_behind_an_option_that_it_sets_too_is_refused(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would win in silence."""
    config = str(ROOT / "configs/ghibli.yaml")
    with pytest.raises(SystemExit) as stop:
        main([command, option, "--config", config])
    assert stop.value.code == 2
    name = option.partition("=")[0]
    assert f"{name} would have no effect: --config {config} behind it" in (said := capsys.readouterr().err)
    assert "Put the config before the other options." in said


def test_a_config_may_stand_behind_options_that_it_leaves_alone(capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs/ghibli.yaml")
    with pytest.raises(SystemExit):
        main(["fit", "--name", "mine", "--data.flip", "false", "--config", config, "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["flip"] is False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model.lora.ranc", "4"], "Did you mean --model.lora.rank?"),
        (["--model.lora.rank", "four"], "model.lora.rank"),
        (["--trainer.max_stps", "4"], "Did you mean --trainer.max_steps?"),
    ],
)
def test_a_mistyped_option_is_met_with_help(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *options])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert len(printed.splitlines()) < 8
