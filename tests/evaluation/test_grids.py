"""Grids show the right picture under the right name, readable, at a size that doesn't change during a run."""

import pytest
import torch
from PIL import Image, ImageFont
from torch import Tensor

from evaluation.grids import (
    CELL_WIDTH,
    GAP,
    MAX_CAPTION_LINES,
    PAPER,
    TEXT_SIZE,
    GridRow,
    comparison_grid,
    stack_down,
    stack_right,
    to_picture,
    wrap,
)

Colour = tuple[float, float, float]
RED: Colour = (1.0, 0.0, 0.0)
BLUE: Colour = (0.0, 0.0, 1.0)
GREEN: Colour = (0.0, 1.0, 0.0)


def plain(colour: Colour, height: int = 64, width: int = 64) -> Tensor:
    return torch.tensor(colour)[:, None, None].expand(3, height, width)


def columns_of(image: Image.Image, colour: Colour) -> list[int]:
    """The x of every pixel column that holds `colour`."""
    wanted = tuple(round(255 * value) for value in colour)
    pixels = image.load()
    assert pixels is not None
    return [x for x in range(image.width) if any(pixels[x, y] == wanted for y in range(image.height))]


def rows_of(image: Image.Image, colour: Colour) -> list[int]:
    """The y of every pixel row that holds `colour`."""
    return columns_of(image.transpose(Image.Transpose.TRANSPOSE), colour)


def test_to_picture_rounds_and_clips() -> None:
    image = torch.tensor([0.5, -1.0, 2.0])[:, None, None].expand(3, 1, 2)
    assert to_picture(image).getpixel((0, 0)) == (128, 0, 255)


def test_to_picture_keeps_height_and_width_apart() -> None:
    assert to_picture(plain(RED, height=2, width=5)).size == (5, 2)


def test_to_picture_shows_nan_as_black() -> None:
    assert to_picture(torch.full((3, 1, 1), float("nan"))).getpixel((0, 0)) == (0, 0, 0)


def test_to_picture_refuses_a_batch() -> None:
    with pytest.raises(ValueError, match=r"shape \[3, H, W\], got \[1, 3, 4, 4\]"):
        to_picture(torch.zeros(1, 3, 4, 4))


def test_base_is_left_and_lora_right() -> None:
    grid = comparison_grid("t", ["Base", "LoRA"], [GridRow("x", [plain(RED), plain(BLUE)])])
    assert columns_of(grid, RED) == list(range(GAP, GAP + CELL_WIDTH))
    assert columns_of(grid, BLUE) == list(range(2 * GAP + CELL_WIDTH, 2 * GAP + 2 * CELL_WIDTH))
    assert grid.width == 3 * GAP + 2 * CELL_WIDTH


def test_rows_follow_the_prompts_downwards() -> None:
    rows = [GridRow("first", [plain(RED)]), GridRow("second", [plain(BLUE)])]
    grid = comparison_grid("t", ["Base"], rows)
    assert max(rows_of(grid, RED)) < min(rows_of(grid, BLUE))


def test_pictures_keep_their_shape() -> None:
    rows = [
        GridRow("wide", [plain(RED, height=32, width=64)]),
        GridRow("tall", [plain(BLUE, height=64, width=32)]),
    ]
    grid = comparison_grid("t", ["Base"], rows)
    assert len(rows_of(grid, RED)) == CELL_WIDTH // 2
    assert len(rows_of(grid, BLUE)) == CELL_WIDTH * 2


def test_caption_is_drawn_under_its_picture() -> None:
    silent = comparison_grid("t", ["Base"], [GridRow("", [plain(RED)])])
    spoken = comparison_grid("t", ["Base"], [GridRow("a girl with red hair", [plain(RED)])])
    below = (0, max(rows_of(spoken, RED)) + 1, spoken.width, spoken.height)
    assert silent.crop(below).getcolors() == [(silent.crop(below).width * silent.crop(below).height, PAPER)]
    assert len(set(spoken.crop(below).tobytes())) > 1
    assert (
        spoken.crop((0, 0, spoken.width, below[1])).tobytes()
        == silent.crop((0, 0, silent.width, below[1])).tobytes()
    )


def test_title_and_column_names_are_drawn() -> None:
    rows = [GridRow("", [plain(RED)])]
    seen = {comparison_grid(title, [name], rows).tobytes() for title in "ab" for name in "cd"}
    assert len(seen) == 4


def test_size_does_not_depend_on_texts_or_colours() -> None:
    long = comparison_grid("step 100", ["Base", "LoRA"], [GridRow("word " * 99, [plain(RED), plain(BLUE)])])
    short = comparison_grid("step 0", ["Base", "LoRA"], [GridRow("x", [plain(GREEN), plain(GREEN)])])
    assert long.size == short.size


def test_row_with_a_missing_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="row 'x' has 1 pictures for 2 columns"):
        comparison_grid("t", ["Base", "LoRA"], [GridRow("x", [plain(RED)])])


def test_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one column and one row"):
        comparison_grid("t", ["Base"], [])


def test_wrap_keeps_all_words_in_lines_that_fit() -> None:
    text = "anime style screenshot of a girl with blue hair, watercolor style"
    lines = wrap(text, 260)
    font = ImageFont.load_default(TEXT_SIZE)
    assert " ".join(lines) == text
    assert 1 < len(lines) <= MAX_CAPTION_LINES
    assert all(font.getlength(line) <= 260 for line in lines)


def test_wrap_says_that_a_long_caption_goes_on() -> None:
    lines = wrap("word " * 200, 200)
    assert len(lines) == MAX_CAPTION_LINES
    assert lines[-1].endswith(" ...")
    assert ImageFont.load_default(TEXT_SIZE).getlength(lines[-1]) <= 200


def test_wrap_cuts_a_word_wider_than_the_line() -> None:
    lines = wrap("mmmmmmmmmmmm", 100)
    assert "".join(lines) == "mmmmmmmmmmmm"
    assert len(lines) > 1


def test_stacks_align_left_and_top() -> None:
    red, blue = to_picture(plain(RED, 4, 6)), to_picture(plain(BLUE, 2, 3))
    assert stack_down([red, blue]).size == (6, 6)
    assert stack_down([red, blue]).getpixel((0, 4)) == (0, 0, 255)
    assert stack_down([red, blue]).getpixel((5, 5)) == PAPER
    assert stack_right([red, blue]).size == (9, 4)
    assert stack_right([red, blue]).getpixel((6, 0)) == (0, 0, 255)
