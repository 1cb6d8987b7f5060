"""`recipe.json` beside the weights: the recipe's version, steps, first losses and quality of each stage."""

import json
from pathlib import Path
from typing import Any

from demo.recipe import RECIPE_VERSION
from demo.recipe.loop import Progress
from demo.recipe.quality import Figures

FIRST = 20  # losses kept at full precision: a re-run is compared with them


def record(folder: Path, stage: str, progress: Progress, figures: Figures) -> None:
    """Adds a stage to the folder's record and prints its quality."""
    path = folder / "recipe.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    stages = known.get("stages", {}) if known.get("version") == RECIPE_VERSION else {}
    stages[stage] = {"steps": progress.step, "first_losses": progress.losses[:FIRST], "quality": figures}
    beside = path.with_suffix(".part")
    beside.write_text(
        json.dumps({"version": RECIPE_VERSION, "stages": stages}, indent=2) + "\n", encoding="utf-8"
    )
    beside.replace(path)
    print(stage, *(f"{name} {value:.3f}" for name, value in figures.items()), sep="\n  ", flush=True)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder of weights."""
    known: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return known
