"""The card beside exported files: what it says, where that comes from, and that it takes no words for markup."""

import ast
import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import yaml
from diffusers.loaders.single_file_utils import _extract_repo_id_and_weights_name

from commands.runs.model_card import MARK, plain, write_model_card
from lightning_modules.base.families.sdxl import SDXL
from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.writing import write_adapter

DIGEST = "0123456789abcdef" * 4
FACTS = {
    "base": "wd/beta2 (Stable Diffusion 2.x, v_prediction)",
    "ss_sd_model_name": "wd/beta2",
    "run": "ghibli",
    "steps": "1500",
    "ss_learning_rate": "0.0001",
    "modelspec.trigger_phrase": "ghibli_style",
}


def estimate(value: float, half: float | None = 1.0) -> dict[str, float | None]:
    return {
        "value": value,
        "low": None if half is None else value - half,
        "high": None if half is None else value + half,
    }


def comparison(base: float, lora: float) -> dict[str, Any]:
    return {
        "prompts": 8,
        "seeds": 3,
        "base": estimate(base),
        "lora": estimate(lora),
        "difference": estimate(lora - base),
        "win_rate": estimate(1.0, None),
        "verdict": "higher with the LoRA",
    }


METRICS = {
    "facts": {"adapter": f"runs/ghibli/step.ckpt (checkpoint), SHA-256 {DIGEST[:12]}"},
    "prompt_score": {
        "overall": comparison(30, 29),
        "groups": {"portrait": comparison(31, 30), "land": comparison(29, 28)},
    },
    "style_score": {"overall": comparison(20, 27), "groups": {"everything": comparison(20, 27)}},
    "style_similarity": None,
}
LEDGER = {
    "draws": 6000,
    "as_planned": True,
    "groups": {
        "por|trait<b>": {
            "pictures": 90,
            "planned": 4000,
            "seen": 4000,
            "times_each": 44.44,
            "least": 44,
            "most": 45,
        },
        "landscape": {
            "pictures": 45,
            "planned": 2000,
            "seen": 2000,
            "times_each": 44.44,
            "least": 44,
            "most": 45,
        },
    },
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a ledger, a report and two grids."""
    run = tmp_path / "ghibli"
    (run / "samples").mkdir(parents=True)
    (run / "report").mkdir()
    for step in (100, 1500):
        (run / "samples" / f"step_{step:06d}.png").write_bytes(b"grid %d" % step)
    (run / "exposure.json").write_text(json.dumps(LEDGER))
    (run / "report" / "metrics.json").write_text(json.dumps(METRICS))
    return run


def exported(folder: Path, facts: dict[str, str] | None = None) -> list[Path]:
    """Both files of an adapter of one layer."""
    state = {"conv_in.lora_A.weight": torch.ones(2, 4, 3, 3), "conv_in.lora_B.weight": torch.ones(8, 2, 1, 1)}
    adapter, said = Adapter(state, {"conv_in": 1.0}), FACTS if facts is None else facts
    return [
        write_adapter(folder / "ghibli.safetensors", adapter, "diffusers", said),
        write_adapter(folder / "ghibli_kohya.safetensors", adapter, "kohya", said),
    ]


def card(run: Path, folder: Path | None = None, digest: str = DIGEST) -> str:
    return write_model_card(exported(folder or run), digest, run).read_text()


def test_the_hub_reads_its_header(run: Path) -> None:
    front = yaml.safe_load(card(run).split("---")[1])
    assert front["base_model"] == "wd/beta2"
    assert (front["license"], front["license_name"]) == ("other", "academic-and-research-use-only")
    assert front["library_name"] == "diffusers"
    assert front["instance_prompt"] == "ghibli_style"
    assert {"lora", "text-to-image", "stable-diffusion"} <= set(front["tags"])


def test_use_in_each_program_is_said_with_the_files_names(run: Path) -> None:
    text = card(run)
    assert "load_lora_weights(\"FOLDER_OF_THIS_CARD\", weight_name='ghibli.safetensors')" in text
    assert "StableDiffusionPipeline.from_pretrained('wd/beta2')" in text
    assert "copy `ghibli_kohya.safetensors` into `models/loras`" in text
    assert "`<lora:ghibli_kohya:1>`" in text


def test_a_base_of_16_bit_files_alone_is_loaded_as_such(run: Path) -> None:
    text = write_model_card(exported(run, FACTS | {"base_variant": "fp16"}), DIGEST, run).read_text("utf-8")
    assert "from_pretrained('wd/beta2', variant='fp16')" in text


def test_a_base_of_xl_is_opened_by_its_own_pipeline(run: Path) -> None:
    """A single file is opened as one, and diffusers, which takes any for epsilon, is told what it predicts."""
    said = FACTS | SDXL.header("noobai.safetensors", "v_prediction") | {"modelspec.resolution": "1024x1024"}
    text = write_model_card(exported(run, said | {"ss_zero_terminal_snr": "True"}), DIGEST, run).read_text()
    code = text.partition("```python\n")[2].partition("  ```")[0]
    assert "from diffusers import StableDiffusionXLPipeline\n" in code
    assert "StableDiffusionXLPipeline.from_single_file('noobai.safetensors')" in code
    assert 'prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"' in code
    ast.parse(dedent(code))
    assert "| resolution | 1024x1024 |" in text
    assert "A style LoRA for noobai.safetensors (Stable Diffusion XL, v_prediction)." in text
    text = write_model_card(exported(run, FACTS | SDXL.header("x/xl", "epsilon")), DIGEST, run).read_text()
    assert "StableDiffusionXLPipeline.from_pretrained('x/xl')" in text
    assert "scheduler" not in text


def test_one_file_of_a_repository_is_opened_by_its_address_and_linked_by_its_id(run: Path) -> None:
    """Diffusers takes a path or an address, the hub's own list of a base's LoRAs an id."""
    base = "owner/name/sub/noobai.safetensors"
    path = write_model_card(exported(run, FACTS | SDXL.header(base, "epsilon")), DIGEST, run)
    text = path.read_text("utf-8")
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "owner/name"
    found = re.search(r"from_single_file\('(.*)'\)", text)
    assert found is not None
    repository, file = _extract_repo_id_and_weights_name(found[1])
    assert (repository, file) == ("owner/name", "sub/noobai.safetensors")


def test_a_trigger_with_brackets_can_be_pasted_into_a_prompt(run: Path) -> None:
    said = FACTS | {"modelspec.trigger_phrase": "saber (fate) [x] <y>"}
    text = write_model_card(exported(run, said), DIGEST, run).read_text("utf-8")
    assert (
        "Put `saber \\(fate\\) \\[x\\] <y>` into the prompt (in diffusers, whose prompts have no weights, "
        in text
    )
    assert "`saber (fate) [x] <y>`)." in text
    assert "Put `ghibli_style` into the prompt.\n" in card(run)


def test_data_scores_and_settings_are_the_runs(run: Path) -> None:
    text = card(run)
    assert "135 pictures, 6000 draws, as planned" in text
    assert "| por\\|trait&lt;b> | 90 | 4000 | 4000 | 44.44 | 44 | 45 |" in text
    assert (
        "| CLIP score, own prompt | portrait | 8 x 3 | 31.00 (30.00 to 32.00) | 30.00 (29.00 to 31.00) | "
        "-1.00 (-2.00 to 0.00) | higher with the LoRA |"
    ) in text
    assert "CLIP score, style prompt | all | 8 x 3 | 20.00" in text
    assert "everything" not in text  # the only group is all
    assert "likeness" not in text  # not measured
    assert "another adapter" not in text
    assert "| learning rate | 0.0001 |" in text
    assert "academic and research use only" in text.replace("**", "")


def test_a_report_of_another_adapter_is_called_so(run: Path) -> None:
    assert "That is another adapter than this one." in card(run, digest="f" * 64)


def test_the_newest_grid_lies_where_the_card_finds_it(run: Path, tmp_path: Path) -> None:
    assert "](samples/step_001500.png)" in card(run)
    assert "](samples.png)" in card(run, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "samples.png").read_bytes() == b"grid 1500"


def test_what_is_not_known_is_said(run: Path, tmp_path: Path) -> None:
    (run / "report" / "metrics.json").write_text("{ torn")
    assert "Not measured yet: `python train.py test`" in card(run)
    path = write_model_card(exported(tmp_path / "theirs", {}), DIGEST, None)
    assert "doesn't say which pictures it was trained on" in path.read_text()
    assert "base_model" not in yaml.safe_load(path.read_text().split("---")[1])


def test_somebody_elses_readme_stays(run: Path) -> None:
    (run / "README.md").write_text("mine")
    path = write_model_card(exported(run), DIGEST, run)
    assert path.name == "ghibli.md"
    assert (run / "README.md").read_text() == "mine"
    assert MARK in path.read_text()
    (run / "README.md").unlink()
    assert write_model_card(exported(run), DIGEST, run) == write_model_card(exported(run), DIGEST, run)
    assert MARK in (run / "README.md").read_text()


def test_words_stay_words() -> None:
    assert plain("a|b\n# <script>`x`[y](z)") == "a\\|b # &lt;script>'x'\\[y](z)"
