"""Every YAML resolves, and nothing of the default leaks into the others."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from demo.prompts import EVALUATION_PROMPTS, STYLE_PROMPT
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


def test_a_config_behind_an_option_wins_over_it(capsys: pytest.CaptureFixture[str]) -> None:
    """So messages that offer a config say that it comes first."""
    with pytest.raises(SystemExit):
        main(
            ["fit", "--data.folder", "mine", "--config", str(ROOT / "configs/ghibli.yaml"), "--print_config"]
        )
    assert yaml.safe_load(capsys.readouterr().out)["data"]["folder"] == "data/ghibli"


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


SGD = torch.optim.SGD([nn.Parameter(torch.zeros(1))]).defaults  # PyTorch's own
ADAMW = torch.optim.AdamW([nn.Parameter(torch.zeros(1))]).defaults
TO_SGD = ("--model.optimizer", "torch.optim.SGD")


@pytest.mark.parametrize(
    ("optimizer", "options", "expected"),
    [
        ("torch.optim.SGD", (), SGD),
        ("{class_path: torch.optim.SGD, init_args: {lr: 0.5}}", (), {**SGD, "lr": 0.5}),
        ("{class_path: torch.optim.AdamW, init_args: {lr: 0.5}}", TO_SGD, SGD),
        (
            "{class_path: torch.optim.AdamW}",
            ("--model.optimizer=SGD", "--model.optimizer.lr=2"),
            {**SGD, "lr": 2},
        ),
        ("torch.optim.AdamW", ("--model.optimizer.momentum", "0.9", *TO_SGD), {**SGD, "momentum": 0.9}),
        (
            "{class_path: torch.optim.AdamW, init_args: {lr: 0.5}}",
            ("--model.optimizer.weight_decay", "0.2", "--model.optimizer", "torch.optim.AdamW"),
            {**ADAMW, "lr": 0.5, "weight_decay": 0.2},
        ),
    ],
)
def test_an_optimizer_has_its_own_settings_and_none_of_the_one_before(
    optimizer: str,
    options: tuple[str, ...],
    expected: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """AdamW decays weights by 0.01, SGD by nothing; the default is an AdamW, too."""
    config = tmp_path / "optimizer.yaml"
    config.write_text(f"model: {{base_model: demo/base, optimizer: {optimizer}}}\n")
    shown = resolved(config, capsys, *options)["model"]["optimizer"]["init_args"]  # type: ignore[index]
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in expected.items()}
    settings.pop("decoupled_weight_decay", None)  # no setting of AdamW's
    assert shown == settings


def test_so_has_a_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ConstantLR counts to 5 unless told otherwise, and holds a third of the rate; LinearLR is told 10 by the demo."""
    path = "torch.optim.lr_scheduler.ConstantLR"
    model = resolved(ROOT / "configs/demo.yaml", capsys, "--model.lr_scheduler", path)["model"]
    assert model["lr_scheduler"]["init_args"] == {  # type: ignore[index]
        "factor": pytest.approx(1 / 3),
        "total_iters": 5,
        "last_epoch": -1,
    }
