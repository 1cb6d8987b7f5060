"""`python train.py audit` from the outside: what it says, what it writes, its exit status, what it loads."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.scenes import paint
from demo.splits import hold_out_scenes
from tests.datamodules.folders import write_metadata
from train import main

ROOT = Path(__file__).parents[3]
SIDE = 64

Audited = tuple[int, str, dict[str, object]]


def picture(number: int, side: int = SIDE) -> Image.Image:
    """Hard-edged random tiles, others for each number."""
    tiles = np.random.default_rng(number).integers(30, 226, (8, 8, 3), np.uint8)
    return Image.fromarray(tiles).resize((side, side), Image.Resampling.NEAREST)


def make(folder: Path, groups: dict[str, int]) -> list[dict[str, object]]:
    """A clean folder; its metadata rows."""
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for group, count in groups.items():
        for _ in range(count):
            name = f"{len(rows):02d}_{group}.png"
            picture(len(rows)).save(folder / name)
            rows.append({"file_name": name, "text": f"{group} number {len(rows)}", "group": group})
    write_metadata(folder, rows)
    return rows


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Audited]:
    """Run the command on `tmp_path/set`: exit status, what it printed, audit.json."""

    def run(*args: str) -> Audited:
        own = [
            "--data.folder",
            str(tmp_path / "set"),
            "--data.resolution",
            str(SIDE),
            "--out",
            str(tmp_path / "out"),
        ]
        with pytest.raises(SystemExit) as stop:
            main(["audit", *own, "--data.cache_folder", str(tmp_path / "cache"), *args])
        assert isinstance(stop.value.code, int)
        shown = capsys.readouterr()
        written = tmp_path / "out" / "audit.json"
        return (
            stop.value.code,
            shown.out + shown.err,
            json.loads(written.read_text()) if written.exists() else {},
        )

    return run


def test_a_clean_folder_is_status_0(tmp_path: Path, audit: Callable[..., Audited]) -> None:
    make(tmp_path / "set", {"portrait": 10, "landscape": 5})
    status, text, values = audit("--trainer.max_steps", "27", "--data.batch_size", "5")
    assert status == 0, text
    # 13 are trained on, 27 x 5 = 135 draws as found: 90 of 9 portraits (one of ten held out), 40 of 4 landscapes
    assert "Clean: nothing to mend." in text
    assert values["draws"] == 135
    assert values["buckets"] is False
    assert [(row["name"], row["training"], row["held_out"]) for row in values["groups"]] == [  # type: ignore[attr-defined]
        ("landscape", 4, 1),
        ("portrait", 9, 1),
    ]
    assert values["warnings"] == values["errors"] == []
    assert len(values["pictures"]) == 15  # type: ignore[arg-type]
    assert (tmp_path / "out" / "audit.html").read_text().startswith("<!")


def test_mostly_landscapes_is_status_1_and_a_plain_verdict(
    tmp_path: Path, audit: Callable[..., Audited]
) -> None:
    make(tmp_path / "set", {"portrait": 5, "landscape": 45})
    status, text, values = audit()
    assert status == 1
    assert "the mix that is known to fail" in text
    assert "--data.shares '{portrait: 2, landscape: 1}'" in text
    assert values["verdict"]["level"] == "warning"  # type: ignore[index]


def test_every_defect_is_named_with_its_files(tmp_path: Path, audit: Callable[..., Audited]) -> None:
    folder = tmp_path / "set"
    rows = make(folder, {"portrait": 12, "landscape": 6})
    broken, copied = folder / "00_portrait.png", folder / "copy.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    picture(1, 80).save(copied, quality=70)
    rows.append({"file_name": "copy.jpg", "text": "portrait 99", "group": "portrait"})
    rows.append({"file_name": "absent.png", "text": "portrait 100", "group": "portrait"})
    rows[3]["text"] = rows[4]["text"]
    rows[5]["text"] = "portrait, watercolor"
    rows[6]["text"] = "portrait " + "word " * 90
    write_metadata(folder, rows)
    status, text, values = audit()
    assert status == 2
    errors = {problem["kind"]: problem["files"] for problem in values["errors"]}  # type: ignore[attr-defined]
    assert errors == {"listed but absent": [], "broken or cut short": ["00_portrait.png"]}
    warned = {tuple(problem["files"]) for problem in values["warnings"]}  # type: ignore[attr-defined]
    assert warned == {
        ("01_portrait.png", "copy.jpg"),
        ("03_portrait.png", "04_portrait.png"),
        ("05_portrait.png",),
        ("06_portrait.png",),
    }
    for words in ("absent.png", "01_portrait.png ~ copy.jpg", "watercolor", "2 errors to mend"):
        assert words in text


def test_near_duplicates_on_both_sides_of_the_hold_out_are_told_apart(
    tmp_path: Path, audit: Callable[..., Audited]
) -> None:
    rows = make(tmp_path / "set", {"portrait": 4, "landscape": 2})
    other = tmp_path / "holdout"
    other.mkdir()
    picture(1, 96).save(other / "seen.png")
    write_metadata(other, [{"file_name": "seen.png", "text": "portrait 7", "group": "portrait"}])
    status, text, _ = audit("--data.holdout_folder", str(other))
    assert (len(rows), status) == (6, 1)
    assert "near-duplicates on both sides of the hold-out" in text
    assert f"01_portrait.png ~ {other}/seen.png [held out]" in " ".join(text.split())


def test_shares_that_do_not_fit_are_one_more_finding(tmp_path: Path, audit: Callable[..., Audited]) -> None:
    make(tmp_path / "set", {"portrait": 4, "landscape": 2})
    status, text, values = audit("--data.shares", "{people: 1}")
    assert status == 2
    assert (
        "data.shares names the groups ['people'], but the pictures have ['landscape', 'portrait']"
        in " ".join(text.split())
    )
    assert values["verdict"]["level"] == "error"  # type: ignore[index]


def test_the_configs_of_fit_are_accepted(tmp_path: Path, audit: Callable[..., Audited]) -> None:
    make(tmp_path / "set", {"portrait": 4, "landscape": 2})
    status, text, values = audit("--config", str(ROOT / "configs/demo.yaml"), "--data.batch_size", "3")
    assert status == 0, text
    assert values["draws"] == 200 * 3  # the steps of demo.yaml; what is typed wins
    assert "demo/base" in values["captions"]["token_note"]  # type: ignore[index]


def test_clip_suggests_groups_and_write_notes_them_down(
    tmp_path: Path, audit: Callable[..., Audited]
) -> None:
    rows = make(tmp_path / "set", {"portrait": 3, "landscape": 2})
    for row, scene in zip(rows, hold_out_scenes(3, 2), strict=True):
        paint(scene, 128).save(tmp_path / "set" / str(row["file_name"]))
    write_metadata(tmp_path / "set", [{k: row[k] for k in ("file_name", "text")} for row in rows])
    before = (tmp_path / "set/metadata.jsonl").read_bytes()
    words = json.dumps({"portrait": "portrait of a girl", "landscape": "landscape of hills"})
    _, text, values = audit("--clip", str(ROOT / "demo/clip"), "--write", "--clip_groups", words)
    suggested = {one["name"]: one["suggested"] for one in values["suggested"]}  # type: ignore[attr-defined]
    written = [json.loads(line) for line in (tmp_path / "set/metadata.jsonl").read_text().splitlines()]
    assert {row["file_name"]: row["group"] for row in written} == suggested
    assert (tmp_path / "set/metadata.jsonl.bak-1").read_bytes() == before
    similarities = [one["similarity"] for one in values["agreement"]]  # type: ignore[attr-defined]
    assert len(similarities) == 5
    assert similarities == sorted(similarities)
    assert "Captions that agree least with their picture" in text


def test_suggestions_that_tell_nothing_apart_are_not_written(
    tmp_path: Path, audit: Callable[..., Audited]
) -> None:
    make(tmp_path / "set", {"portrait": 3, "landscape": 2})
    before = (tmp_path / "set/metadata.jsonl").read_bytes()
    status, text, _ = audit("--clip", str(ROOT / "demo/clip"), "--write")  # tiles are neither
    assert status == 2
    assert (
        "--write has written nothing: CLIP takes all 5 pictures for 'portrait'. Describe your groups" in text
    )
    assert (tmp_path / "set/metadata.jsonl").read_bytes() == before


def test_groups_are_not_written_while_there_are_errors(tmp_path: Path, audit: Callable[..., Audited]) -> None:
    make(tmp_path / "set", {"portrait": 3, "landscape": 2})
    (tmp_path / "set/00_portrait.png").write_bytes(b"")
    before = (tmp_path / "set/metadata.jsonl").read_bytes()
    status, text, _ = audit("--clip", str(ROOT / "demo/clip"), "--write")
    assert status == 2
    assert "--write has written nothing: mend the errors above first." in text
    assert (tmp_path / "set/metadata.jsonl").read_bytes() == before


def test_a_name_longer_than_the_file_system_takes_is_one_finding(
    tmp_path: Path, audit: Callable[..., Audited]
) -> None:
    rows = make(tmp_path / "set", {"portrait": 2})
    write_metadata(tmp_path / "set", [*rows, {"file_name": 400 * "x" + ".png", "text": "a"}])
    status, text, _ = audit()
    assert status == 2
    assert "listed but absent" in text


def test_a_name_that_is_no_utf_8_is_reported_everywhere(
    tmp_path: Path, audit: Callable[..., Audited]
) -> None:
    """File names are bytes on Linux; Python has those that are no text as half of a surrogate pair."""
    make(tmp_path / "set", {"portrait": 6})
    (tmp_path / "set" / "metadata.jsonl").unlink()
    (tmp_path / "set" / "bad\udcff").mkdir()
    for number, path in enumerate(sorted((tmp_path / "set").glob("*.png"))):
        moved = tmp_path / "set" / "bad\udcff" / f"{number}\udce9.png"
        path.rename(moved)
        moved.with_suffix(".txt").write_text("the same words")
    status, text, values = audit("--data.shares", "{bad\\udcff: 1}", "--data.holdout_fraction", "0")
    assert status == 1, text
    assert "bad\\udcff/0\\udce9.png" in text
    assert values["groups"][0]["name"] == "bad\\udcff"  # type: ignore[index]
    assert {"bad\udcff/0\udce9.png"} <= set(values["warnings"][0]["files"])  # type: ignore[index]
    assert "bad\\udcff/0\\udce9.png" in (tmp_path / "out" / "audit.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data.folder", "nowhere"], "data.folder is 'nowhere', but there is no such folder"),
        (["--data.resolution", "100"], "data.resolution is 100; it must be a positive multiple of 8"),
        (["--data.foldr", "x"], "Did you mean --data.folder?"),
        (["--write"], "--write notes down the groups that CLIP suggests: give --clip MODEL as well"),
        (["--config", "no.yaml"], "--config no.yaml: there is no such file"),
        (["--data.folder", ""], "data.folder is empty; give the folder of your pictures."),
        (["--out", __file__], f"--out is {__file__}, which is a file: give a folder."),
    ],
)
def test_bad_options_are_status_2_and_one_message(
    tmp_path: Path, audit: Callable[..., Audited], args: list[str], words: str
) -> None:
    make(tmp_path / "set", {"portrait": 1})
    status, text, _ = audit(*args)
    assert status == 2
    assert words in text
    assert "Traceback" not in text
