"""The scores of all runs as arrays, from what `train.py test` wrote for each picture.

Every run painted the same prompts from the same noise, so a place in the arrays is the same (prompt, picture seed) in
every arm: T training seeds, P prompts, S picture seeds of each prompt.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.bootstrap import Array
from experiments.plan import MEASURES, Measure

Rows = Mapping[tuple[str, int], Mapping[str, Any]]  # (prompt, seed) -> a picture's

STRENGTH = 1.0  # of the LoRA in the pictures that arms are compared by


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        prompts: P texts.
        groups: the group of each prompt.
        arms: measure -> arm -> float64 [T, P, S].
        base: measure -> float64 [P, S], of the base without a LoRA; empty where no test painted it.
        strengths: arm -> strength of the adapter, rising and 1 among them -> measure -> float64 [T, P, S]; arms whose
            sweep painted every place.
        pictures: arm -> file of each picture of the first training seed, P rows of S.
        base_pictures: the same of the base, or empty.
    """

    prompts: tuple[str, ...]
    groups: tuple[str, ...]
    arms: Mapping[Measure, Mapping[str, Array]]
    base: Mapping[Measure, Array]
    strengths: Mapping[str, Mapping[float, Mapping[Measure, Array]]]
    pictures: Mapping[str, Sequence[Sequence[Path]]]
    base_pictures: Sequence[Sequence[Path]]


@dataclass(frozen=True)
class _Tested:
    """The pictures of one test by strength and (prompt, seed), and where it was written."""

    file: Path
    groups: Mapping[str, str]
    sides: Mapping[float, Rows]
    folder: Path

    @property
    def lora(self) -> Rows:
        return self.sides[STRENGTH]

    @property
    def base(self) -> Rows:
        return self.sides.get(0.0, {})


def read_scores(files: Mapping[str, Sequence[Path]]) -> Scores:
    """Read what all tests found.

    Args:
        files: arm -> the `metrics.json` of each training seed, in the same order in every arm.

    Raises:
        ValueError: a test has other prompts or seeds than the first, or a picture without a score.
    """
    tests = {arm: [_read(path) for path in paths] for arm, paths in files.items()}
    first = next(iter(tests.values()))[0]
    for test in (test for of in tests.values() for test in of):
        _refuse_others(test, first)
    places = _places(first)
    measures = [measure for measure in MEASURES if _has(first, measure)]
    return Scores(
        prompts=tuple(first.groups),
        groups=tuple(first.groups.values()),
        arms={
            measure: {
                arm: np.stack([_values(test.lora, test.file, measure, places) for test in of])
                for arm, of in tests.items()
            }
            for measure in measures
        },
        base={
            measure: _values(first.base, first.file, measure, places) for measure in measures if first.base
        },
        strengths={arm: _strengths(of, measures, places) for arm, of in tests.items()},
        pictures={arm: _files(of[0].lora, of[0].folder, places) for arm, of in tests.items()},
        base_pictures=_files(first.base, first.folder, places) if first.base else (),
    )


def _strengths(
    tests: Sequence[_Tested], measures: Sequence[Measure], places: Sequence[Sequence[tuple[str, int]]]
) -> dict[float, dict[Measure, Array]]:
    """Scores of an arm by the strengths at which every test painted every place."""
    whole = [
        {scale for scale, rows in test.sides.items() if rows.keys() == test.lora.keys()} for test in tests
    ]
    return {
        scale: {
            measure: np.stack([_values(test.sides[scale], test.file, measure, places) for test in tests])
            for measure in measures
        }
        for scale in sorted(set.intersection(*whole))
    }


def _read(path: Path) -> _Tested:
    """The plain pictures of a test by strength."""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    plain = [row for row in metrics["pictures"] if not row["enhanced"]]
    sides = {
        scale: {(row["prompt"], row["seed"]): row for row in plain if row["lora_scale"] == scale}
        for scale in sorted({row["lora_scale"] for row in plain})
    }
    if STRENGTH not in sides:
        raise ValueError(f"{path} has no pictures with the LoRA at strength 1: arms are compared by those.")
    groups = {prompt: str(row["group"]) for (prompt, _), row in sides[STRENGTH].items()}
    return _Tested(path, groups, sides, path.parent / metrics["pictures_folder"])


def _places(test: _Tested) -> list[list[tuple[str, int]]]:
    """For each prompt its S pictures, by (prompt, seed)."""
    places = [[place for place in test.lora if place[0] == prompt] for prompt in test.groups]
    if len({len(line) for line in places}) > 1:
        counts = ", ".join(str(len(line)) for line in places)
        raise ValueError(
            f"{test.file} has {counts} pictures of its prompts: each needs as many as the others."
        )
    return places


def _refuse_others(test: _Tested, first: _Tested) -> None:
    if test.lora.keys() != first.lora.keys() or test.groups != first.groups:
        raise ValueError(
            f"{test.file} has other prompts, groups or seeds than {first.file}: only like can be compared with like."
            " Delete the older of the two and start the same command again."
        )


def _has(test: _Tested, measure: Measure) -> bool:
    return all(row.get(measure) is not None for row in test.lora.values())


def _values(
    rows: Rows,
    file: Path,
    measure: Measure,
    places: Sequence[Sequence[tuple[str, int]]],
) -> Array:
    """float64 [P, S]."""
    missing = [place for line in places for place in line if rows.get(place, {}).get(measure) is None]
    if missing:
        prompt, seed = missing[0]
        raise ValueError(f"{file} has no {measure} for {prompt!r}, seed {seed}: every picture needs one.")
    return np.asarray([[rows[place][measure] for place in line] for line in places], np.float64)


def _files(
    rows: Rows,
    folder: Path,
    places: Sequence[Sequence[tuple[str, int]]],
) -> list[list[Path]]:
    return [[folder / rows[place]["file"] for place in line] for line in places]
