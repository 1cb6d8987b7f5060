"""What may go wrong beside the training without stopping it: said once, then counted.

Hours of training are worth more than a sample, a score or a line in a log. The run's last page repeats the
counts (callbacks/summary.py), so that what was said once isn't lost in a night's output.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn

from foundation.full_memory import memory_is_full


class Failures:
    """Failures of one kind.

    Args:
        what: what didn't work, as the beginning of a sentence: "Samples could not be painted".
        remedy: what the user can do, as a sentence of its own.
        when_memory_is_full: the same, where that is the reason.

    Attributes:
        count: how often it happened in this process.
    """

    def __init__(self, what: str, remedy: str = "", when_memory_is_full: str = "") -> None:
        self.what = what
        self.remedy = remedy
        self.when_memory_is_full = when_memory_is_full
        self.count = 0

    @contextmanager
    def survived(self) -> Iterator[None]:
        """Let training go on whatever is raised inside; Ctrl-C and the like are no failures."""
        try:
            yield
        except Exception as error:  # any kind: what is inside must not cost a training run
            self.happened(error)

    def happened(self, error: Exception | str) -> None:
        """Count one, and say it if it is the first; an error of another process comes in words."""
        self.count += 1
        if self.count == 1:
            reason = error if isinstance(error, str) else in_words(error)
            remedy = (self.when_memory_is_full if memory_is_full(error) else "") or self.remedy
            rank_zero_warn(f"{self.what} ({reason}). Training goes on. {remedy}".rstrip())

    def line(self) -> str:
        """`Samples could not be painted 3 times.`, or nothing."""
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"{self.what} {times}." if self.count else ""


def in_words(error: Exception) -> str:
    """An error's kind and text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
