"""The audit as text: verdict, groups, captions, then every finding with the names of its files."""

import textwrap
from collections.abc import Iterator, Sequence

from datamodules.audit.result import Audit, GroupRow
from datamodules.problems import Problem, by_kind

WIDTH = 110
NAMES_SHOWN = 20  # of one kind; audit.json has all
TAGS_SHOWN = 8
WORST_SHOWN = 5
MARKS = {"good": "OK", "note": "NOTE", "warning": "WARNING", "error": "ERROR"}


def audit_text(audit: Audit) -> str:
    """The whole report, as it is printed."""
    parts = [
        [f"Audit of {audit.folder}: {_count(len(audit.records), 'usable picture')}, {audit.run}"],
        _verdict(audit),
        _groups(audit.groups),
        list(_captions(audit)),
        list(_clip(audit)),
        list(_findings("ERRORS, which stop training", audit.errors)),
        list(_findings("WARNINGS", audit.warnings)),
        [_summary(audit)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _verdict(audit: Audit) -> list[str]:
    mark = MARKS[audit.verdict.level]
    lines = _wrapped(f"THE MIX: {mark}. {audit.verdict.headline}.", "")
    return lines + [line for sentence in audit.verdict.advice for line in _wrapped(sentence, "   ")]


def _groups(rows: Sequence[GroupRow]) -> list[str]:
    if not rows:
        return []
    width = max(12, *(len(row.name) for row in rows))
    lines = [
        f"{'group':<{width}}  training  held out   wide  tall  square   {'sizes':<20}  share   draws  each is seen"
    ]
    for row in rows:
        smallest, largest = ("x".join(map(str, size)) for size in (row.smallest, row.largest))
        sizes = smallest if smallest == largest else f"{smallest} - {largest}"
        lines.append(
            f"{row.name:<{width}}  {row.training:>8}  {row.held_out:>8}  {row.wide:>5} {row.tall:>5}  {row.square:>6}"
            f"   {sizes:<20}  {row.share:>5.0%}  {row.draws:>6}  {_times(row.seen)}"
        )
    return lines


def _times(seen: float) -> str:
    return f"{seen:.0f} times" if seen >= 10 else f"{seen:.1f} times"


def _captions(audit: Audit) -> Iterator[str]:
    captions = audit.captions
    if not audit.records:
        return
    if captions.tokens:
        least, middle, most = captions.tokens
        yield from _wrapped(
            f"Captions: {least} to {most} tokens, median {middle}; the text encoder reads 77 ({captions.token_note})",
            "",
        )
    if captions.trigger:
        yield (
            f"Trigger word {captions.trigger!r}: written in {captions.with_trigger} of {captions.captions} captions,"
            " put before the others"
        )
    if captions.tags:
        shown = ", ".join(f"{tag} ({number})" for tag, number in captions.tags[:TAGS_SHOWN])
        yield from _wrapped(f"Most frequent tags: {shown}", "")


def _clip(audit: Audit) -> Iterator[str]:
    if audit.agreement:
        yield "Captions that agree least with their picture (CLIP similarity x 100):"
        for one in audit.agreement[:WORST_SHOWN]:
            yield f"   {one.similarity:5.1f}  {one.name}: {_short(one.caption)}"
    if audit.suggested:
        counts: dict[str, int] = {}
        for picture in audit.suggested:
            counts[picture.suggested] = counts.get(picture.suggested, 0) + 1
        shown = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
        yield f"Groups that CLIP suggests: {shown} (each with its confidence in audit.json; --write notes them down)"
        others = [
            picture
            for picture in audit.suggested
            if picture.suggested != picture.group and picture.group in counts
        ]
        for picture in others[:NAMES_SHOWN]:
            confidence = f"{100 * picture.confidence:.0f} %"
            yield f"   {picture.name}: {picture.group} now, {picture.suggested} suggested ({confidence})"
        if len(others) > NAMES_SHOWN:
            yield f"   and {len(others) - NAMES_SHOWN} more"


def _findings(title: str, problems: Sequence[Problem]) -> Iterator[str]:
    if problems:
        yield title
    for kind, found in by_kind(problems).items():
        yield f"- {len(found)} x {kind.title}"
        for problem in found[:NAMES_SHOWN]:
            yield from _wrapped(_short(str(problem), 330), "     ")
        if len(found) > NAMES_SHOWN:
            yield f"     and {len(found) - NAMES_SHOWN} more, all in audit.json"
        yield from _wrapped(f"-> {kind.remedy}", "  ")


def _summary(audit: Audit) -> str:
    if audit.status == 0:
        return "Clean: nothing to mend."
    warnings = _count(len(audit.warnings), "warning")
    if audit.errors:
        return f"{_count(len(audit.errors), 'error')} to mend before training can start; {warnings}."
    mix = " Change the mix before training." if audit.verdict.level == "warning" else ""
    return f"Nothing stops training; {warnings}.{mix}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _short(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _wrapped(text: str, indent: str) -> list[str]:
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [indent]
