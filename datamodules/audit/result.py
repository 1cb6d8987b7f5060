"""What an audit found out about a folder: the table, audit.json and audit.html are all made from this.

Names of pictures are relative to the folder, with `/`; pictures of a `data.holdout_folder` go by their full
path, so that `folder / name` is the file in either case.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodules.folder.records import Record
from datamodules.problems import Problem

Level = Literal["good", "note", "warning", "error"]


@dataclass(frozen=True)
class GroupRow:
    """One group of the folder, and what a run will do with it.

    Attributes:
        name: of the group.
        training: pictures that are trained on.
        held_out: pictures kept for validation.
        wide: pictures wider than tall (of both, as the next two).
        tall: pictures taller than wide.
        square: pictures as wide as tall.
        smallest: width and height of the picture with the fewest pixels.
        largest: width and height of the picture with the most pixels.
        share: part of the draws, 0 to 1; 0 if the stream can't be set up.
        draws: of the whole run.
        seen: how often each training picture is seen in the run.
    """

    name: str
    training: int
    held_out: int
    wide: int
    tall: int
    square: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    share: float
    draws: int
    seen: float


@dataclass(frozen=True)
class Verdict:
    """How far the mix is from the known good one.

    Attributes:
        level: good; note (nothing tells portraits from landscapes); warning (worth changing); or error
            (there is nothing to judge before the errors are mended).
        headline: the verdict in one line.
        advice: sentences on why, and what to do.
        landscapes: part of the draws that shows landscapes, 0 to 1; null if it can't be told.
    """

    level: Level
    headline: str
    advice: tuple[str, ...]
    landscapes: float | None


@dataclass(frozen=True)
class CaptionStatistics:
    """The captions as a whole.

    Attributes:
        tokens: smallest, median and largest token count with begin and end; null without captions.
        token_note: by whose tokenizer they were counted, or why only words and signs were.
        trigger: the trigger word, or "".
        captions: number of them; a picture may have several.
        with_trigger: captions in which it stands as written.
        tags: the most frequent comma-separated tags with their number of captions.
    """

    tokens: tuple[int, int, int] | None
    token_note: str
    trigger: str
    captions: int
    with_trigger: int
    tags: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Agreement:
    """How well a picture and its own caption, as written, agree: cosine similarity x 100 of their CLIP embeddings.

    Of several captions it is the one that agrees least.
    """

    name: str
    caption: str
    similarity: float


@dataclass(frozen=True)
class SuggestedGroup:
    """The group that CLIP would put a picture into, with the probability it gives it (0 to 1)."""

    name: str
    group: str
    suggested: str
    confidence: float


@dataclass(frozen=True)
class Audit:
    """All that was found out.

    Attributes:
        folder: that was audited.
        resolution: side of the trained square, pixels.
        records: every usable picture, training and held out; captions as they will be trained on.
        training: names of the pictures that are trained on.
        held_out: names of the pictures kept for validation.
        groups: a row a group, in the order of their names.
        draws: pictures that the run will see in all.
        run: where that number comes from, e.g. "1500 steps of 4".
        verdict: on the mix.
        captions: statistics.
        problems: every finding, those that stop training first; `problem.kind.stops` tells them apart.
        agreement: of each picture with its caption (the worst of several), the worst first; null without `--clip`.
        suggested: in the order of the records; null without `--clip`.
        buckets: whether pictures are trained near their own shape, not cropped to the square.
    """

    folder: Path
    resolution: int
    records: tuple[Record, ...]
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    groups: tuple[GroupRow, ...]
    draws: int
    run: str
    verdict: Verdict
    captions: CaptionStatistics
    problems: tuple[Problem, ...]
    agreement: tuple[Agreement, ...] | None = None
    suggested: tuple[SuggestedGroup, ...] | None = None
    buckets: bool = False

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What stops training."""
        return tuple(problem for problem in self.problems if problem.kind.stops)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is worth a look."""
        return tuple(problem for problem in self.problems if not problem.kind.stops)

    @property
    def status(self) -> int:
        """Exit status: 0 clean, 1 warnings (the verdict's is one), 2 errors."""
        if self.errors or self.verdict.level == "error":
            return 2
        return 1 if self.warnings or self.verdict.level == "warning" else 0


def name_in(folder: Path, path: Path) -> str:
    """A picture's name for messages: relative to the folder, or its full path if it is elsewhere."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()).as_posix()
