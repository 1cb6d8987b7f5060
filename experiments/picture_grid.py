"""What the arms paint, to be looked at: a row an arm, a column a prompt, all from the same noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from evaluation.grids import GAP, INK, PAPER, TEXT_SIZE, text_font, wrap
from experiments.scores import Scores

CELL = 112
NAMES = 150  # pixels of the column of names
LINE = TEXT_SIZE + 4
SHOWN_PROMPTS = 3  # of each group
BASE = "base, no LoRA"


def grid_of_first_prompts(scores: Scores) -> Image.Image:
    """The first prompts of each group as the base and every arm paint them, in the first training seed.

    Arms whose pictures aren't there any more are left out.
    """
    places = range(len(scores.groups))
    of_groups = [[k for k in places if scores.groups[k] == group] for group in dict.fromkeys(scores.groups)]
    chosen = [place for group in of_groups for place in group[:SHOWN_PROMPTS]]
    files = {
        name: [of[place][0] for place in chosen]
        for name, of in {BASE: scores.base_pictures, **scores.pictures}.items()
        if of
    }
    rows = {
        name: [_opened(path) for path in of] for name, of in files.items() if all(p.is_file() for p in of)
    }
    return arms_grid(rows, [scores.prompts[place] for place in chosen])


def arms_grid(rows: Mapping[str, Sequence[Image.Image]], prompts: Sequence[str]) -> Image.Image:
    """The grid, with the prompts as numbered lines below it.

    Args:
        rows: name of the arm -> its pictures, one a prompt.
        prompts: what they were asked for.

    Raises:
        ValueError: a row has not one picture a prompt.
    """
    for name, pictures in rows.items():
        if len(pictures) != len(prompts):
            raise ValueError(f"the row {name!r} has {len(pictures)} pictures for {len(prompts)} prompts")
    width = NAMES + GAP + len(prompts) * (CELL + GAP)
    lines = [line for k, prompt in enumerate(prompts, 1) for line in wrap(f"{k}. {prompt}", width - 2 * GAP)]
    below = LINE + GAP + len(rows) * (CELL + GAP)
    sheet = Image.new("RGB", (width, below + len(lines) * LINE + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = text_font(TEXT_SIZE)
    for column in range(len(prompts)):
        centre = NAMES + GAP + column * (CELL + GAP) + CELL / 2
        draw.text((centre, GAP), str(column + 1), fill=INK, font=font, anchor="mt")
    for row, (name, pictures) in enumerate(rows.items()):
        top = LINE + GAP + row * (CELL + GAP)
        for number, line in enumerate(wrap(name, NAMES - GAP)):
            draw.text((GAP, top + CELL / 3 + number * LINE), line, fill=INK, font=font)
        for column, picture in enumerate(pictures):
            small = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(small, (NAMES + GAP + column * (CELL + GAP), top))
    for number, line in enumerate(lines):
        draw.text((GAP, below + number * LINE), line, fill=INK, font=font)
    return sheet


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")
