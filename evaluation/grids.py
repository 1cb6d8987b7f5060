"""Pictures with captions, side by side: what a person looks at to see what training changed.

A grid has a title, named columns (Base | LoRA) and one row a prompt, with the prompt under its pictures.
Every picture is scaled to the same width, so grids of one run have one size and a step slider shows the
change and nothing else. Pure: tensors in, a PIL image out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CELL_WIDTH = 256
GAP = 12
TEXT_SIZE = 16
TITLE_SIZE = 20
MAX_CAPTION_LINES = 3
INK = (32, 32, 32)
PAPER = (255, 255, 255)


@dataclass(frozen=True)
class GridRow:
    """One line of a grid: its caption and one picture a column, each float [3, H, W] in [0, 1]."""

    caption: str
    pictures: Sequence[Tensor]


def to_picture(image: Tensor) -> Image.Image:
    """A tensor as a picture of 8 bits a colour; values outside [0, 1] are clipped, NaN is black.

    Args:
        image: float [3, H, W] in [0, 1].

    Raises:
        ValueError: for another shape.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected a picture of shape [3, H, W], got {list(image.shape)}")
    values = torch.nan_to_num(image.detach().float().cpu()).clamp(0, 1)
    return Image.fromarray((values * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def comparison_grid(
    title: str, columns: Sequence[str], rows: Sequence[GridRow], *, cell_width: int = CELL_WIDTH
) -> Image.Image:
    """Rows of pictures under named columns, each row's caption below it.

    Args:
        title: written above everything.
        columns: names of the columns.
        rows: top to bottom; pictures may differ in size and shape.
        cell_width: pixels every picture is scaled to in width; its shape is kept.

    Raises:
        ValueError: if a row has not one picture a column, or there is nothing to show.
    """
    if not columns or not rows:
        raise ValueError("a grid needs at least one column and one row")
    for row in rows:
        if len(row.pictures) != len(columns):
            raise ValueError(
                f"row {row.caption!r} has {len(row.pictures)} pictures for {len(columns)} columns"
            )
    head = _header(title, columns, cell_width)
    return stack_down([head, *(_row(row, cell_width) for row in rows)])


def stack_down(parts: Sequence[Image.Image]) -> Image.Image:
    """Images below each other, left edges aligned."""
    sheet = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def stack_right(parts: Sequence[Image.Image]) -> Image.Image:
    """Images beside each other, top edges aligned."""
    sheet = Image.new("RGB", (sum(p.width for p in parts), max(p.height for p in parts)), PAPER)
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width
    return sheet


def wrap(text: str, width: int, size: int = TEXT_SIZE) -> list[str]:
    """`text` in lines of at most `width` pixels; past `MAX_CAPTION_LINES` it ends in an ellipsis.

    A word wider than a line is cut into pieces.
    """
    font = text_font(size)
    lines: list[str] = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        pieces = _pieces(word, width, font)
        lines = [*lines, *pieces] if lines[-1] else pieces
    if len(lines) <= MAX_CAPTION_LINES:
        return lines
    kept = lines[:MAX_CAPTION_LINES]
    while kept[-1] and font.getlength(kept[-1] + " ...") > width:
        kept[-1] = kept[-1][:-1]
    return [*kept[:-1], kept[-1] + " ..."]


def _pieces(word: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """`word` in pieces that fit into `width` pixels (at least one letter each)."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def text_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font: the same on every machine, nothing to install."""
    return ImageFont.load_default(size)


def _grid_width(columns: int, cell_width: int) -> int:
    return GAP + columns * (cell_width + GAP)


def _header(title: str, columns: Sequence[str], cell_width: int) -> Image.Image:
    head = Image.new("RGB", (_grid_width(len(columns), cell_width), 2 * TITLE_SIZE + 3 * GAP), PAPER)
    draw = ImageDraw.Draw(head)
    draw.text((GAP, GAP), title, fill=INK, font=text_font(TITLE_SIZE))
    for number, name in enumerate(columns):
        centre = GAP + number * (cell_width + GAP) + cell_width / 2
        draw.text((centre, head.height - GAP / 2), name, fill=INK, font=text_font(TITLE_SIZE), anchor="ms")
    return head


def _row(row: GridRow, cell_width: int) -> Image.Image:
    pictures = [_scaled(to_picture(picture), cell_width) for picture in row.pictures]
    width = _grid_width(len(pictures), cell_width)
    tallest = max(picture.height for picture in pictures)
    line_height = TEXT_SIZE + 4
    # Room for all lines whatever the caption: rows of one grid are then evenly spaced.
    sheet = Image.new("RGB", (width, tallest + MAX_CAPTION_LINES * line_height + 2 * GAP), PAPER)
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (GAP + number * (cell_width + GAP), GAP // 2))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(wrap(row.caption, width - 2 * GAP)):
        top = GAP // 2 + tallest + 4 + number * line_height
        draw.text((GAP, top), line, fill=INK, font=text_font(TEXT_SIZE))
    return sheet


def _scaled(picture: Image.Image, width: int) -> Image.Image:
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
