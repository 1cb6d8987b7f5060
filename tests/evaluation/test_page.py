"""A page is one file: everything escaped, nothing from the network, every picture inside it."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from PIL import Image

from evaluation.page import (
    ComparedPictures,
    Grid,
    Picture,
    data_uri,
    render,
    templates,
    thumbnail,
    write_page,
)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&"


class Elements(HTMLParser):
    """Every element with its attributes, the text, and whether all are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def part(name: str, *values: object, **named: object) -> str:
    """What a macro makes of values."""
    return str(getattr(templates().get_template("parts.html").module, name)(*values, **named))


def picture() -> Image.Image:
    return Image.new("RGB", (4, 4))


PARTS: list[Callable[[str], str]] = [
    lambda text: part("callout", "warning", text, [text], note=text),
    lambda text: part("figure", text, text),
    lambda text: part("table", [text], [[text]]),
    lambda text: part("share_bars", {text: {text: 1.0}}),
    lambda text: part("fold", text, note=text, caller=lambda: ""),
    lambda text: part("picture_grid", Grid([Picture(picture(), text, text, text), Picture(None, text)])),
    lambda text: part("comparisons", [ComparedPictures(text, [Picture(picture(), text, badge=text)], text)]),
    lambda text: part("plot", picture(), text, text),
]


@pytest.mark.parametrize("made", PARTS)
def test_text_is_shown_as_text(made: Callable[[str], str]) -> None:
    evil, plain = Elements(made(EVIL)), Elements(made("plain"))
    assert EVIL in evil.text
    assert [(tag, set(names)) for tag, names in evil.found] == [
        (tag, set(names)) for tag, names in plain.found
    ]
    assert evil.open == []


def frame(text: str) -> str:
    """A page of one section, with a picture."""
    child = (
        "{% extends 'page.html' %}{% from 'parts.html' import plot %}"
        "{% set sections = [('one', text, true), ('two', text, [])] %}"
        "{% block summary %}<p>{{ text }}</p>{% endblock %}{% block one %}{{ plot(image, text) }}{% endblock %}"
    )
    return templates().from_string(child).render(title=text, subtitle=text, text=text, image=picture())


def test_a_title_is_escaped_and_the_page_is_whole() -> None:
    page = Elements(frame(EVIL))
    assert page.open == []
    assert page.text.count(EVIL) == 6  # the window, both lines of the top, the summary, the jump, the section
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "link", "iframe", "object", "base", "form"}
    assert not [attrs for _, attrs in page.found if any(name.startswith("on") for name in attrs)]


def test_nothing_comes_from_the_network() -> None:
    page = frame("text")
    assert "default-src 'none'" in page
    sources = [attrs["src"] or "" for tag, attrs in Elements(page).found if tag == "img"]
    assert sources
    assert all(re.match("data:image/(jpeg|png);base64,", source) for source in sources)
    assert not re.search(r"https?:|url\(|@import", page)


def test_only_sections_with_something_in_them_are_shown() -> None:
    found = Elements(frame("text")).found
    assert [attrs["href"] for tag, attrs in found if tag == "a"] == ["#one"]
    assert [attrs["id"] for tag, attrs in found if tag == "section"] == ["one"]


def test_what_a_template_was_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render("page.html")


def test_a_page_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "page.html"
    write_page("an older page", path)
    monkeypatch.setattr("os.fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page("a newer page", path)
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    assert path.read_text("utf-8") == "an older page"


def test_a_picture_survives_its_address() -> None:
    image = Image.new("RGB", (600, 300), (200, 100, 50))
    small = thumbnail(image, 100)
    assert small.size == (100, 50)
    encoded = data_uri(small, "jpeg").removeprefix("data:image/jpeg;base64,")
    back = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert back.size == (100, 50)
    pixel = back.getpixel((50, 25))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, (200, 100, 50), strict=True)) <= 3


def test_a_table_needs_a_cell_a_column() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter than argument 1"):
        part("table", ["a", "b"], [[1]])


def test_numbers_stand_to_the_right() -> None:
    found = Elements(part("table", ["name", "share"], [["a", "66.7%"], ["b", 3]])).found
    assert [attrs.get("class") for tag, attrs in found if tag in ("th", "td")] == [None, "number"] * 3


def test_bars_are_divided_by_size() -> None:
    bars = part("share_bars", {"folder": {"a": 45.0, "b": 5.0, "c": 0.0}, "run": {"a": 0.5, "b": 0.5}})
    widths = [attrs["style"] for tag, attrs in Elements(bars).found if "style" in attrs]
    assert widths == ["width:90.00%", "width:10.00%", "width:50.00%", "width:50.00%"]
    assert part("share_bars", {"empty": {"a": 0.0}}).count("width") == 0


def test_what_is_not_shown_is_counted() -> None:
    assert "and 1,200 more, not shown here" in part("picture_grid", Grid([], 1200))
    assert "more" not in part("picture_grid", Grid([]))


def test_groups_that_differ_by_capital_letters_are_two() -> None:
    found = Elements(part("share_bars", {"folder": {"sea": 1.0, "Sea": 1.0}})).found
    assert [attrs["class"] for tag, attrs in found if tag in ("span", "i")] == ["c0", "c1"] * 2


def test_a_plot_keeps_every_pixel() -> None:
    image = Image.new("RGB", (700, 300), (200, 100, 50))
    image.putpixel((699, 299), (1, 2, 3))
    (found,) = [attrs for tag, attrs in Elements(part("plot", image, "the plot")).found if tag == "img"]
    encoded = (found["src"] or "").removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB").tobytes() == image.tobytes()
    assert found["alt"] == "the plot"


def test_compared_pictures_stand_in_their_order_and_shape() -> None:
    wide, tall = Image.new("RGB", (800, 400)), Image.new("RGB", (100, 200))
    found = Elements(
        part("comparisons", [ComparedPictures("words", [Picture(wide, "a"), Picture(tall, "b")], "note")])
    ).found
    images = [(attrs["alt"], attrs["width"], attrs["height"]) for tag, attrs in found if tag == "img"]
    assert images == [("a", "512", "256"), ("b", "100", "200")]
