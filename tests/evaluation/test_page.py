"""A page is one file: everything escaped, nothing from the network, every picture inside it."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from PIL import Image

from evaluation.page import (
    Comparison,
    Html,
    Picture,
    callout,
    comparisons,
    data_uri,
    document,
    figures,
    fold,
    heading,
    jumps,
    paragraph,
    picture_grid,
    plots,
    section,
    share_bars,
    table,
    thumbnail,
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


BLOCKS: list[Callable[[str], Html]] = [
    lambda text: heading(text, note=text),
    paragraph,
    lambda text: jumps({text: text}),
    lambda text: section(text, paragraph(text)),
    lambda text: callout("warning", text, text, note=text),
    lambda text: figures({text: text}),
    lambda text: table([text], [[text]]),
    lambda text: share_bars({text: {text: 1.0}}),
    lambda text: fold(text, paragraph(text), note=text),
    lambda text: picture_grid([Picture(Image.new("RGB", (4, 4)), text, text, text), Picture(None, text)]),
    lambda text: comparisons([Comparison(text, [Picture(Image.new("RGB", (4, 4)), text, badge=text)], text)]),
    lambda text: plots([Picture(Image.new("RGB", (4, 4)), text, text)]),
]


@pytest.mark.parametrize("block", BLOCKS)
def test_text_is_shown_as_text(block: Callable[[str], Html]) -> None:
    evil, plain = Elements(block(EVIL)), Elements(block("plain"))
    assert EVIL in evil.text
    assert [(tag, set(names)) for tag, names in evil.found] == [
        (tag, set(names)) for tag, names in plain.found
    ]
    assert evil.open == []


def test_a_title_is_escaped_and_the_page_is_whole() -> None:
    page = Elements(document(EVIL, [block(EVIL) for block in BLOCKS], subtitle=EVIL))
    assert page.open == []
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "link", "iframe", "object", "base", "form"}
    assert not [attrs for _, attrs in page.found if any(name.startswith("on") for name in attrs)]


def test_nothing_comes_from_the_network() -> None:
    page = document("title", [block("text") for block in BLOCKS])
    assert "default-src 'none'" in page
    sources = [attrs["src"] or "" for tag, attrs in Elements(page).found if tag == "img"]
    assert sources
    assert all(re.match("data:image/(jpeg|png);base64,", source) for source in sources)
    targets = [attrs["href"] or "" for tag, attrs in Elements(page).found if tag == "a"]
    assert targets == ["#text"]
    assert not re.search(r"https?:|url\(|@import", page)


def test_a_picture_survives_its_address() -> None:
    image = Image.new("RGB", (600, 300), (200, 100, 50))
    small = thumbnail(image, 100)
    assert small.size == (100, 50)
    encoded = data_uri(small).removeprefix("data:image/jpeg;base64,")
    back = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert back.size == (100, 50)
    pixel = back.getpixel((50, 25))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, (200, 100, 50), strict=True)) <= 3


def test_a_table_needs_a_cell_a_column() -> None:
    with pytest.raises(ValueError, match="has 1 cells for 2 columns"):
        table(["a", "b"], [[1]])


def test_numbers_stand_to_the_right() -> None:
    found = Elements(table(["name", "share"], [["a", "66.7%"], ["b", 3]])).found
    assert [attrs.get("class") for tag, attrs in found if tag in ("th", "td")] == [None, "number"] * 3


def test_bars_are_divided_by_size() -> None:
    bars = share_bars({"folder": {"a": 45.0, "b": 5.0, "c": 0.0}, "run": {"a": 0.5, "b": 0.5}})
    widths = [attrs["style"] for tag, attrs in Elements(bars).found if "style" in attrs]
    assert widths == ["width:90.00%", "width:10.00%", "width:50.00%", "width:50.00%"]
    assert share_bars({"empty": {"a": 0.0}}).count("width") == 0


def test_what_is_not_shown_is_counted() -> None:
    assert "and 1,200 more, not shown here" in picture_grid([], more=1200)
    assert "more" not in picture_grid([])


def test_a_plot_keeps_every_pixel() -> None:
    image = Image.new("RGB", (700, 300), (200, 100, 50))
    image.putpixel((699, 299), (1, 2, 3))
    (found,) = [attrs for tag, attrs in Elements(plots([Picture(image, "the plot")])).found if tag == "img"]
    encoded = (found["src"] or "").removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB").tobytes() == image.tobytes()
    assert found["alt"] == "the plot"


def test_a_plot_without_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="the plot 'lost' has no image"):
        plots([Picture(None, "lost")])


def test_compared_pictures_stand_in_their_order_and_shape() -> None:
    wide, tall = Image.new("RGB", (800, 400)), Image.new("RGB", (100, 200))
    found = Elements(comparisons([Comparison("words", [Picture(wide, "a"), Picture(tall, "b")])])).found
    images = [(attrs["alt"], attrs["width"], attrs["height"]) for tag, attrs in found if tag == "img"]
    assert images == [("a", "512", "256"), ("b", "100", "200")]
