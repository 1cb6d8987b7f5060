import pytest
from PIL import Image

from evaluation.grids import GAP, TEXT_SIZE
from experiments.picture_grid import CELL, NAMES, arms_grid


def plain(colour: str) -> Image.Image:
    return Image.new("RGB", (16, 16), colour)


def test_a_row_an_arm_a_column_a_prompt() -> None:
    grid = arms_grid(
        {"a": [plain("red"), plain("lime")], "b" * 40: [plain("blue"), plain("black")]}, ["x", "y"]
    )
    across = [NAMES + GAP + column * (CELL + GAP) + CELL // 2 for column in (0, 1)]
    down = [TEXT_SIZE + 4 + GAP + row * (CELL + GAP) + CELL // 2 for row in (0, 1)]
    seen = [grid.getpixel((x, y)) for y in down for x in across]
    assert seen == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]


def test_a_short_row_is_refused() -> None:
    with pytest.raises(ValueError, match="the row 'a' has 1 pictures for 2 prompts"):
        arms_grid({"a": [plain("red")]}, ["x", "y"])
