"""Rows of measurements as Markdown tables and as JSON, with the machine that they are from."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.step_table import MiddleHalf
from benchmarks.time_budget import Row
from foundation.atomic_file import atomic_file


@dataclass
class Report:
    """Everything that was measured so far.

    Attributes:
        machine: what it was measured on.
        settings: of the measurement.
        sections: rows by section, in their order.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    sections: dict[str, list[Row]] = field(default_factory=dict)

    def text(self) -> str:
        """All tables."""
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return "\n\n".join([f"{facts}.", *(self.section(title) for title in self.sections)])

    def section(self, title: str) -> str:
        """One section: what was counted and timed, and in a table of its own what memory was held."""
        rows = self.sections[title]
        columns = list(dict.fromkeys(name for row in rows for name in row.measured or ()))
        of_memory = [name for name in columns if name.endswith("GB")]
        tables = [table(rows, [name for name in columns if name not in of_memory])]
        tables += [table(rows, of_memory)] if of_memory else []
        return "\n\n".join([f"## {title}", *tables])

    def write(self, folder: Path) -> Path:
        """Write `CARD_DATE.json`, and the tables as `.md` beside it, both whole; returns the first."""
        name = re.sub(r"\W+", "-", f"{self.machine['card']} {self.machine['date']}").strip("-")
        path = folder / f"{name}.json"
        content = json.dumps(as_json(vars(self)), indent=1, ensure_ascii=False)
        for file, text in ((path, content), (path.with_suffix(".md"), self.text())):
            with atomic_file(file) as partial:
                partial.write_text(text + "\n", encoding="utf-8")
        return path


def as_json(value: Any) -> Any:
    """What JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    if isinstance(value, dict):
        return {name: as_json(one) for name, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list | tuple) else value


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Rows of one section with some of their columns."""
    lines = [["", *columns], ["---"] * (len(columns) + 1), *(cells(row, columns) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """A row's line; why it wasn't measured stands in its first column."""
    if row.measured is None:
        return [f"{row.what}: {row.why_not}", *([""] * len(columns))]
    return [row.what, *(cell(row.measured.get(name)) for name in columns)]


def cell(value: Any) -> str:
    """A value in four digits; what isn't known is -."""
    if isinstance(value, MiddleHalf):
        return f"{value.median:.4g} ({value.low:.4g} to {value.high:.4g})"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value).replace("|", "\\|")


def this_machine() -> dict[str, Any]:
    """The card, or the processor where there is none, and what drives it."""
    processor = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    software = {
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }
    if not torch.cuda.is_available():
        return {"card": "no card", **processor, **software}
    facts = torch.cuda.get_device_properties(0)
    return {
        "card": torch.cuda.get_device_name(0),
        "capability": "{}.{}".format(*torch.cuda.get_device_capability(0)),
        "memory, GB": round(facts.total_memory / 1e9, 2),
        "driver": driver(),
        "CUDA": torch.version.cuda,
        **processor,
        **software,
    }


def driver() -> str:
    """The version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.split("\n")[0].strip()
