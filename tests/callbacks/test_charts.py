"""The layout of TensorBoard's Custom Scalars tab, as TensorBoard's own plugin reads it from runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin

from callbacks.about import MEANINGS
from callbacks.charts import layout
from tests.callbacks.tiny_clip import save_tiny_clip
from tests.callbacks.tiny_painter import events_of
from tests.small_run import picture_folder, small_config
from train import main

PROMPTS = (
    '[{prompt: "portrait of the sea", group: portrait, seed: 1, steps: 2},'
    ' {prompt: "hills", group: "hills (1+1)", seed: 2, steps: 2}]'
)


def shown(runs: Path) -> list[dict[str, Any]]:
    """The categories that TensorBoard shows of all runs in the folder."""
    events = EventMultiplexer().AddRunsFromDirectory(str(runs))
    events.Reload()
    data = MultiplexerDataProvider(events, str(runs))
    plugin = CustomScalarsPlugin(TBContext(data_provider=data, logdir=str(runs)))
    categories: list[dict[str, Any]] = json.loads(plugin.layout_impl(RequestContext(), ""))["category"]
    return categories


def charts(categories: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Titles and the tags' regular expressions; a title that stands twice is an error."""
    found = [(chart["title"], chart["multiline"]["tag"]) for part in categories for chart in part["chart"]]
    assert len(dict(found)) == len(found), found
    return dict(found)


def fit(folder: Path, base: Path, *options: str, name: str = "small") -> Path:
    if not (folder / "pictures").exists():
        small_config(folder, base, picture_folder(folder / "pictures"))
    main(
        [
            *("fit", "--config", str(folder / "small.yaml"), "--runs", str(folder / "runs"), "--name", name),
            *("--data.holdout_fraction", "0.25", *options),
        ]
    )
    return folder / "runs" / name


def test_a_layout_by_hand() -> None:
    assert layout([], ["a", "b"], ["a"]) == {
        "Denoising error (lower is better): of training pictures, noisy; of held-out pictures, the one to judge by": {
            "Training and held-out pictures": ["Multiline", ["train/loss_unweighted$", "val/loss$"]],
            "Training and held-out pictures, a": [
                "Multiline",
                ["train/loss_group/a$", "val/loss_group/a$"],
            ],
            "Training pictures, b": ["Multiline", ["train/loss_group/b$"]],
        },
        "Times each picture was trained on, on average: planned and realised (one line where they agree)": {
            "Planned and realised, a": ["Multiline", ["exposure/planned/a$", "exposure/realised/a$"]],
            "Planned and realised, b": ["Multiline", ["exposure/planned/b$", "exposure/realised/b$"]],
        },
        "Optimizer": {
            "Learning rate": ["Multiline", ["lr$"]],
            "Gradient norm, before clipping": ["Multiline", ["train/grad_norm$"]],
        },
    }


def test_without_held_out_pictures_no_line_is_promised() -> None:
    errors, *_ = layout([], ["a"], []).values()
    assert errors == {
        "Training pictures": ["Multiline", ["train/loss_unweighted$"]],
        "Training pictures, a": ["Multiline", ["train/loss_group/a$"]],
    }


def test_the_scores_come_first_base_beside_lora_and_by_group() -> None:
    first, second, *_ = layout(["a.b"], ["a"], ["a"]).values()
    assert first == {
        "Style prompt: LoRA and the base (flat)": [
            "Multiline",
            ["reference/clip_score/style/base$", "clip_score/style/lora$"],
        ],
        "Own prompts: LoRA and the base (flat)": [
            "Multiline",
            ["reference/clip_score/prompt/base$", "clip_score/prompt/lora$"],
        ],
        "LoRA minus base: style prompt, own prompts": [
            "Multiline",
            ["clip_score/style/delta$", "clip_score/prompt/delta$"],
        ],
    }
    assert second["Own prompts, a.b: LoRA and the base (flat)"] == [
        "Multiline",
        [r"reference/clip_score/prompt/base/a\.b$", r"clip_score/prompt/lora/a\.b$"],
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A run that went on once, and another run beside it without CLIP; read only."""
    folder = tmp_path_factory.mktemp("charts")
    clip = str(save_tiny_clip(folder / "clip"))
    scored = ("--clip_score.model", clip, "--samples.prompts", PROMPTS)
    fit(folder, tiny_base, *scored, "--trainer.max_steps", "4")
    fit(folder, tiny_base, "--trainer.max_steps", "1", name="without_clip")
    return fit(folder, tiny_base, *scored, "--trainer.max_steps", "8", "--ckpt_path", "last")


def test_each_line_of_each_chart_is_a_curve_of_the_run(run: Path) -> None:
    tags = events_of(run).Tags()["scalars"]
    found = charts(shown(run.parent))
    assert "Style prompt, hills (1+1): LoRA and the base (flat)" in found
    for title, patterns in found.items():
        for pattern in patterns:
            assert len([tag for tag in tags if re.match(pattern, tag)]) == 1, (title, pattern)


def test_a_resume_and_a_second_run_double_nothing(run: Path) -> None:
    categories = shown(run.parent)
    titles = [part["title"] for part in categories]
    assert titles == list(layout(["portrait", "hills (1+1)"], ["portrait"], ["portrait"]))
    assert len(charts(categories)) == 14  # 3 of scores, 4 of them by group, 3 of errors, 2 of exposure, 2


def test_no_curve_stays_unexplained(run: Path) -> None:
    known = [name.replace("*/", "") for name in MEANINGS]
    for tag in events_of(run).Tags()["scalars"]:
        assert any(f"/{name}/" in f"/{tag}/" for name in known), tag


def test_what_the_run_is_stands_beside_its_curves(run: Path) -> None:
    *_, text = events_of(run).Tensors("about/text_summary")
    said = text.tensor_proto.string_val[0].decode()
    assert "8 steps of 2 pictures" in said
    for words in ("portrait", "held out", "Custom Scalars", "reference/clip"):
        assert words in said.replace("\\", ""), words


def test_constants_are_no_curves_among_the_scores(run: Path) -> None:
    events = events_of(run)
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("clip_score/")]
    assert sorted(tags) == sorted(
        f"clip_score/{question}/{line}"
        for question in ("prompt", "style")
        for line in ("delta", "lora", "lora/portrait", "lora/hills (1+1)")
    )
