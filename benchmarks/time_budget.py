"""Work that has to be over by a moment: what doesn't fit is named, not dropped, and what fails costs only itself."""

import gc
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from foundation.full_memory import memory_is_full

OUT_OF_TIME = "not measured: out of time"
OUT_OF_MEMORY = "not measured: out of memory"


@dataclass(frozen=True)
class Row:
    """One thing to measure.

    Attributes:
        what: it is.
        measured: by the name of its column; null if it wasn't.
        why_not: then.
        details: what no table shows.
    """

    what: str
    measured: dict[str, Any] | None = None
    why_not: str = ""
    details: dict[str, Any] = field(default_factory=dict)


Measurement = Callable[[float], Sequence[Row]]
"""Takes the moment of `time.monotonic` by which it should be over; one measurement may answer several questions."""


class OutOfTime(BaseException):
    """The time is over. No Exception, so that nobody takes it for a failure and goes on."""


def in_time(jobs: Mapping[str, Measurement], deadline: float) -> Iterator[Row]:
    """Do one after the other, each in its part of the time that is left.

    Args:
        jobs: by what they measure.
        deadline: moment of `time.monotonic` by which all are over.
    """
    shortest = 0.0
    for done, (what, measure) in enumerate(jobs.items()):
        began = time.monotonic()
        if deadline - began <= shortest:
            yield Row(what, why_not=OUT_OF_TIME)
            continue
        rows = attempt(what, measure, began + (deadline - began) / (len(jobs) - done), deadline)
        took = time.monotonic() - began
        if any(row.measured is not None for row in rows):
            shortest = min(shortest or took, took)
        yield from rows


def attempt(what: str, measure: Measurement, share: float, deadline: float) -> Sequence[Row]:
    """Measure one, or say why not.

    Args:
        what: is measured.
        measure: does it.
        share: moment by which it should be over.
        deadline: moment at which it is ended.
    """
    try:
        with ended_at(deadline):
            return measure(share)
    except OutOfTime:
        return [Row(what, why_not=f"{OUT_OF_TIME} (begun)")]
    except Exception as error:  # whatever it is: the others are still to be measured
        if memory_is_full(error):
            return [Row(what, why_not=OUT_OF_MEMORY, details={"error": str(error)})]
        traceback.print_exc(file=sys.stderr)
        reason = f"{type(error).__name__}: {error}"
        return [Row(what, why_not=f"failed: {reason.splitlines()[0]}", details={"error": reason})]
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def ended_at(deadline: float) -> Iterator[None]:
    """Inside, `OutOfTime` is raised at a moment of `time.monotonic`; on Windows never."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
