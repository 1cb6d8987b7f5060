"""The audit as one HTML file to look at: the verdict, every finding with its pictures, then contact sheets.

A page shows at most so many thumbnails of one finding or group and says how many there are besides; audit.json has
every name. What the crop to the trained square cuts off is dimmed on the thumbnails.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from commands.audit.thumbnails import Thumbnails
from datamodules.audit.result import Agreement, Audit, GroupRow, SuggestedGroup, Verdict, name_in
from datamodules.folder.records import Record
from datamodules.problems import Kind, Problem
from evaluation.page import (
    Html,
    Picture,
    Severity,
    callout,
    document,
    figures,
    fold,
    heading,
    jumps,
    paragraph,
    picture_grid,
    section,
    share_bars,
    table,
)
from foundation.atomic_file import atomic_file

FINDINGS_SHOWN = 48  # thumbnails of one kind of finding
CLUSTERS_SHOWN = 40
LINES_SHOWN = 100  # findings without a picture
WORST_SHOWN = 24  # captions that agree least
CONTACTS_SHOWN = 150  # pictures of one group: the whole of a set of the usual size


def write_audit_page(audit: Audit, path: Path) -> None:
    """Write the page.

    Args:
        audit: what was found out.
        path: of the HTML file; its folder is made, and an older page replaced when the new one is whole.
    """
    with atomic_file(path) as partial:
        # names on disk need not be valid Unicode: what can't be written is shown as its code
        partial.write_bytes(audit_page(audit).encode("utf-8", "backslashreplace"))


def audit_page(audit: Audit) -> str:
    """The page as HTML."""
    thumbnails = Thumbnails(audit)
    sections = [
        ("stops", "What stops training", _findings(audit.errors, "error", thumbnails)),
        ("look", "Worth a look", _findings(audit.warnings, "warning", thumbnails)),
        ("mix", "The mix", _mix(audit)),
        ("captions", "Captions", _captions(audit)),
        ("agreement", "Do captions say what is there?", _agreement(audit.agreement or (), thumbnails)),
        ("suggested", "Suggested groups", _suggested(audit.suggested or (), thumbnails)),
        ("sheets", "Contact sheets", _contact_sheets(audit, thumbnails)),
    ]
    filled = [(identity, title, parts) for identity, title, parts in sections if parts]
    return document(
        f"Audit of {audit.folder.resolve().name}",
        [
            *_summary(audit),
            jumps({title: identity for identity, title, _ in filled}),
            *(section(identity, heading(title), *parts) for identity, title, parts in filled),
        ],
        subtitle=f"{audit.folder} · {_trained_at(audit)} · {audit.run}",
    )


def _trained_at(audit: Audit) -> str:
    square = f"{audit.resolution}x{audit.resolution}"
    return f"trained at sizes of about the area of {square}" if audit.buckets else f"trained at {square}"


def _summary(audit: Audit) -> Iterator[Html]:
    """What to know if nothing else is read."""
    yield _verdict(audit.verdict)
    if audit.errors:
        yield callout("error", "Training can't start yet", "Mend what is listed under “What stops training”.")
    elif not audit.warnings:
        yield callout("good", "Nothing else was found", "Every picture and caption passed every check.")
    yield figures(
        {
            "pictures to train on": f"{len(audit.training):,}",
            "held out": f"{len(audit.held_out):,}",
            "groups": f"{len(audit.groups):,}",
            "findings that stop training": f"{len(audit.errors):,}",
            "findings worth a look": f"{len(audit.warnings):,}",
        }
    )


def _verdict(verdict: Verdict) -> Html:
    return callout(verdict.level, verdict.headline, *verdict.advice)


def _findings(problems: Sequence[Problem], severity: Severity, thumbnails: Thumbnails) -> list[Html]:
    """A callout a kind, in the order in which kinds first appear."""
    kinds: dict[Kind, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return [
        callout(
            severity,
            _capital(kind.title),
            kind.remedy,
            *_lines([problem for problem in found if not problem.files]),
            *_single([problem for problem in found if len(problem.files) == 1], thumbnails),
            *_clusters([problem for problem in found if len(problem.files) > 1], thumbnails),
            note=f"{len(found):,}",
        )
        for kind, found in kinds.items()
    ]


def _lines(problems: Sequence[Problem]) -> Iterator[Html]:
    """Findings without a picture, as text."""
    if not problems:
        return
    rows = [(problem.where, problem.detail) for problem in problems[:LINES_SHOWN]]
    yield table(["where", "what"], rows)
    if len(problems) > LINES_SHOWN:
        yield paragraph(f"and {len(problems) - LINES_SHOWN:,} more, not shown here")


def _single(problems: Sequence[Problem], thumbnails: Thumbnails) -> Iterator[Html]:
    """Findings about one picture each."""
    shown = problems[:FINDINGS_SHOWN]
    images = thumbnails.of([problem.files[0] for problem in shown])
    pictures = [
        Picture(image, problem.files[0], problem.detail) for problem, image in zip(shown, images, strict=True)
    ]
    if pictures:
        yield picture_grid(pictures, more=len(problems) - len(shown))


def _clusters(problems: Sequence[Problem], thumbnails: Thumbnails) -> Iterator[Html]:
    """Findings about pictures that belong together, side by side."""
    for problem in problems[:CLUSTERS_SHOWN]:
        names = problem.files[:FINDINGS_SHOWN]
        pictures = [
            Picture(image, name, badge=thumbnails.badge(name))
            for name, image in zip(names, thumbnails.of(names), strict=True)
        ]
        if problem.detail:
            yield paragraph(problem.detail)
        yield picture_grid(pictures, more=len(problem.files) - len(names), together=True)
    if len(problems) > CLUSTERS_SHOWN:
        yield paragraph(f"and {len(problems) - CLUSTERS_SHOWN:,} more of these, not shown here")


def _mix(audit: Audit) -> list[Html]:
    """What the folder has of each group, and what a run will show of it."""
    if not audit.groups:
        return []
    bars = {"In the folder": {row.name: float(row.training) for row in audit.groups}}
    if any(row.share for row in audit.groups):
        bars["In the run"] = {row.name: row.share for row in audit.groups}
    return [
        share_bars(bars),
        table(
            [
                *("group", "pictures", "held out", "share", "draws", "each is seen"),
                *("wide", "tall", "square", "smallest", "largest"),
            ],
            [_group_cells(row) for row in audit.groups],
        ),
        paragraph(f"The run draws {audit.draws:,} pictures ({audit.run})."),
    ]


def _group_cells(row: GroupRow) -> list[str | int]:
    sizes = [f"{width}x{height}" for width, height in (row.smallest, row.largest)]
    run = [f"{row.share:.1%}", f"{row.draws:,}", f"{row.seen:.1f} times"]
    return [row.name, row.training, row.held_out, *run, row.wide, row.tall, row.square, *sizes]


def _captions(audit: Audit) -> list[Html]:
    """Tokens, trigger word and the words that come most often."""
    captions = audit.captions
    parts = []
    values: dict[str, str | int | Html] = {}
    if captions.tokens is not None:
        names = ("fewest tokens", "median", "most tokens")
        values.update(zip(names, captions.tokens, strict=True))
    if captions.trigger:
        values[f"have “{captions.trigger}” written in them"] = (
            f"{captions.with_trigger} of {captions.captions} captions"
        )
    if values:
        parts.append(figures(values))
    if captions.token_note:
        parts.append(paragraph(_capital(captions.token_note)))
    if captions.tags:
        tags = table(["tag", "captions"], captions.tags)
        parts.append(fold("The most frequent tags", tags, note=str(len(captions.tags))))
    return parts


def _agreement(agreement: Sequence[Agreement], thumbnails: Thumbnails) -> list[Html]:
    """The captions that fit their pictures worst by CLIP."""
    if not agreement:
        return []
    worst = agreement[:WORST_SHOWN]
    images = thumbnails.of([pair.name for pair in worst])
    pictures = [
        Picture(image, pair.name, pair.caption, badge=f"{pair.similarity:.1f}")
        for pair, image in zip(worst, images, strict=True)
    ]
    middle = sorted(pair.similarity for pair in agreement)[len(agreement) // 2]
    return [
        paragraph(
            "CLIP's similarity of each picture with its own caption, the worst first; the median is"
            f" {middle:.1f}. A low number is a hint to read that caption again, no proof that it is wrong."
        ),
        picture_grid(pictures, more=len(agreement) - len(worst)),
    ]


def _suggested(suggested: Sequence[SuggestedGroup], thumbnails: Thumbnails) -> list[Html]:
    """Where CLIP would put a picture into another group, the surest first."""
    if not suggested:
        return []
    counts = Counter((of.group, of.suggested) for of in suggested)
    others = sorted((of for of in suggested if of.suggested != of.group), key=lambda of: -of.confidence)
    shown = others[:FINDINGS_SHOWN]
    images = thumbnails.of([of.name for of in shown])
    pictures = [
        Picture(image, of.name, f"{of.group} → {of.suggested}", badge=f"{of.confidence:.0%} sure")
        for of, image in zip(shown, images, strict=True)
    ]
    agreed = len(suggested) - len(others)
    return [
        paragraph(
            f"CLIP agrees with the group of {agreed:,} of {len(suggested):,} pictures."
            " --write puts the suggested groups into the metadata and keeps the original beside it."
        ),
        table(["group now", "suggested", "pictures"], [(*pair, n) for pair, n in sorted(counts.items())]),
        *([picture_grid(pictures, more=len(others) - len(shown))] if pictures else []),
    ]


def _contact_sheets(audit: Audit, thumbnails: Thumbnails) -> list[Html]:
    """All pictures with their captions, a sheet a group."""
    groups: dict[str, list[Record]] = {}
    for record in audit.records:
        groups.setdefault(record.group, []).append(record)
    sheets = [
        fold(
            group,
            picture_grid(
                list(_contacts(audit, records[:CONTACTS_SHOWN], thumbnails)),
                more=max(0, len(records) - CONTACTS_SHOWN),
            ),
            note=f"{len(records):,} picture{'s'[: len(records) > 1]}",
            opened=True,
        )
        for group, records in sorted(groups.items())
    ]
    return [paragraph("What the crop cuts off is dimmed."), *sheets] if sheets else []


def _contacts(audit: Audit, records: Iterable[Record], thumbnails: Thumbnails) -> Iterator[Picture]:
    named = [(name_in(audit.folder, record.path), record.caption) for record in records]
    images = thumbnails.of([name for name, _ in named])
    for (name, caption), image in zip(named, images, strict=True):
        yield Picture(image, name, caption, badge=thumbnails.badge(name))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
