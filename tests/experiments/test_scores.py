import json
from pathlib import Path
from typing import Any

import pytest

from experiments.scores import read_scores


def row(prompt: str, seed: int, scale: float, score: float | None, **other: Any) -> dict[str, Any]:
    return {
        "file": f"{prompt}{seed}{scale}.png",
        "prompt": prompt,
        "group": "g",
        "seed": seed,
        "lora_scale": scale,
        "enhanced": False,
        "style_score": score,
        "prompt_score": 1.0,
        "style_similarity": None,
        **other,
    }


def metrics(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pictures_folder": "../shared", "pictures": rows}))
    return path


def test_places_are_prompt_and_seed_whatever_the_order(tmp_path: Path) -> None:
    rows = [row("x", 0, 1.0, 3.0), row("x", 1000, 1.0, 4.0), row("y", 1, 1.0, 5.0), row("y", 1001, 1.0, 6.0)]
    bases = [row(r["prompt"], r["seed"], 0.0, 2.0) for r in rows]
    enhanced = [row("x", 0, 1.0, 99.0, enhanced=True), row("x", 0, 0.5, 98.0)]
    one = metrics(tmp_path / "one" / "metrics.json", [*rows, *bases, *enhanced])
    turned = [{**r, "style_score": r["style_score"] + 10} for r in reversed(rows)]
    two = metrics(tmp_path / "two" / "metrics.json", turned)
    scores = read_scores({"a": [one, two]})
    assert scores.prompts == ("x", "y")
    assert scores.groups == ("g", "g")
    assert scores.arms["style_score"]["a"].tolist() == [[[3, 4], [5, 6]], [[13, 14], [15, 16]]]
    assert scores.base["style_score"].tolist() == [[2, 2], [2, 2]]
    assert set(scores.arms) == {"style_score", "prompt_score"}  # likeness was not measured
    assert scores.pictures["a"][1][0].resolve() == tmp_path / "shared" / "y11.0.png"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("x", 0, 0.0, 1.0)], "has no pictures with the LoRA at strength 1"),
        ([row("y", 0, 1.0, 1.0)], "has other prompts, groups or seeds than"),
        ([row("x", 0, 1.0, None)], "has no style_score for 'x', seed 0: every picture needs one"),
    ],
)
def test_what_does_not_compare_is_refused(rows: list[dict[str, Any]], says: str, tmp_path: Path) -> None:
    first = metrics(tmp_path / "one" / "metrics.json", [row("x", 0, 1.0, 3.0)])
    other = metrics(tmp_path / "two" / "metrics.json", rows)
    with pytest.raises(ValueError, match=says):
        read_scores({"a": [first], "b": [other]})


def test_prompts_with_unequal_numbers_of_pictures_are_refused(tmp_path: Path) -> None:
    rows = [row("x", 0, 1.0, 3.0), row("x", 1, 1.0, 3.0), row("y", 0, 1.0, 3.0)]
    with pytest.raises(
        ValueError, match="has 2, 1 pictures of its prompts: each needs as many as the others"
    ):
        read_scores({"a": [metrics(tmp_path / "m" / "metrics.json", rows)]})
