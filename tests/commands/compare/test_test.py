"""`python train.py test`, through the command line with the tiny base and the shipped small CLIP."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import bootstrap
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import CLIPModel, CLIPProcessor

from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.writing import write_adapter
from tests.small_run import picture_folder
from tests.tiny_adapters import learned_unet
from tests.tiny_models import on_each_family
from train import main

OPTIONS = LoraOptions(rank=4, alpha=2.0)
CLIP = "demo/clip"
STYLE = "watercolor style"
EVIL = "<script>alert(1)</script> girl"


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both exports, and a `test` section of six prompts, two seeds, three strengths."""
    folder = tmp_path_factory.mktemp("test")
    run = folder / "runs" / "tiny"
    unet = learned_unet(tiny_base, OPTIONS)
    write_adapter(run / "pytorch_lora_weights.safetensors", adapter_of(unet), "diffusers", {})
    write_adapter(run / "tiny_kohya.safetensors", adapter_of(unet), "kohya", {})
    prompts = [f"portrait {n}" for n in range(3)] + ["hills", "sea"]
    entries = [
        *(
            {"prompt": prompt, "group": "portrait" if k < 3 else "landscape"}
            for k, prompt in enumerate(prompts)
        ),
        {"prompt": EVIL, "group": "portrait", "seed": 77},
    ]
    settings = {
        "model": {"base_model": str(tiny_base), "base_config": None, "long_captions": "truncate"},
        "data": {
            "folder": str(picture_folder(folder / "pictures", portraits=12, landscapes=8)),
            "resolution": 64,
            "holdout_fraction": 0.5,
            "cache_folder": None,
        },
        "clip_score": {"model": CLIP, "style_prompt": STYLE},
        "test": {
            "prompts": entries,
            "seeds": [0, 1],
            "strengths": [0.0, 1.0, 1.2],
            "steps": 2,
            "labels": ["Base Model", "LoRA Final <b>"],
            "training_captions": 5,
        },
    }
    (run / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    return run


def evaluate(run: Path, *options: str) -> None:
    main(["test", "--lora", str(run), "--trainer.accelerator", "cpu", *options])


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def report(run: Path) -> Path:
    evaluate(run)
    return run / "report"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values of nested JSON with where they stand."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if children is None:
        yield path, value
        return
    for name, child in children:
        yield from leaves(child, f"{path}/{name}")


def test_everything_is_there(report: Path) -> None:
    assert {path.name for path in report.iterdir() if not path.name.startswith("events")} == {
        "clip_scores.png",
        "metrics.json",
        "nearest_training_pictures.png",
        "pictures",
        "prompt_engineering_1.png",
        "prompt_engineering_2.png",
        "prompt_engineering_3.png",
        "prompt_engineering_grid.png",
        "report.html",
        "side_by_side_landscape.png",
        "side_by_side_portrait.png",
        "strength_sweep.png",
        "strengths_1.png",
        "strengths_2.png",
    }
    found = metrics(report)
    assert found["labels"] == ["Base Model", "LoRA Final <b>"]
    assert found["not_measured"] == []
    # 6 prompts: 2 seeds x {base, LoRA} x {plain, enhanced}, and one strength more of the first seed
    assert len(found["pictures"]) == 6 * (8 + 1)
    captions = 2 * 5
    assert len(list((report / "pictures").glob("*.png"))) == 6 * (8 + 1) + captions


def test_base_and_clip_are_named_without_this_machine_s_folders(report: Path, tiny_base: Path) -> None:
    """Seen from another folder, the shipped ones are absolute paths as well."""
    facts = metrics(report)["facts"]
    assert (facts["base model"], facts["CLIP"]) == (tiny_base.name, "demo/clip")


def test_prompts_are_shown_as_text(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "LoRA Final &lt;b&gt;" in page


def test_scores_are_those_of_a_plain_transformers_call(report: Path) -> None:
    clip, processor = CLIPModel.from_pretrained(CLIP), CLIPProcessor.from_pretrained(CLIP)
    rows = metrics(report)["pictures"]
    images = [Image.open(report / "pictures" / row["file"]) for row in rows]
    texts = [*(row["scored_as"] for row in rows), STYLE]
    with torch.no_grad():
        output = clip(**processor(text=texts, images=images, return_tensors="pt", padding=True))
    cosines = 100 * output.image_embeds @ output.text_embeds.T
    assert [row["prompt_score"] for row in rows] == pytest.approx(cosines.diagonal().tolist(), abs=1e-3)
    assert [row["style_score"] for row in rows] == pytest.approx(cosines[:, -1].tolist(), abs=1e-3)


def differences(rows: list[dict[str, Any]], score: str) -> np.ndarray:
    """LoRA minus base, [prompts, seeds], from the rows of metrics.json."""
    plain = [row for row in rows if not row["enhanced"] and row["lora_scale"] in (0, 1)]
    cells = {(row["prompt"], row["seed"] // 1000, row["lora_scale"]): row[score] for row in plain}
    prompts = list(dict.fromkeys(row["prompt"] for row in plain))
    return np.array([[cells[p, r, 1.0] - cells[p, r, 0.0] for r in (0, 1)] for p in prompts])


def test_the_interval_is_that_of_scipy_over_the_saved_scores(report: Path) -> None:
    found = metrics(report)
    table, random = differences(found["pictures"], "style_score"), np.random.default_rng(1)

    def nested(rows: np.ndarray) -> float:
        prompts = rows.astype(int)
        return float(table[prompts[:, None], random.integers(0, 2, (6, 2))].mean())

    wanted = bootstrap(
        (np.arange(6),), nested, n_resamples=9999, vectorized=False, method="percentile", rng=1
    ).confidence_interval
    difference = found["style_score"]["overall"]["difference"]
    assert difference["value"] == pytest.approx(table.mean(), abs=1e-9)
    width = wanted.high - wanted.low
    assert difference["low"] == pytest.approx(wanted.low, abs=0.05 * width)
    assert difference["high"] == pytest.approx(wanted.high, abs=0.05 * width)


def test_tensorboard_has_the_same(report: Path) -> None:
    events = EventAccumulator(str(report), size_guidance={"images": 0})
    events.Reload()
    (scalar,) = events.Scalars("test/style_score/difference")
    assert scalar.value == pytest.approx(
        metrics(report)["style_score"]["overall"]["difference"]["value"], rel=1e-6
    )
    assert {"test/clip_scores", "test/side_by_side_portrait", "test/strength_sweep"} <= set(
        events.Tags()["images"]
    )


def test_again_nothing_is_painted_and_after_a_loss_only_what_is_missing(
    run: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, files = (
        metrics(report),
        {path: path.stat().st_mtime_ns for path in (report / "pictures").iterdir()},
    )
    lost = sorted(files)[3]
    before = np.asarray(Image.open(lost)).astype(int)
    lost.unlink()
    evaluate(run)
    assert f"{len(files) - 1} of {len(files)} pictures there already" in capsys.readouterr().out
    assert np.abs(np.asarray(Image.open(lost)).astype(int) - before).max() <= 1
    assert [path for path, time in files.items() if path.stat().st_mtime_ns != time] == [lost]
    again = metrics(report)
    assert [where for where, _ in leaves(again)] == [where for where, _ in leaves(first)]
    for (where, one), (_, other) in zip(leaves(first), leaves(again), strict=True):
        same = one == (pytest.approx(other, abs=1e-4) if isinstance(other, float) else other)
        assert same, where


def test_a_lora_that_does_nothing_shows_no_difference(run: Path, tmp_path: Path) -> None:
    tensors = load_file(run / "pytorch_lora_weights.safetensors")
    dead = {name: tensor * (0 if "lora_B" in name else 1) for name, tensor in tensors.items()}
    save_file(dead, tmp_path / "dead.safetensors")
    options = ["--model.base_model", json.loads((run / "config.yaml").read_text())["model"]["base_model"]]
    held_out = ["--held_out", str(picture_folder(tmp_path / "held_out")), "--clip", CLIP]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("girl\nboy\nhills\nsea\n")
    evaluate(
        tmp_path / "dead.safetensors",
        *(*options, *held_out, "--prompts", str(prompts), "--steps", "1", "--strengths", "[0, 1]"),
        *("--height", "64", "--width", "64", "--output", str(tmp_path / "report")),
    )
    found = metrics(tmp_path / "report")
    verdicts = [value for where, value in leaves(found) if where.endswith("verdict")]
    assert (
        len(verdicts) == 4 * 2 + 1 * 2 + 3
    )  # four comparisons and CMMD, over all and by group; three interactions
    assert set(verdicts) == {"no difference shown"}
    assert found["strength"]["overall"]["recommended"] is None
    assert found["diversity"]["overall"]["kept"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["facts"]["alpha"] == "not in the file; alpha = rank was assumed"
    assert "The adapter's run isn't known" in found["not_measured"][0]
    assert found["memorisation"] is None


@on_each_family
def test_a_file_alone_has_fewer_sections(base: Path, tmp_path: Path) -> None:
    """Neither training nor held-out pictures, one seed, no enhancement."""
    file = tmp_path / "alone.safetensors"
    write_adapter(file, adapter_of(learned_unet(base, OPTIONS)), "kohya", {})
    options = {
        "model.base_model": str(base),
        "clip": CLIP,
        "seeds": "[4]",
        "enhancement": "null",
        "steps": "1",
    }
    (tmp_path / "p.txt").write_text("girl\nhills\n")
    options |= {"height": "64", "width": "64", "output": str(tmp_path), "prompts": str(tmp_path / "p.txt")}
    evaluate(file, *(f"--{name}={value}" for name, value in options.items()))
    found = metrics(tmp_path)
    assert [found[name] for name in ("style_similarity", "style_distance", "strength", "diversity")] == [
        None
    ] * 4
    assert found["enhancement"] == "" or found["enhancement"] == {}
    assert [reason.split(":")[0].split(",")[0] for reason in found["not_measured"]] == [
        "The adapter's run isn't known",
        "There are no held-out pictures of the style",
        "Variety",
    ]
    assert [row["seed"] for row in found["pictures"]] == [4000, 4000, 4001, 4001]


@pytest.fixture
def refused(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    def said(*options: str) -> str:
        with pytest.raises(SystemExit) as stop:
            evaluate(run, "--output", str(tmp_path / "out"), *options)
        assert stop.value.code == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    return said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seeds", "[1, 1]"], "--seeds is [1, 1]: give one or more, each once"),
        (["--seeds", "[]"], "--seeds is []"),
        (["--strengths", "[0.5, 1]"], "--strengths is [0.5, 1.0]: give two or more, rising from 0"),
        (["--strengths", "[0]"], "--strengths is [0.0]"),
        (["--lora_scale", "0"], "--lora_scale is 0, which is the base"),
        (["--prompts", "absent.txt"], "--prompts absent.txt: there is no such file"),
        (["--prompts", "[a, a]", "--steps", "0"], "--steps: 0 is not a whole number, 1 to 1000"),
        (
            ["--prompts", "[{prompt: a, seed: 1}, {prompt: a, seed: 1}]"],
            "test.prompts 2: stands there already",
        ),
        (["--width", "36"], "are not multiples of 8"),
        (["--strenths", "[]"], "Did you mean --strengths?"),
        (["--held_out", "absent"], "absent"),
        (["--clip", "absent"], "--clip is absent: there is no such folder"),
    ],
)
def test_what_cannot_be_compared_is_said_before_painting(
    refused: Callable[..., str], options: list[str], says: str
) -> None:
    assert says in refused(*options)


def test_held_out_pictures_that_were_trained_on_are_refused(run: Path, refused: Callable[..., str]) -> None:
    folder = json.loads((run / "config.yaml").read_text())["data"]["folder"]
    assert "--held_out holds 10 pictures that the LoRA was trained on, e.g." in refused("--held_out", folder)


def test_a_file_for_a_folder_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate(run, "--output", __file__)
    assert "test_test.py is a file; give the folder" in capsys.readouterr().err


def test_without_a_run_prompts_are_needed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.safetensors").write_bytes((run / "tiny_kohya.safetensors").read_bytes())
    base = json.loads((run / "config.yaml").read_text())["model"]["base_model"]
    with pytest.raises(SystemExit):
        evaluate(tmp_path / "a.safetensors", "--model.base_model", base)
    assert "a.safetensors doesn't say what to paint: give --prompts FILE" in capsys.readouterr().err
