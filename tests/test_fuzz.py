"""Whatever is in a file: a message or a right result, never another kind of error, a hang or a wrong success.

hypothesis makes the files up, the same ones at each run. What each test holds on to is what a user would: a
`ValueError` (or a problem in the folder's report) is a message, everything else that is raised is a fault.
"""

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from commands.terminal.config_files import read_config, with_configs
from datamodules.folder.metadata import read_metadata
from datamodules.folder.records import scan
from datamodules.painting.prompt_entries import make_jobs, read_entries
from datamodules.pictures.inspection import look_at_all
from evaluation.prompts import parse, strip_weights
from lightning_modules.lora.reading import place_adapter, read_adapter
from tests.tiny_models import tiny_unet

SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
few = settings(max_examples=60, suppress_health_check=SLOW)
scarce = settings(max_examples=25, suppress_health_check=SLOW)

LETTERS = st.sampled_from("ab1./\\ \n\t\0\"',:{}[]é猫\u202e\U0001f600")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS, max_size=20)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=8), inner, max_size=3)
    ),
)
NAMES = st.sampled_from(["a.png", "../a.png", "/etc/passwd", "b/../a.png", "~/a.png", "a.png/", "", "."])
ROWS = st.dictionaries(
    st.sampled_from(["file_name", "text", "caption", "group", "file-name", "x"]), NAMES | VALUES, max_size=4
)


@few
@given(st.lists(ROWS, max_size=4), st.binary(max_size=40))
def test_metadata_of_any_content_never_leaves_the_folder(
    tmp_path: Path, rows: list[dict[str, Any]], tail: bytes
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir(exist_ok=True)
    for place in (folder, tmp_path):
        Image.new("RGB", (8, 8)).save(place / "a.png")
    (folder / "metadata.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows) + tail)
    report = scan(folder, resolution=8, progress=False)
    assert all(record.path.resolve().parent == folder.resolve() for record in report.records)
    assert all(isinstance(record.caption, str) and record.caption for record in report.records)
    assert report.records or report.errors


@few
@given(
    st.binary(max_size=200) | st.text(LETTERS, max_size=200).map(str.encode),
    st.sampled_from(["jsonl", "csv"]),
)
def test_metadata_of_any_bytes_gives_rows_or_problems(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"metadata.{suffix}"
    path.write_bytes(content)
    rows, problems = read_metadata(path, path.name)
    assert all(row.name and isinstance(row.captions, tuple) for row in rows)
    assert all(str(problem).isprintable() for problem in problems)


@few
@given(st.binary(max_size=100))
def test_a_caption_file_of_any_bytes_gives_a_caption_or_a_problem(tmp_path: Path, content: bytes) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(content)
    report = scan(tmp_path, resolution=8, progress=False)
    assert bool(report.records) != bool(report.errors)
    assert all(record.caption == " ".join(record.caption.split()) for record in report.records)


SIGNS = st.text(st.sampled_from("()[]:\\., 0123456789.-+aBREAK\n\té猫"), max_size=60)


@settings(max_examples=300)
@given(SIGNS)
def test_prompt_weights_of_any_text_are_finite_and_lose_no_word(prompt: str) -> None:
    pieces = parse(prompt)
    assert pieces
    assert all(isinstance(text, str) and not math.isnan(weight) for text, weight in pieces)
    plain = strip_weights(prompt)
    assert plain == " ".join(plain.split())
    assert plain.count("猫") == prompt.count("猫")
    assert plain.count("é") == prompt.count("é")


def test_thousands_of_brackets_are_no_hang() -> None:
    text = "(" * 3000 + "a" + ")" * 3000
    assert strip_weights(text) == "a"
    assert strip_weights("[" * 3000) == ""


PICTURES = {}
for _format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
    _file = io.BytesIO()
    Image.effect_noise((24, 16), 50).convert("RGB").save(_file, _format)
    PICTURES[_format] = _file.getvalue()


@settings(max_examples=150, suppress_health_check=SLOW)
@given(
    st.sampled_from(sorted(PICTURES)),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=6),
    st.integers(1, 2000),
)
def test_a_picture_with_any_header_is_read_or_refused(
    tmp_path: Path, format: str, changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(PICTURES[format])
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path / "a.png"
    path.write_bytes(bytes(content[:length]))
    (look,) = look_at_all([path], progress=False)
    stops = any(kind.stops for kind, _ in look.problems)
    assert bool(look.key) != stops
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    assert look.width * look.height <= limit


@few
@given(VALUES)
def test_a_config_of_any_yaml_gives_settings_or_a_message(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8", errors="ignore")
    with contextlib.suppress(ValueError):
        assert isinstance(read_config(str(path)), dict)


@settings(max_examples=150, suppress_health_check=SLOW)
@given(
    st.text(st.sampled_from(":{}[]-#&*!|>'\"%@` \n\tab1?,<="), max_size=40).map(str.encode)
    | st.binary(max_size=40)
)
def test_a_config_of_any_bytes_gives_settings_or_a_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    try:
        options = with_configs(["--config", str(path)], {"data"})
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert all(option.startswith("--data.") for option in options)


@few
@given(
    st.lists(
        ROWS | st.dictionaries(st.sampled_from(["prompt", "seed", "steps", "height"]), VALUES), max_size=3
    )
)
def test_prompts_of_any_content_become_jobs_or_a_message(
    tmp_path: Path, entries: list[dict[str, Any]]
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    try:
        jobs = make_jobs(read_entries(path), {}, height=8, width=8)
    except ValueError:
        return
    assert all(isinstance(job.prompt, str) and job.steps >= 1 and 0 <= job.seed < 2**63 for job in jobs)


LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TENSOR_NAMES = st.sampled_from(
    [
        f"unet.{LAYER}.lora_A.weight",
        f"unet.{LAYER}.lora_B.weight",
        f"lora_unet_{LAYER.replace('.', '_')}.lora_down.weight",
        f"lora_unet_{LAYER.replace('.', '_')}.lora_up.weight",
        f"lora_unet_{LAYER.replace('.', '_')}.alpha",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        "unet.conv_in.lora.up.weight",
        "x",
    ]
)
SHAPES = st.sampled_from([(), (0,), (2,), (2, 64), (64, 2), (0, 64), (64, 0), (2, 64, 1, 1)])
HEADERS = (
    st.none() | st.text(LETTERS, max_size=20) | VALUES.map(json.dumps) | st.just('{"unet.lora_alpha": "x"}')
)


@scarce
@given(
    st.dictionaries(TENSOR_NAMES, st.tuples(SHAPES, st.sampled_from([0.5, math.nan, math.inf])), max_size=5),
    HEADERS,
)
def test_a_lora_file_of_any_content_is_placed_whole_or_refused(
    tmp_path: Path, tensors: dict[str, tuple[tuple[int, ...], float]], header: str | None
) -> None:
    path = tmp_path / "lora.safetensors"
    metadata = {} if header is None else {"lora_adapter_metadata": header.encode("utf-8", "ignore").decode()}
    path.write_bytes(
        save({name: torch.full(shape, value) for name, (shape, value) in tensors.items()}, metadata)
    )
    unet = tiny_unet()
    try:
        placed = place_adapter(unet, read_adapter(path))
    except ValueError as error:
        assert "lora" in str(error)  # noqa: PT017 - both outcomes are right
        return
    assert {tuple(parameter.shape) for parameter in placed} == {(2, 64), (64, 2)}
    assert all(bool(torch.isfinite(parameter).all()) for parameter in placed)


@few
@given(st.binary(max_size=60) | st.integers(0, 2**63).map(lambda n: n.to_bytes(8, "little") + b"{}"))
def test_a_lora_file_of_any_bytes_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="lora"):
        read_adapter(path)
