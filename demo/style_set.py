"""The style set: 100 portraits and 50 landscapes in watercolour at 512 x 512, painted on first use and
then kept.

The folder is that of any style set: pictures and a `metadata.jsonl` with one `{"file_name", "text",
"group"}` a line. The bytes are the same each time.
"""

import json
import shutil
import tempfile
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from demo.scenes import Scene, calm_places, paint
from demo.splits import style_scenes
from demo.watercolor import watercolor

STYLE_SET = Path(__file__).parent / "style_set"


def ensure_style_set(folder: Path) -> None:
    """Paints the style set if `folder` is its place and nothing is there; other folders are the user's."""
    if Path(folder).resolve() == STYLE_SET.resolve() and not STYLE_SET.exists():
        paint_style_set(STYLE_SET)


def paint_style_set(
    folder: Path, workers: int | None = None, *, portraits: int = 100, landscapes: int = 50, size: int = 512
) -> None:
    """Paints the style set beside `folder` and renames it, so the folder is whole or absent.

    Args:
        folder: where it goes; what is there is replaced.
        workers: processes; one a core unless said otherwise.
        portraits: how many portraits.
        landscapes: how many landscapes.
        size: side of a picture in pixels.
    """
    paint_folder(style_scenes(portraits, landscapes), folder, workers, size)


def paint_folder(scenes: list[Scene], folder: Path, workers: int | None = None, size: int = 512) -> None:
    """Paints the watercolours of scenes with their `metadata.jsonl`, beside `folder`, and renames it.

    Args:
        scenes: one a picture.
        folder: where it goes; what is there is replaced.
        workers: processes; one a core unless said otherwise.
        size: side of a picture in pixels.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=folder.name + ".", suffix=".part", dir=folder.parent))
    try:
        _paint_all(scenes, beside, workers, size)
        (beside / "metadata.jsonl").write_text(
            "".join(_line(k, scene) for k, scene in enumerate(scenes)), encoding="utf-8"
        )
        beside.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _paint_all(scenes: list[Scene], folder: Path, workers: int | None, size: int) -> None:
    numbered = list(enumerate(scenes))
    # spawn: a fork of a process that runs torch threads can hang
    with get_context("spawn").Pool(workers) as pool:
        done = pool.imap_unordered(partial(_paint_one, folder, size), numbered)
        for _ in tqdm(
            done, total=len(numbered), desc=f"painting {folder.name.split('.')[0]}", unit="picture"
        ):
            pass


def _paint_one(folder: Path, size: int, numbered: tuple[int, Scene]) -> None:
    number, scene = numbered
    watercolor(paint(scene, size), scene.seed, calm_places(scene)).save(folder / _name(number, scene))


def _name(number: int, scene: Scene) -> str:
    return f"{number:03d}_{scene.group}.png"


def _line(number: int, scene: Scene) -> str:
    row = {"file_name": _name(number, scene), "text": scene.caption(), "group": scene.group}
    return json.dumps(row) + "\n"
