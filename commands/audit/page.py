"""The audit as one HTML file to look at: what `templates/audit.html` of the evaluation shows of it.

A page shows at most so many thumbnails of one finding or group and says how many there are besides; audit.json has
every name. What the crop to the trained square cuts off is dimmed on the thumbnails.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high

from commands.audit.thumbnails import Thumbnails
from datamodules.audit.result import Audit, GroupRow, name_in
from datamodules.problems import Kind, Problem, by_kind
from evaluation.page import Grid, render

FINDINGS_SHOWN = 48  # thumbnails of one kind of finding
CLUSTERS_SHOWN = 40
LINES_SHOWN = 100  # findings without a picture
WORST_SHOWN = 24  # captions that agree least
CONTACTS_SHOWN = 150  # pictures of one group: the whole of a set of the usual size


@dataclass(frozen=True)
class ShownProblems:
    """All problems of one kind, as many of them as are shown.

    Attributes:
        kind: of the problems.
        number: of them all.
        lines: where and what, of those without a picture.
        more_lines: how many there are besides.
        single: those of one picture each.
        clusters: those of pictures that belong together, each with its detail.
        more_clusters: how many there are besides.
    """

    kind: Kind
    number: int
    lines: list[tuple[str, str]]
    more_lines: int
    single: Grid
    clusters: list[tuple[str, Grid]]
    more_clusters: int


def audit_page(audit: Audit) -> str:
    """The page as HTML."""
    thumbnails = Thumbnails(audit)
    agreement, suggested = audit.agreement or (), audit.suggested or ()
    others = sorted((of for of in suggested if of.suggested != of.group), key=lambda of: -of.confidence)
    return render(
        "audit.html",
        audit=audit,
        name=audit.folder.resolve().name,
        stops=[_shown(*of_kind, thumbnails) for of_kind in by_kind(audit.errors).items()],
        look=[_shown(*of_kind, thumbnails) for of_kind in by_kind(audit.warnings).items()],
        bars=_bars(audit.groups),
        mix=[_group_cells(row) for row in audit.groups],
        middle=median_high(pair.similarity for pair in agreement) if agreement else None,
        agreement=thumbnails.grid(
            [(pair.name, pair.caption, f"{pair.similarity:.1f}") for pair in agreement], WORST_SHOWN
        ),
        agreed=len(suggested) - len(others),
        suggestions=[
            (*groups, number)
            for groups, number in sorted(Counter((of.group, of.suggested) for of in suggested).items())
        ],
        suggested=thumbnails.grid(
            [(of.name, f"{of.group} → {of.suggested}", f"{of.confidence:.0%} sure") for of in others],
            FINDINGS_SHOWN,
        ),
        sheets=_contact_sheets(audit, thumbnails),
    )


def _shown(kind: Kind, problems: Sequence[Problem], thumbnails: Thumbnails) -> ShownProblems:
    lines = [(problem.where, problem.detail) for problem in problems if not problem.files]
    single = [(*problem.files, problem.detail, "") for problem in problems if len(problem.files) == 1]
    clusters = [problem for problem in problems if len(problem.files) > 1]
    return ShownProblems(
        kind,
        len(problems),
        lines[:LINES_SHOWN],
        max(0, len(lines) - LINES_SHOWN),
        thumbnails.grid(single, FINDINGS_SHOWN),
        [
            (
                problem.detail,
                thumbnails.grid(
                    [(name, "", thumbnails.badge(name)) for name in problem.files], FINDINGS_SHOWN
                ),
            )
            for problem in clusters[:CLUSTERS_SHOWN]
        ],
        max(0, len(clusters) - CLUSTERS_SHOWN),
    )


def _bars(groups: Sequence[GroupRow]) -> dict[str, dict[str, float]]:
    """What the folder has of each group, and what a run will show of it."""
    bars = {"In the folder": {row.name: float(row.training) for row in groups}}
    if any(row.share for row in groups):
        bars["In the run"] = {row.name: row.share for row in groups}
    return bars


def _group_cells(row: GroupRow) -> list[str | int]:
    sizes = [f"{width}x{height}" for width, height in (row.smallest, row.largest)]
    run = [f"{row.share:.1%}", f"{row.draws:,}", f"{row.seen:.1f} times"]
    return [row.name, row.training, row.held_out, *run, row.wide, row.tall, row.square, *sizes]


def _contact_sheets(audit: Audit, thumbnails: Thumbnails) -> list[tuple[str, int, Grid]]:
    """All pictures with their captions: each group with their number."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for record in audit.records:
        name = name_in(audit.folder, record.path)
        groups.setdefault(record.group, []).append((name, record.caption, thumbnails.badge(name)))
    return [
        (group, len(pictures), thumbnails.grid(pictures, CONTACTS_SHOWN))
        for group, pictures in sorted(groups.items())
    ]
