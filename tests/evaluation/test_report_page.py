"""The page holds every part of the report, shows hostile words as words, and leaves out what was not measured."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from evaluation.findings import findings, interval
from evaluation.page import write_page
from evaluation.report import Report
from evaluation.report_page import report_page
from tests.evaluation.small_report import LUFFY, small_report
from tests.evaluation.test_page import EVIL, Elements


@cache
def report() -> Report:
    return small_report()


@cache
def page() -> Elements:
    return Elements(report_page(report()))


def headings(elements: Elements) -> list[str]:
    return [attrs["id"] or "" for tag, attrs in elements.found if tag == "section"]


def test_every_part_of_the_report_is_on_the_page() -> None:
    everything = ["pictures", "scores", "style", "copies", "variety", "strength", "prompting", "words"]
    assert headings(page()) == everything
    jumps = [(attrs["href"] or "").removeprefix("#") for tag, attrs in page().found if tag == "a"]
    assert jumps == everything


def test_the_answers_come_first() -> None:
    places = [page().text.index(finding.answer) for finding in findings(report())]
    assert places == sorted(places)
    assert places[-1] < page().text.index("6 prompts") < page().text.index("prompts × seeds")


def test_every_picture_is_inside_and_named() -> None:
    shown = [attrs for tag, attrs in page().found if tag == "img"]
    pairs = report().measured.memorisation.pairs  # type: ignore[union-attr]
    assert len(shown) == 12 * 2 + 2 * len(pairs) + 4 + 7 + 3  # ... the 2x2, the strip, three plots
    assert all((attrs["src"] or "").startswith("data:image/") and attrs["alt"] for attrs in shown)


def test_the_prompt_is_printed_at_its_pictures_and_groups_are_apart() -> None:
    text = page().text
    assert LUFFY in text
    assert text.index("portrait6 prompts") < text.index("seed 5") < text.index("landscape6 prompts")
    assert text.index("landscape6 prompts") < text.index("seed 6")


def test_the_figures_of_the_tables_are_those_measured() -> None:
    measured = report().measured
    for group in [measured.prompt_score.overall, *measured.style_score.groups.values()]:
        assert (
            f"{interval(group.difference, 2, signed=True)}{group.verdict}{group.base.value:.2f}"
            in page().text
        )
    assert measured.style_distance is not None
    assert (
        f"{measured.style_distance.overall.verdict}{measured.style_distance.overall.base:.2f}" in page().text
    )


def test_hostile_words_are_shown_as_words() -> None:
    evil = Elements(report_page(small_report([EVIL], name=EVIL)))
    plain = Elements(report_page(small_report(["plain"], name="plain")))
    assert EVIL in evil.text
    assert evil.open == []
    assert [(tag, set(names)) for tag, names in evil.found] == [
        (tag, set(names)) for tag, names in plain.found
    ]


def test_what_was_not_measured_is_said_and_has_no_section() -> None:
    none = {"style_similarity": None, "memorisation": None, "diversity": None, "strength": None}
    bare = replace(
        report().measured,
        style_distance=None,
        enhancement={},
        not_measured=("No held-out pictures: give --data.folder.",),
        **none,  # type: ignore[arg-type]
    )
    elements = Elements(report_page(replace(report(), measured=bare, four_ways=(), strips=())))
    assert headings(elements) == ["pictures", "scores", "words"]
    assert "No held-out pictures: give --data.folder." in elements.text


def test_one_group_is_not_said_twice() -> None:
    single = replace(
        report().measured.prompt_score, groups={"portrait": report().measured.prompt_score.overall}
    )
    style = replace(single, groups={})
    measured = replace(report().measured, prompt_score=single, style_score=style, style_similarity=single)
    text = Elements(report_page(replace(report(), measured=measured))).text
    assert text.count("12 × 3") == 3
    assert "6 × 3" not in text


def test_a_prompt_that_is_no_unicode_is_written_as_its_code(tmp_path: Path) -> None:
    broken = replace(report().side_by_side[0], prompt="a \udcff cat")
    write_page(report_page(replace(report(), side_by_side=(broken,))), tmp_path / "report.html")
    assert "a \\udcff cat" in (tmp_path / "report.html").read_text("utf-8")


def test_the_numbers_are_plain_json() -> None:
    found = json.loads(json.dumps(report().measured.to_json(), allow_nan=False))
    score = report().measured.style_score.groups["portrait"]
    assert found["style_score"]["groups"]["portrait"]["difference"]["low"] == score.difference.low
    assert found["intervals"].startswith("percentile bootstrap")
    assert set(found["enhancement"]) == {"CLIP score with the style prompt"}
