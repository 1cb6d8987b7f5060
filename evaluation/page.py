"""Building blocks of a report that is one HTML file: it opens from disk, on a desk or a phone, by day or night.

Every text that comes in is escaped, pictures are data URIs, fonts are the system's, and a content security policy
forbids scripts and the network outright. Blocks are functions from plain values to `Html`; `document` puts them
into a page. Pure: values in, text out.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from evaluation.page_style import STYLE

Severity = Literal["good", "note", "warning", "error"]

MARKS: dict[Severity, str] = {"good": "✓", "note": "i", "warning": "!", "error": "✕"}
WORDS: dict[Severity, str] = {"good": "Good", "note": "Note", "warning": "Warning", "error": "Error"}
THUMBNAIL_SIDE = 256  # pixels of the longer side: sharp at 128 on a phone's dense screen
COMPARED_SIDE = 512  # of pictures to be compared: detail matters
JPEG_QUALITY = 78
COLOURS = 8  # of the bars' parts, in page_style.py
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already and may stand in a page as it is; everything else is escaped."""

    __slots__ = ()


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
class Comparison:
    """Pictures of the same thing, side by side under the words that they share.

    Attributes:
        text: the words, such as the prompt of all of them.
        pictures: two a line; of each the badge says which it is.
        note: a quieter line below the words; "" for none.
    """

    text: str
    pictures: Sequence[Picture]
    note: str = ""


def document(title: str, parts: Iterable[Html], *, subtitle: str = "") -> str:
    """A whole page.

    Args:
        title: of the window, and the first heading.
        parts: blocks, top to bottom.
        subtitle: a line below the title, such as what was looked at and when.
    """
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style>"
    )
    top = f"<header><h1>{_text(title)}</h1>{_element('p', subtitle, 'subtitle')}</header>"
    body = f"<main>{top}{''.join(parts)}</main>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def heading(text: str, *, note: str = "") -> Html:
    """The heading of a section, with a quieter word behind it such as a count."""
    return Html(f"<h2>{_text(text)}{_element('small', note)}</h2>")


def paragraph(text: str) -> Html:
    """A paragraph; line breaks in the text are kept."""
    return Html(f"<p>{_text(text)}</p>")


def jumps(targets: Mapping[str, str]) -> Html:
    """Links to sections of this page.

    Args:
        targets: text of each link -> id of its `section`.
    """
    links = (f'<a href="#{_text(target)}">{_text(text)}</a>' for text, target in targets.items())
    return Html(f"<nav>{''.join(links)}</nav>")


def section(identity: str, *parts: Html) -> Html:
    """Blocks that belong together, to be jumped to by `identity`."""
    return Html(f'<section id="{_text(identity)}">{"".join(parts)}</section>')


def callout(severity: Severity, title: str, *parts: Html | str, note: str = "") -> Html:
    """Something to be noticed, marked by its severity in colour, sign and word.

    Args:
        severity: how bad it is.
        title: what it is.
        parts: texts (as paragraphs) and blocks below it.
        note: a quieter word behind the title, such as a count.
    """
    sign = f'<span class="mark" role="img" aria-label="{WORDS[severity]}">{MARKS[severity]}</span>'
    inside = "".join(part if isinstance(part, Html) else paragraph(part) for part in parts if part)
    head = f"<h3>{sign}<span>{_text(title)}{_element('small', note)}</span></h3>"
    return Html(f'<div class="callout {severity}">{head}{inside}</div>')


def figures(values: Mapping[str, str | int | Html]) -> Html:
    """A row of large figures, each with its name below."""
    cells = (f"<div><b>{_text(value)}</b><span>{_text(name)}</span></div>" for name, value in values.items())
    return Html(f'<div class="figures">{"".join(cells)}</div>')


def table(columns: Sequence[str], rows: Sequence[Sequence[str | int | float | Html]]) -> Html:
    """A table that scrolls sideways by itself where the screen is narrow; a number is set to the right.

    Args:
        columns: names of the columns.
        rows: as many cells each; floats are shown as they are, so format them.

    Raises:
        ValueError: a row has not one cell a column.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"the row {list(row)} has {len(row)} cells for {len(columns)} columns")
    numeric = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    head = "".join(_cell("th", name, right) for name, right in zip(columns, numeric, strict=True))
    lines = ("".join(_cell("td", *pair) for pair in zip(row, numeric, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def share_bars(bars: Mapping[str, Mapping[str, float]]) -> Html:
    """One bar a line, divided into the same named parts, with a legend; for comparing mixes.

    Args:
        bars: name of the bar -> name of the part -> its size; sizes need not sum to 1.
    """
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    colours = {name: f"c{place % COLOURS}" for place, name in enumerate(names)}
    legend = "".join(f'<li><i class="{colours[name]}"></i>{_text(name)}</li>' for name in names)
    lines = "".join(
        f'<div class="label">{_text(label)}</div><div class="bar">{_segments(parts, colours)}</div>'
        for label, parts in bars.items()
    )
    return Html(f'<div class="bars">{lines}</div><ul class="legend">{legend}</ul>')


def fold(summary: str, *parts: Html, note: str = "", opened: bool = False) -> Html:
    """Blocks that are shown on a click."""
    state = " open" if opened else ""
    head = f"<summary>{_text(summary)}{_element('small', note)}</summary>"
    return Html(f"<details{state}>{head}{''.join(parts)}</details>")


def picture_grid(pictures: Sequence[Picture], *, more: int = 0, together: bool = False) -> Html:
    """Thumbnails with their words, as many side by side as fit.

    Args:
        pictures: to show.
        more: how many there are besides that aren't shown; it is said.
        together: frame them, as things that belong to each other.
    """
    cells = "".join(map(_figure, pictures))
    rest = _element("p", f"and {more:,} more, not shown here" if more else "", "more")
    return Html(f'<div class="pictures{" together" if together else ""}">{cells}</div>{rest}')


def comparisons(rows: Sequence[Comparison]) -> Html:
    """Pictures to be compared, each large and in its own shape."""
    return Html(f'<div class="comparisons">{"".join(map(_comparison, rows))}</div>')


def plots(pictures: Sequence[Picture]) -> Html:
    """Plots beside each other where there is room: unchanged, with `text` below and `name` for those who can't see.

    Raises:
        ValueError: a plot has no image.
    """
    return Html(f'<div class="plots">{"".join(map(_plot, pictures))}</div>')


def thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> Image.Image:
    """The picture with its longer side at most `side` pixels; its shape is kept."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def data_uri(image: Image.Image) -> str:
    """A picture as a JPEG inside an address."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _figure(picture: Picture) -> str:
    words = _element("b", picture.name) + _element("span", picture.text)
    return f"<figure>{_frame(picture, THUMBNAIL_SIDE)}<figcaption>{words}</figcaption></figure>"


def _frame(picture: Picture, side: int) -> str:
    badge = _element("span", picture.badge, "badge")
    if picture.image is None:
        shown = '<div class="absent" role="img" aria-label="no picture to show">?</div>'
    else:
        small = thumbnail(picture.image, side)
        shown = _image(data_uri(small), small.size, picture.name)
    return f'<div class="frame">{shown}{badge}</div>'


def _image(address: str, size: tuple[int, int], words: str) -> str:
    width, height = size
    return f'<img src="{address}" width="{width}" height="{height}" alt="{_text(words)}" loading="lazy">'


def _comparison(row: Comparison) -> str:
    words = _element("b", row.text) + _element("span", row.note)
    frames = "".join(_frame(picture, COMPARED_SIDE) for picture in row.pictures)
    return f'<figure><figcaption>{words}</figcaption><div class="side">{frames}</div></figure>'


def _plot(picture: Picture) -> str:
    if picture.image is None:
        raise ValueError(f"the plot {picture.name!r} has no image")
    file = io.BytesIO()
    picture.image.save(file, "PNG", optimize=True)  # JPEG would blur its words
    address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    words = _element("span", picture.text)
    return f"<figure>{_image(address, picture.image.size, picture.name)}<figcaption>{words}</figcaption></figure>"


def _segments(parts: Mapping[str, float], colours: Mapping[str, str]) -> str:
    total = sum(parts.values())
    shares = {name: size / total for name, size in parts.items() if size > 0}
    return "".join(
        f'<span class="{colours[name]}" style="width:{share:.2%}" title="{_text(name)}: {share:.0%}">'
        f"{f'{share:.0%}' if share >= 0.08 else ''}</span>"
        for name, share in shares.items()
    )


def _cell(tag: str, value: str | int | float | Html, right: bool) -> str:
    style = ' class="number"' if right else ""
    return f"<{tag}{style}>{_text(value)}</{tag}>"


def _is_number(value: str | int | float | Html) -> bool:
    """Numbers, and texts that begin as one ("66.7%", "13.3 times")."""
    return isinstance(value, int | float) or value.lstrip("+-−")[:1].isdigit()


def _element(tag: str, text: str, style: str = "") -> str:
    """An element with text, or nothing where there is none."""
    named = f' class="{style}"' if style else ""
    return f"<{tag}{named}>{_text(text)}</{tag}>" if text else ""


def _text(value: str | int | float | Html) -> str:
    """Escaped, for inside and for attributes; Html stays as it is."""
    return value if isinstance(value, Html) else html.escape(str(value))
