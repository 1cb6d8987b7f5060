from pathlib import Path

import pytest
from PIL import Image

from experiments.document import (
    Answer,
    Block,
    Figure,
    Heading,
    Points,
    Table,
    Text,
    markdown,
    page,
    write_report,
)

BLOCKS: list[Block] = [
    Answer("Yes.", ["because <b>", "and"]),
    Heading("Why"),
    Text("A paragraph."),
    Points(["one", "two"]),
    Table(["arm", "score"], [["a|b", "1.0"]]),
    Figure("grid.jpg", Image.new("RGB", (4, 4), "red"), "A grid"),
]


def test_markdown_word_for_word() -> None:
    assert markdown("Title", BLOCKS, "results") == (
        "# Title\n\n**Yes.**\n\n- because <b>\n- and\n\n## Why\n\nA paragraph.\n\n- one\n- two\n\n"
        "| arm | score |\n| --- | --- |\n| a\\|b | 1.0 |\n\n![A grid](results/grid.jpg)\n\n*A grid*\n"
    )


def test_the_page_holds_its_pictures_and_no_foreign_tag() -> None:
    html = page("T <x>", "sub", BLOCKS)
    assert "T &lt;x&gt;" in html
    assert "because &lt;b&gt;" in html
    assert html.count("data:image/png;base64,") == 1
    assert "<td>a|b</td>" in html


def test_written_whole(tmp_path: Path) -> None:
    write_report(
        tmp_path, "T", "sub", [*BLOCKS, Figure("plot.png", Image.new("RGB", (4, 4), "blue"), "A plot")]
    )
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "RESULTS.md",
        "report.html",
        "results/grid.jpg",
        "results/plot.png",
    ]
    red, green, blue = Image.open(tmp_path / "results/grid.jpg").getpixel((1, 1))  # type: ignore[misc]
    assert red == pytest.approx(254, abs=4)
    assert max(green, blue) < 8
    assert Image.open(tmp_path / "results/plot.png").convert("RGB").getpixel((1, 1)) == (0, 0, 255)
