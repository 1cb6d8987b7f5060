"""What to say of a path that isn't there: perhaps one beside it has nearly the same name."""

import difflib
from pathlib import Path


def similar(path: Path) -> str:
    """` Did you mean ...?` with the neighbour whose name is closest, or ""."""
    try:
        names = [one.name for one in path.parent.iterdir()]
        close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    except (OSError, ValueError):  # no such folder either, or no path at all
        return ""
    return f" Did you mean {path.with_name(close[0])}?" if close and close[0] != path.name else ""
