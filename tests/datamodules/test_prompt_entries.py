"""Prompt files, the options over them, and what is said of bad ones."""

from pathlib import Path
from typing import get_args

import pytest

from datamodules.prompt_entries import PictureJob, SamplerName, make_jobs, read_entries
from lightning_modules.sampling import SamplerName as Sampler


def jobs_of(path: Path, text: str, **options: object) -> list[PictureJob]:
    """The jobs of a file of this text."""
    path.write_text(text, encoding="utf-8")
    return make_jobs(read_entries(path), options, height=64, width=96)


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "p.txt", "\ufeffhills, [far]\n\n# not this\n  {sea: 1}  \n")
    assert jobs == [PictureJob("hills, [far]", 64, 96), PictureJob("{sea: 1}", 64, 96)]


def test_a_jsonl_file_has_settings_a_line(tmp_path: Path) -> None:
    text = '{"prompt": "hills", "seed": 3, "sampler": "euler", "height": null}\n"sea"\n'
    jobs = jobs_of(tmp_path / "p.jsonl", text)
    assert jobs == [PictureJob("hills", 64, 96, seed=3, sampler="euler"), PictureJob("sea", 64, 96)]


@pytest.mark.parametrize("above", ["", "prompts:\n", "samples:\n  prompts:\n"])
def test_a_yaml_file_may_be_a_list_or_a_training_config(tmp_path: Path, above: str) -> None:
    text = above + "  - {prompt: hills, group: landscape, lora_scale: 0.5}\n  - sea\n"
    jobs = jobs_of(tmp_path / "p.yaml", text)
    assert jobs == [PictureJob("hills", 64, 96, lora_scale=0.5), PictureJob("sea", 64, 96)]


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    text = '{"prompt": "hills", "seed": 3, "steps": 9, "width": 32}\n'
    assert jobs_of(tmp_path / "p.jsonl", text, seed=5, steps=None) == [
        PictureJob("hills", 64, 32, seed=5, steps=9)
    ]


def test_equal_pictures_are_painted_once(tmp_path: Path) -> None:
    assert jobs_of(tmp_path / "p.txt", "hills\nsea\nhills\n") == [
        PictureJob("hills", 64, 96),
        PictureJob("sea", 64, 96),
    ]


def test_all_problems_are_told_at_once_with_their_place(tmp_path: Path) -> None:
    text = '{"prompt": "a", "sed": 1}\n{"prompt": "b", "steps": 0, "seed": true}\n{"seed": 1}\n["c"]\n'
    with pytest.raises(ValueError, match="can't be painted") as error:
        jobs_of(tmp_path / "p.jsonl", text, lora_scale=float("nan"))
    lines = [line.replace(f"{tmp_path}/", "") for line in str(error.value).splitlines()[1:]]
    assert lines == [
        "  --lora_scale: nan is not a number",
        "  p.jsonl line 1: sed: no such setting; did you mean seed?",
        "  p.jsonl line 2: steps: 0 is not a whole number, 1 to 1000",
        "  p.jsonl line 2: seed: True is not a whole number from 0 to 9223372036854775807",
        "  p.jsonl line 3: needs a prompt, e.g. {prompt: hills, seed: 1}; it is {'seed': 1}",
        "  p.jsonl line 4: needs a prompt, e.g. {prompt: hills, seed: 1}; it is ['c']",
    ]


def test_an_unknown_sampler_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'heun' is not one of ddim, euler, euler_a, dpmpp_2m, unipc"):
        jobs_of(tmp_path / "p.yaml", "[{prompt: a, sampler: heun}]")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "# nothing\n", "holds no prompt"),
        ("p.yaml", "data: {folder: x}\n", "holds no prompt"),
        ("p.yaml", "prompts: one\n", "no list"),
        ("p.yaml", "[unclosed\n", "not valid YAML"),
        ("p.jsonl", '{"prompt": "a"\n', "p.jsonl line 1 is not JSON"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        jobs_of(tmp_path / name, text)


def test_an_absent_file_and_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--prompts .*absent\.txt: there is no such file"):
        read_entries(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes("schön".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_entries(tmp_path / "latin.txt")


def test_the_samplers_are_those_of_the_model() -> None:
    assert get_args(SamplerName) == get_args(Sampler)
