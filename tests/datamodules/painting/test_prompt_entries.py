"""Prompt files, the options over them, and what is said of bad ones."""

from pathlib import Path

import pytest

from datamodules.painting.prompt_entries import PictureJob, make_jobs, read_entries


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


def test_a_job_is_written_the_same_however_its_numbers_were(tmp_path: Path) -> None:
    (whole,) = jobs_of(tmp_path / "p.txt", "hills --l 7 --am 1 --guidance_rescale 1")
    settings = '{"prompt": "hills", "lora_scale": 1, "guidance_rescale": 1.0}'
    (given,) = jobs_of(tmp_path / "p.jsonl", settings, guidance_scale=7.0)
    assert repr(whole) == repr(given)


def test_flags_are_read_in_every_kind_of_file_and_refused_beside_settings(tmp_path: Path) -> None:
    job = PictureJob("hills", 64, 96, negative_prompt="fog", seed=3)
    for name, text in (("p.txt", "{}\n"), ("p.jsonl", '"{}"'), ("p.yaml", "- {}"), ("p.json", '["{}"]')):
        assert jobs_of(tmp_path / name, text.replace("{}", "hills --n fog --d 3")) == [job]
    with pytest.raises(ValueError, match="line 1: prompt: --n would be painted as a word"):
        jobs_of(tmp_path / "p.jsonl", '{"prompt": "hills --n fog"}')
    with pytest.raises(ValueError, match="line 2: prompt: \u2014n looks like a flag whose two hyphens"):
        jobs_of(tmp_path / "p.txt", "sea\nhills \u2014n fog")
    with pytest.raises(ValueError, match="line 1: --n needs a value behind it"):
        jobs_of(tmp_path / "p.txt", "hills --n")


def test_other_programs_syntax_is_refused_in_both_prompts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't be painted") as error:
        jobs_of(tmp_path / "p.txt", "[a:b:0.5]\nhills\nsea --n embedding:bad\n", negative_prompt="<lora:x:1>")
    told = str(error.value)
    for part in (
        "--negative_prompt: <lora:x:1> names",
        "line 1: prompt: [a:b:0.5] changes",
        "line 3: negative_prompt: embedding:bad",
    ):
        assert part in told
    assert "line 2" not in told


def test_a_line_ends_at_its_line_break_alone(tmp_path: Path) -> None:
    odd = "hills\u2028sea\u2029x\x85y\x0cz\x0bw\x1cv"
    assert [job.prompt for job in jobs_of(tmp_path / "p.txt", f"{odd}\r\nlake\rwood\n\x0c\n")] == [
        odd,
        "lake",
        "wood",
    ]
    assert [job.prompt for job in jobs_of(tmp_path / "p.jsonl", f'{{"prompt": "{odd[:11]}"}}\n')] == [
        odd[:11]
    ]


def test_suffixes_are_read_in_any_case_and_a_file_may_have_none(tmp_path: Path) -> None:
    for name in ("p.TXT", "p.JSONL", "p"):
        assert len(jobs_of(tmp_path / name, '"hills"')) == 1
    assert jobs_of(tmp_path / "p.JSON", '[\n\t{"prompt": "hills"}]') == [PictureJob("hills", 64, 96)]


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
        ("p.yaml", "- 2024-99-99\n", "not valid YAML: month must be in 1..12"),
        ("p.yaml", "- 2023\n", "it is 2023, which is a text only in quotes"),
        ("p.yaml", "- {prompt: yes}\n", "prompt: True is not a text .numbers, yes and no stand in quotes"),
        ("p.yaml", "- {prompt: a, seed: [1, 2]}\n", r"seed: \[1, 2\] is not a whole number"),
        ("p.yaml", "- {prompt: a, width: -64}\n", "width: -64 is not a number of pixels"),
        (
            "p.yaml",
            "- {prompt: a, cfg_scale: 5}\n",
            "cfg_scale: no such setting; did you mean guidance_scale",
        ),
        (
            "p.yaml",
            "- {prompt: a, cfg_rescale: 0.7}\n",
            "cfg_rescale: no such setting; did you mean guidance_rescale",
        ),
        ("p.yaml", "- {prompt: a, guidance_rescale: 7}\n", "guidance_rescale: 7 is not a number from 0 to 1"),
        ("p.yaml", "- {prompt: null}\n", "needs a prompt"),
        ("p.json", '{"prompt": "a"}\n{"prompt": "b"}', "With an object a line it is a .jsonl file"),
        (
            "p.json",
            '[{"prompt": "a", "sample_steps": 5}]',
            "sample_steps: no such setting; did you mean steps",
        ),
        ("p.json", '{"prompt": "a"}', "holds no prompt. Write a list of them"),
        ("p.jsonl", '{"prompt": "a"\n', "p.jsonl line 1 is not JSON"),
        ("p.jsonl", '[\n{"prompt": "a"}\n]', "an object a line, a .json file a list"),
        ("p.jsonl", '{"prompt": "\\ud800"}', "is not a text"),
        ("p.jsonl", '{"prompt": "a", "guidance_scale": 1' + "0" * 400 + "}", "is not a number above 0"),
        ("p.toml", "[prompt]", r"\.toml files aren't read as prompts. Give a .txt"),
        ("p.png", "", r"\.png files aren't read as prompts"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        jobs_of(tmp_path / name, text)


def test_an_absent_file_and_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--prompts .*absent\.txt: there is no such file"):
        read_entries(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes("schön".encode("latin-1"))
    (tmp_path / "wide.txt").write_bytes("hills".encode("utf-16"))
    (tmp_path / "wide_without_mark.txt").write_bytes("hills".encode("utf-16-le"))
    for name in ("latin.txt", "wide.txt", "wide_without_mark.txt"):
        with pytest.raises(ValueError, match=r"is not UTF-8 text .* Save it as UTF-8"):
            read_entries(tmp_path / name)
    with pytest.raises(ValueError, match="that is a folder; give a file"):
        read_entries(tmp_path)
