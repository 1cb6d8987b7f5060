"""The audit's page: every finding and picture is on it, and no file's name or caption can break it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from commands.audit import thumbnails as audit_thumbnails
from commands.audit.page import audit_page
from commands.audit.text import audit_text
from commands.audit.thumbnails import Thumbnails, veiled
from datamodules.audit.result import Audit, CaptionStatistics, SuggestedGroup, Verdict, name_in
from datamodules.pictures.decoding import decode
from datamodules.problems import BROKEN, IDENTICAL, LEAVES, Problem
from evaluation.page import write_page
from tests.datamodules.folders import make_folder, records_of

EVIL = "<script>alert(1)</script>"


def audit_of(
    folder: Path, problems: tuple[Problem, ...] = (), suggested: tuple[SuggestedGroup, ...] | None = None
) -> Audit:
    records = tuple(records_of(folder))
    names = tuple(name_in(folder, record.path) for record in records)
    verdict = Verdict("warning", "80% landscapes", ("Add portraits.",), 0.8)
    captions = CaptionStatistics(None, "no tokenizer", "", 3, 0, (("sky", 2),))
    return Audit(
        folder,
        16,
        records,
        names[1:],
        names[:1],
        (),
        80,
        "20 steps of 4",
        verdict,
        captions,
        problems,
        suggested=suggested,
    )


def page_of(audit: Audit, path: Path) -> str:
    write_page(audit_page(audit), path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path.read_text("utf-8")


def test_captions_and_names_are_shown_as_text(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {EVIL: 2})
    (folder / "metadata.jsonl").write_text(
        f'{{"file_name": "000.png", "text": "{EVIL}", "group": "{EVIL}"}}\n'
    )
    broken = Problem(BROKEN, f"{EVIL}.png", EVIL, (f"{EVIL}.png", "no\udcffname.png"))
    page = page_of(audit_of(folder, (broken,)), tmp_path / "out" / "audit.html")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "no\\udcffname.png" in page


def test_every_finding_is_there_with_its_pictures(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"all": 3})
    problems = (
        Problem(BROKEN, "gone.png", "cut short", ("gone.png",)),
        Problem(LEAVES, "../secret.png", "line 7"),
        Problem(IDENTICAL, "000.png = 001.png", "", ("000.png", "001.png")),
    )
    page = page_of(audit_of(folder, problems), tmp_path / "out" / "audit.html")
    for text in (
        "Broken or cut short",
        "cut short",
        "../secret.png",
        "line 7",
        "Byte-identical",
        "80% landscapes",
    ):
        assert text in page
    assert page.count("<img ") == 2 + 3  # the cluster, the contact sheet
    assert page.count('class="absent"') == 1
    assert page.count('class="pictures together"') == 1
    assert page.count('class="badge">held out</span>') == 2  # in the cluster and on the sheet


def test_what_is_beyond_the_limits_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in {"LINES": 2, "FINDINGS": 1, "CLUSTERS": 1, "CONTACTS": 3}.items():
        monkeypatch.setattr(f"commands.audit.page.{limit}_SHOWN", most)
    folder = make_folder(tmp_path / "set", {"all": 8})
    problems = (
        *(Problem(LEAVES, f"../{number}.png", "") for number in range(5)),
        *(Problem(BROKEN, "", "", (f"{number:03}.png",)) for number in range(6)),
        *(Problem(IDENTICAL, "", "", ("000.png", "001.png", "002.png")) for _ in range(8)),
    )
    page = audit_page(audit_of(folder, problems))
    # lines, single pictures, pictures of the one cluster, clusters, the contact sheet
    assert re.findall(r"and (\d+) more", page) == ["3", "5", "2", "7", "5"]
    assert page.count("../") == 2
    assert page.count("<figure>") == 1 + 1 + 3


def test_suggestions_that_differ_are_shown_the_surest_first(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"landscape": 3})
    suggested = (
        SuggestedGroup("000.png", "landscape", "portrait", 0.7),
        SuggestedGroup("001.png", "landscape", "landscape", 0.8),
        SuggestedGroup("002.png", "landscape", "portrait", 0.9),
    )
    page = page_of(audit_of(folder, suggested=suggested), tmp_path / "out" / "audit.html")
    assert re.findall(r"(\d+)% sure", page) == ["90", "70"]
    assert "the group of 1 of 3 pictures" in page


def test_what_the_crop_cuts_is_whitened() -> None:
    wide = veiled(Image.new("RGB", (40, 20)), (512, 512))
    assert [wide.getpixel((x, 10)) for x in (0, 9, 10, 29, 30)] == [
        *((150, 150, 150), (150, 150, 150)),
        *((0, 0, 0), (0, 0, 0)),
        (150, 150, 150),
    ]
    square = Image.new("RGB", (20, 20))
    assert veiled(square, (512, 512)) is square


def test_large_jpegs_are_made_small_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "set", {"all": 1})
    audit = audit_of(folder)
    Image.new("RGB", (4096, 2048), "red").save(folder / "large.jpg")
    sizes = []

    def read(path: Path, covering: int) -> tuple[Image.Image, object]:
        found = decode(path, covering)
        sizes.append(found[0].size)
        return found

    monkeypatch.setattr(audit_thumbnails, "decode", read)
    (image,) = Thumbnails(audit).of(["large.jpg"])
    assert image is not None
    assert sizes == [(1024, 512)]  # twice the 256 of a thumbnail on the short side
    assert image.size == (256, 128)


def test_with_buckets_the_page_says_so(tmp_path: Path) -> None:
    audit = audit_of(make_folder(tmp_path / "set", {"all": 2}))
    assert "trained at 16x16 ·" in audit_page(audit)
    words = "trained at sizes of about the area of 16x16 ·"
    assert words in audit_page(replace(audit, buckets=True))


def test_the_trigger_word_is_counted_in_captions(tmp_path: Path) -> None:
    """Two pictures may have five captions."""
    audit = audit_of(make_folder(tmp_path / "set", {"all": 2}))
    audit = replace(audit, captions=CaptionStatistics((3, 4, 5), "counted", "my_style", 5, 4, ()))
    assert "4 of 5 captions" in audit_page(audit)
    assert "written in 4 of 5 captions" in audit_text(audit)
