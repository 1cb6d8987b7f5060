"""The audit for other programs: everything that the table and the page show, as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datamodules.audit.result import Audit, name_in
from datamodules.problems import Problem
from foundation.atomic_file import atomic_file

VERSION = 1  # of the file's layout


def write_audit_json(audit: Audit, path: Path) -> None:
    """Write the file beside its place and rename it, making folders as needed."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(audit_values(audit), indent=1) + "\n", encoding="utf-8")


def audit_values(audit: Audit) -> dict[str, Any]:
    """The audit as plain values."""
    held_out = set(audit.held_out)
    pictures = [
        {
            "name": name,
            "caption": record.caption,
            "group": record.group,
            "width": record.width,
            "height": record.height,
            "sha256": record.key,
            "held_out": name in held_out,
        }
        for record in audit.records
        for name in [name_in(audit.folder, record.path)]
    ]
    return {
        "version": VERSION,
        "status": audit.status,
        "folder": str(audit.folder),
        "resolution": audit.resolution,
        "buckets": audit.buckets,
        "run": audit.run,
        "draws": audit.draws,
        "verdict": asdict(audit.verdict),
        "groups": [asdict(row) for row in audit.groups],
        "errors": [_problem(problem) for problem in audit.errors],
        "warnings": [_problem(problem) for problem in audit.warnings],
        "captions": asdict(audit.captions),
        "agreement": None if audit.agreement is None else [asdict(one) for one in audit.agreement],
        "suggested": None if audit.suggested is None else [asdict(one) for one in audit.suggested],
        "pictures": pictures,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind.title,
        "where": problem.where,
        "detail": problem.detail,
        "files": list(problem.files),
        "remedy": problem.kind.remedy,
    }
