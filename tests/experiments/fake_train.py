"""Stands in for `train.py`: `fit` and `test` in a tenth of a second, with scores that are known.

The style score of a picture is that of its arm (an option `score.portrait` or `score.landscape`) plus the training seed
over 100, plus the picture's seed over 1000. Each call is noted in `calls.txt` in the experiment's folder when it has
begun and again when it has ended. A `fit` with the option `gate` ends when that file is there.
"""

import json
import sys
import time
from itertools import groupby
from pathlib import Path

from PIL import Image

PROMPTS = [
    ("a girl", "portrait"),
    ("a boy", "portrait"),
    ("hills", "landscape"),
    ("the <b>sea</b>", "landscape"),
]
STEPS = 3


def options(arguments: list[str]) -> dict[str, str]:
    """`--a b` and `--a=b` alike."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    return {name[2:]: value for name, value in zip(words[::2], words[1::2], strict=True)}


def note(folder: Path, text: str) -> None:
    """Add a line to the calls."""
    with (folder / "calls.txt").open("a") as file:
        file.write(text + "\n")


def write(path: Path, text: str) -> None:
    """Whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text)
    beside.replace(path)


def fit(given: dict[str, str]) -> None:
    """A run of the arm."""
    run = Path(given["runs"], given["name"])
    experiment, name = run.parent.parent, f"{run.parent.name}/{run.name}"
    note(experiment, f"fit {name} begins")
    scores = {group: float(given.get(f"score.{group}", "1")) for group in ("portrait", "landscape")}
    config = {"trainer": {"max_steps": STEPS}, "scores": scores, "seed": int(given["seed_everything"])}
    write(run / "config.yaml", json.dumps(config))
    while "gate" in given and not Path(given["gate"]).exists():
        time.sleep(0.01)
    if given.get("fail") == "true":
        print("the learning rate is a fish")
        sys.exit(2)
    for step in range(1, STEPS + 1):
        write(run / "exports" / f"{run.name}_step_{step:06}.safetensors", "adapter")
    note(experiment, f"fit {name} ends")


def test(given: dict[str, str]) -> None:
    """Pictures and their scores."""
    run, folder, pictures = Path(given["lora"]).parent.parent, Path(given["output"]), Path(given["pictures"])
    note(pictures.parent, f"test {run.parent.name}/{run.name} begins")
    config = json.loads((run / "config.yaml").read_text())
    rows = []
    for place, (prompt, group) in enumerate(PROMPTS):
        for scale in (0.0, 1.0):
            for repetition in json.loads(given["seeds"]):
                seed = place + 1000 * repetition
                score = config["scores"][group] + config["seed"] / 100 + repetition / 1000 if scale else 0.5
                file = f"{run.parent.name}{run.name}_{seed}_{scale}.png"
                pictures.mkdir(exist_ok=True)
                Image.new("RGB", (8, 8), (place * 60, int(scale * 99), repetition)).save(pictures / file)
                row = {"file": file, "prompt": prompt, "group": group, "seed": seed, "lora_scale": scale}
                scores = {"prompt_score": 50.0, "style_score": score, "style_similarity": None}
                rows.append({**row, "enhanced": False, **scores})
    metrics = {"pictures_folder": "../../../../pictures", "pictures": rows}
    write(folder / "metrics.json", json.dumps(metrics))
    note(pictures.parent, f"test {run.parent.name}/{run.name} ends")


if __name__ == "__main__":
    for between, words in groupby(sys.argv[1:], "--".__eq__):
        if not between:
            command, *rest = words
            {"fit": fit, "test": test}[command](options(rest))
