"""Pages to look at, each one HTML file that opens from disk, on a desk or a phone, by day or night.

Their markup is in `templates/`: `page.html` is the frame of all, `parts.html` what repeats, `page.css` the looks; the
others are one page each. Every text that comes in is escaped, pictures become data URIs, fonts are the system's, and a
content security policy forbids scripts and the network outright.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from foundation.atomic_file import atomic_file

THUMBNAIL_SIDE = 256  # pixels of the longer side: sharp at 128 on a phone's dense screen
COMPARED_SIDE = 512  # of pictures to be compared: detail matters
JPEG_QUALITY = 78


@dataclass(frozen=True)
class Picture:
    """A picture with words below it.

    Attributes:
        image: what to show, of any size; None where there is nothing to show (a broken file).
        name: such as the file's name.
        text: more about it, such as its caption; "" for nothing.
        badge: a word or two in its corner; "" for none.
    """

    image: Image.Image | None
    name: str
    text: str = ""
    badge: str = ""


@dataclass(frozen=True)
class Grid:
    """Thumbnails, and how many there are besides that aren't shown."""

    pictures: Sequence[Picture]
    more: int = 0


@dataclass(frozen=True)
class ComparedPictures:
    """Pictures of the same thing, side by side under the words that they share.

    Attributes:
        text: the words, such as the prompt of all of them.
        pictures: two a line; of each the badge says which it is.
        note: a quieter line below the words.
    """

    text: str
    pictures: Sequence[Picture]
    note: str


@cache
def templates() -> Environment:
    """The templates: in all of them every text is escaped, and a name that wasn't given is an error."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(data_uri=data_uri, numeric=numeric, thumbnail=thumbnail)
    environment.globals.update(THUMBNAIL_SIDE=THUMBNAIL_SIDE, COMPARED_SIDE=COMPARED_SIDE)
    return environment


def render(template: str, **values: object) -> str:
    """The page that a template makes of values."""
    return templates().get_template(template).render(values)


def write_page(text: str, path: Path) -> None:
    """Write a page; its folder is made, and an older page replaced when the new one is whole."""
    with atomic_file(path) as partial:
        # names on disk and prompts need not be valid Unicode: what can't be written is shown as its code
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


def thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> Image.Image:
    """The picture with its longer side at most `side` pixels; its shape is kept."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def data_uri(image: Image.Image, format: str) -> str:
    """A picture as a "jpeg" or "png" inside an address."""
    file = io.BytesIO()
    image.convert("RGB").save(file, format, quality=JPEG_QUALITY, optimize=True)
    return f"data:image/{format};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def numeric(columns: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> list[bool]:
    """Which columns of a table hold nothing but numbers, and texts that begin as one ("66.7%", "13.3 times").

    Raises:
        ValueError: a row has not one cell a column.
    """
    cells_of = [cells for _, *cells in zip(columns, *rows, strict=True)]
    return [bool(cells) and all(map(_is_number, cells)) for cells in cells_of]


def _is_number(value: str | int | float) -> bool:
    return isinstance(value, int | float) or value.lstrip("+-−")[:1].isdigit()
