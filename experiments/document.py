"""A report as blocks, written twice: as Markdown with its pictures beside it, and as one HTML page that holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from evaluation.page import render, write_page
from foundation.atomic_file import atomic_file

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """Sentences, each on its own."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Answer:
    """What to know if nothing else is read: a sentence, and what it stands on."""

    text: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        file: its name; `.jpg` for photographs and paintings, `.png` for plots.
        image: what to show.
        text: what it shows, in a sentence.
    """

    file: str
    image: Image.Image
    text: str


Block = Heading | Text | Points | Answer | Table | Figure


def markdown(title: str, blocks: Sequence[Block], pictures: str) -> str:
    """The report as Markdown; `pictures` is the folder of its pictures, seen from it."""
    return "\n\n".join([f"# {title}", *(_in_markdown(block, pictures) for block in blocks)]) + "\n"


def page(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """The report as an HTML page."""
    named = [(type(block).__name__, block) for block in blocks]
    return render("experiment.html", title=title, subtitle=subtitle, blocks=named)


def write_report(folder: Path, title: str, subtitle: str, blocks: Sequence[Block]) -> None:
    """Write `RESULTS.md` with the folder `results`, and `report.html`; each whole or absent."""
    pictures = folder / "results"
    for block in blocks:
        if isinstance(block, Figure):
            _save(block, pictures / block.file)
    write_page(markdown(title, blocks, pictures.name), folder / "RESULTS.md")
    write_page(page(title, subtitle, blocks), folder / "report.html")


def _in_markdown(block: Block, pictures: str) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Text(text):
            return text
        case Points(lines):
            return "\n".join(f"- {line}" for line in lines)
        case Answer(text, lines):
            return "\n\n".join([f"**{text}**", "\n".join(f"- {line}" for line in lines)])
        case Table(columns, rows):
            every: list[Sequence[str]] = [columns, ["---"] * len(columns), *rows]
            return "\n".join(
                "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in every
            )
        case Figure(file, _, text):
            return f"![{text}]({pictures}/{file})\n\n*{text}*"


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as partial:
        if path.suffix == ".jpg":
            figure.image.convert("RGB").save(partial, format="JPEG", quality=JPEG_QUALITY, optimize=True)
        else:
            few = figure.image.quantize(64, dither=Image.Dither.NONE)  # a plot has few colours
            few.save(partial, format="PNG", optimize=True)
