"""`python train.py predict`, through the command line with the tiny base."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from lightning_modules.adapter_painter import AdapterPainter
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.writing import write_adapter
from tests.evaluation.a1111_reader import read
from tests.tiny_adapters import learned_unet
from tests.tiny_models import on_each_family, save_tiny_base
from train import main

OPTIONS = LoraOptions(rank=4, alpha=2.0)
CPU = ["--trainer.accelerator", "cpu"]


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trained at 64 pixels, with both exports. Read only but for `pictures`."""
    return run_on(tiny_base, tmp_path_factory.mktemp("runs"))


def run_on(base: Path, runs: Path) -> Path:
    run = runs / "tiny"
    unet = learned_unet(base, OPTIONS)
    write_adapter(run / "pytorch_lora_weights.safetensors", adapter_of(unet), "diffusers", {})
    write_adapter(run / "tiny_kohya.safetensors", adapter_of(unet), "kohya", {})
    (run / "config.yaml").write_text(
        f"""
model: {{base_model: "{base}", base_config: null, zero_terminal_snr: null, long_captions: windows}}
data: {{resolution: 64}}
samples:
  prompts:
  - {{prompt: the sea, group: landscape, seed: 1, steps: 2, height: null}}
  - {{prompt: a girl, group: portrait, seed: 2, steps: 2, guidance_scale: 1.0}}
"""
    )
    return run


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Pixels by file name."""
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))}


def fields(path: Path) -> dict[str, str]:
    """A picture's text by A1111's rules."""
    with Image.open(path) as picture:
        return read(picture.text["parameters"])  # type: ignore[attr-defined]


def test_without_options_the_last_runs_samples_are_painted_once(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", "--runs", str(run.parent), *CPU])
    written = sorted((run / "pictures").glob("*.png"))
    assert [(fields(path)["Prompt"], fields(path)["Seed"]) for path in written] == [
        ("a girl <lora:tiny_kohya:1>", "2"),
        ("the sea <lora:tiny_kohya:1>", "1"),
    ]
    assert "0 of 2 pictures there already" in capsys.readouterr().out
    written[1].unlink()
    kept = written[0].stat().st_mtime_ns
    main(["predict", "--runs", str(run.parent), *CPU])
    assert "1 of 2 pictures there already" in capsys.readouterr().out
    assert written[1].is_file()
    assert written[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("prompt", ["null", "~", "2023", "no"])
def test_a_prompt_that_yaml_reads_as_something_else_is_painted_as_typed(
    run: Path, tmp_path: Path, prompt: str
) -> None:
    main(["predict", "--lora", str(run), "--prompt", prompt, "--steps", "1", "--output", str(tmp_path), *CPU])
    (path,) = tmp_path.glob("*.png")
    assert fields(path)["Prompt"] == f"{prompt} <lora:tiny_kohya:1>"


@on_each_family
def test_both_formats_paint_the_same_and_the_base_something_else(base: Path, tmp_path: Path) -> None:
    run = run_on(base, tmp_path)
    common = ["--prompt", "a girl", "--steps", "2", "--seed", "5", *CPU]
    for name in ("pytorch_lora_weights", "tiny_kohya"):
        file = str(run / f"{name}.safetensors")
        main(["predict", "--lora", file, "--output", str(tmp_path / name), *common])
    one, other = pictures(tmp_path / "pytorch_lora_weights"), pictures(tmp_path / "tiny_kohya")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    main(["predict", "--lora", str(run), "--lora_scale", "0", "--output", str(tmp_path / "base"), *common])
    (without,), (lora,) = pictures(tmp_path / "base").values(), one.values()
    assert np.abs(without - lora).max() > 1


def test_what_the_run_was_told_of_its_base_holds_for_its_pictures(tiny_base: Path, tmp_path: Path) -> None:
    run = run_on(tiny_base, tmp_path)
    settings = (run / "config.yaml").read_text()
    for kind in ("v_prediction", "epsilon"):
        told = settings.replace("base_config: null", f"base_config: null, prediction_type: {kind}")
        (run / "config.yaml").write_text(told)
        common = ["--prompt", "a girl", "--steps", "2", "--seed", "5", *CPU]
        main(["predict", "--lora", str(run), "--output", str(tmp_path / kind), *common])
    common += ["--model.prediction_type", "v_prediction"]
    main(["predict", "--lora", str(run), "--output", str(tmp_path / "given"), *common])
    (v,), (epsilon,), (given,) = (
        pictures(tmp_path / name).values() for name in ("v_prediction", "epsilon", "given")
    )
    assert np.abs(v - epsilon).max() > 1
    assert np.array_equal(v, given)


def test_what_the_run_was_told_of_its_base_is_not_said_of_another(tiny_base: Path, tmp_path: Path) -> None:
    run = run_on(tiny_base, tmp_path)
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(settings.replace("terminal_snr: null", "terminal_snr: true"))
    another = save_tiny_base(tmp_path / "another", prediction_type="epsilon")
    options = ["--model.base_model", str(another), "--prompt", "a girl", "--steps", "2", *CPU]
    main(["predict", "--lora", str(run), "--output", str(tmp_path / "of_the_run"), *options])
    file = str(run / "tiny_kohya.safetensors")
    shutil.copy(file, tmp_path / "alone.safetensors")
    options += ["--height", "64", "--width", "64"]
    main(
        ["predict", "--lora", str(tmp_path / "alone.safetensors"), "--output", str(tmp_path / "b"), *options]
    )
    (found,), (alone,) = (pictures(tmp_path / name).values() for name in ("of_the_run", "b"))
    assert np.abs(found - alone).max() <= 1


def test_a_base_in_8_bits_paints_as_one_of_rounded_weights(tiny_sdxl: Path, tmp_path: Path) -> None:
    """On request alone: the run that trained on it so paints with the base as its files have it."""
    run = run_on(tiny_sdxl, tmp_path)
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(settings.replace("config: null", "config: null, base_storage: float8"))
    rounded = Path(shutil.copytree(tiny_sdxl, tmp_path / "rounded"))
    unet = UNet2DConditionModel.from_pretrained(rounded, subfolder="unet")
    for name, module in unet.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not name.startswith("conv_"):
            module.weight.data = module.weight.data.bfloat16().to(torch.float8_e4m3fn).float()
    unet.save_pretrained(rounded / "unet")
    found = []
    for number, options in enumerate(
        ([], ["--model.base_storage", "float8"], ["--model.base_model", str(rounded)])
    ):
        output = tmp_path / str(number)
        common = ["--prompt", "a girl", "--steps", "2", "--trainer.precision", "bf16-mixed", *CPU]
        main(["predict", "--lora", str(run), "--output", str(output), *common, *options])
        found.append(pictures(output))
    plain, in_8_bits, of_rounded = (next(iter(one.values())) for one in found)
    assert np.array_equal(in_8_bits, of_rounded)
    assert not np.array_equal(plain, in_8_bits)
    assert len({name for one in found for name in one}) == 3  # what a picture shows is in its name


def test_a_picture_does_not_depend_on_the_others(run: Path, tmp_path: Path) -> None:
    lines = ['{"prompt": "a girl", "seed": 5, "steps": 2}', '{"prompt": "sea", "steps": 2}']
    for count in (1, 2):
        (tmp_path / "p.jsonl").write_text("\n".join(reversed(lines[:count])))
        options = ["--prompts", str(tmp_path / "p.jsonl"), "--output", str(tmp_path / str(count))]
        main(["predict", "--lora", str(run), *options, *CPU])
    alone, beside = pictures(tmp_path / "1"), pictures(tmp_path / "2")
    assert (len(alone), len(beside)) == (1, 2)
    assert all(np.abs(beside[name] - picture).max() <= 1 for name, picture in alone.items())


def test_only_the_unet_is_moved_to_the_accelerator(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one device here: looked at is what Lightning would move."""
    noted: set[str] = set()
    paint = AdapterPainter.predict_step

    def noted_step(self: AdapterPainter, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        noted.update(name.partition(".")[0] for name, _ in self.named_parameters())
        return paint(self, batch, batch_idx)

    monkeypatch.setattr(AdapterPainter, "predict_step", noted_step)
    main(
        ["predict", "--lora", str(run), "--prompt", "a girl", "--steps", "1", "--output", str(tmp_path), *CPU]
    )
    assert noted == {"unet"}


def test_every_option_reaches_the_picture(run: Path, tmp_path: Path) -> None:
    options = {
        "prompt": "[a], (girl:1.2)",
        "negative_prompt": "{b: c}",
        "seed": 9,
        "height": 32,
        "width": 48,
        "steps": 3,
        "guidance_scale": 2.5,
        "guidance_rescale": 0.4,
        "sampler": "euler_a",
        "clip_skip": 1,
        "lora_scale": 0.5,
        "output": tmp_path,
    }
    main(["predict", "--lora", str(run), *CPU, *(f"--{name}={value}" for name, value in options.items())])
    (path,) = tmp_path.glob("*.png")
    found = fields(path)
    assert found.pop("Lora hashes").startswith("tiny_kohya: ")
    assert found == {
        "Prompt": "[a], (girl:1.2) <lora:tiny_kohya:0.5>",
        "Negative prompt": "{b: c}",
        "Steps": "3",
        "Sampler": "Euler a",
        "CFG scale": "2.5",
        "CFG Rescale": "0.4",
        "Seed": "9",
        "Size-1": "48",
        "Size-2": "32",
        "Model": "tiny_sd2",
        "Clip skip": "2",
        "RNG": "CPU",
    }


def test_a_base_predicts_what_it_was_trained_as(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Where a run was told so, because the base doesn't say it; also where only the option says it."""
    own = tmp_path / "runs" / "own"
    shutil.copytree(run, own, ignore=shutil.ignore_patterns("pictures"))
    config = (own / "config.yaml").read_text().replace("base_config", "prediction_type: epsilon, base_config")
    (own / "config.yaml").write_text(config)
    told = ["--model.base_model", str(tiny_base), "--model.prediction_type", "epsilon"]
    painted: list[dict[str, np.ndarray]] = []
    for lora, options in ((own, []), (run, told), (run, [])):
        output = tmp_path / str(len(painted))
        settings = ["--prompt", "a girl", "--steps", "2", "--output", str(output)]
        main(["predict", "--lora", str(lora), *settings, *options, *CPU])
        painted.append(pictures(output))
    assert painted[0].keys() == painted[1].keys() != painted[2].keys()  # what a picture shows is in its name
    of_run, of_option, as_the_base_says = (next(iter(one.values())) for one in painted)
    assert np.array_equal(of_run, of_option)
    assert np.abs(of_run - as_the_base_says).max() > 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--width", "36"], "36x64 (width x height) are not multiples of 8"),
        (["--clip_skip", "2"], "clip_skip 2, valid are 0 to 1"),
        (["--seed", "-1"], "--seed: -1 is not a whole number from 0"),
        (["--steps", "0"], "--steps: 0 is not a whole number, 1 to 1000"),
        (["--guidance_rescale", "2"], "--guidance_rescale: 2.0 is not a number from 0 to 1"),
        (["--cfg_rescale", "0.7"], "Did you mean --guidance_rescale?"),
        (["--sampler", "heun"], "heun"),
        (["--lora", "absent.safetensors"], "--lora absent.safetensors: there is no such file"),
        (["--promt", "x"], "Did you mean --prompt?"),
        (
            ["--model.base_storage", "float8"],
            "float8 rounds the base to 8 bits and computes in 16, but --trainer.",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    run: Path, options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--lora", str(run), "--prompt", "x", "--output", str(tmp_path), *CPU, *options])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
