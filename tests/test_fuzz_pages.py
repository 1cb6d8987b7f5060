"""Captions, prompts and names of any text: a page shows them, and its elements are those of any other page.

hypothesis puts texts together from what breaks out of HTML. The page's tags and the names of their attributes have to
be the same as with a harmless text: whatever a text adds would be seen as one more.
"""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.audit.page import audit_page
from datamodules.audit.result import Audit
from evaluation.page import ComparedPictures, Grid, Picture, templates
from evaluation.report_page import report_page
from tests.commands.audit.test_page import audit_of
from tests.datamodules.folders import make_folder
from tests.evaluation.small_report import small_report

PIECES = (
    *(
        "<script>",
        "</script>",
        "</style>",
        "</title>",
        "-->",
        "<!--",
        "<img src=x onerror=alert(1)>",
        "<",
        ">",
    ),
    *(
        '"',
        "'",
        "&",
        "&lt;",
        "&#60;script&#62;",
        "javascript:",
        "]]>",
        "</p>",
        "<svg/onload=a>",
        "`",
        "=",
        " ",
    ),
    *("a", "é", "\u202e", "{", "}", "\\", "%3Cscript%3E"),
    *("{{ 7 * 7 }}", "{% raw %}", "{#", "{{ text|safe }}"),
)
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


class Elements(HTMLParser):
    """Notes tags with the names of their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Note it."""
        self.tags.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        """Note it."""
        self.tags.append(("!--", ()))

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.text.append(data)


EVERY_PART = """
{% extends "page.html" %}
{% from "parts.html" import callout, comparisons, figure, fold, picture_grid, share_bars, table %}
{% set title = text %}
{% set subtitle = text %}
{% block content %}
<h2>{{ text }}</h2>
<p>{{ text }}</p>
{% call callout("warning", text, [text], note=text) %}{{ text }}{% endcall %}
{{ figure(text, "x" ~ text) }}
{{ table(["a" ~ text, "b"], [["a" ~ text, 1]]) }}
{{ share_bars({text: {text: 1.0}}) }}
{% call fold(text, note=text, opened=true) %}{{ text }}{% endcall %}
{{ picture_grid(grid) }}
{{ comparisons([comparison]) }}
{% endblock %}
"""


def parts_of(text: str) -> str:
    """A page of every part that takes a text."""
    return (
        templates()
        .from_string(EVERY_PART)
        .render(
            text=text,
            grid=Grid([Picture(None, text, f"x{text}", f"x{text}")]),
            comparison=ComparedPictures(text, [], text),
        )
    )


@settings(max_examples=200)
@given(TEXTS)
def test_every_part_of_a_page_shows_a_text_as_it_is(text: str) -> None:
    shown, plain = Elements(parts_of(f"x{text}x")), Elements(parts_of("xx"))
    assert shown.tags == plain.tags
    assert f"x{text}x" in "".join(shown.text)


@settings(max_examples=10)
@given(TEXTS)
def test_a_report_shows_prompts_and_names_as_they_are(text: str) -> None:
    shown, plain = (
        Elements(report_page(small_report([f"x{one}x", "y"], name=f"n{one}n", side=8))) for one in (text, "")
    )
    assert shown.tags == plain.tags
    assert f"n{text}n" in "".join(shown.text)


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit_of(make_folder(tmp_path_factory.mktemp("set"), {"a": 2}))


@settings(max_examples=25)
@given(TEXTS)
def test_an_audit_shows_captions_and_groups_as_they_are(audit: Audit, text: str) -> None:
    pages = []
    for one in (text, ""):
        records = [replace(record, caption=f"x{one}x", group=f"g{one}g") for record in audit.records]
        pages.append(Elements(audit_page(replace(audit, records=tuple(records)))))
    assert pages[0].tags == pages[1].tags
    assert f"x{text}x" in "".join(pages[0].text)
