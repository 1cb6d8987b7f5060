"""Runs the notebook from its first cell to its last, in a scratch copy of the project.

    python -m tests.notebook_run    writes the outputs into notebooks/ghibli_lora.ipynb, to be committed

`test_notebook.py` runs it the same way. The copy takes over what a run would otherwise make first: the painted style
set and the cache, where they are there.
"""

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "ghibli_lora.ipynb"
LEFT_OUT = {".git", "runs", "cache", "demo", "notebooks"}
PATIENCE = 120
"""Seconds that a busy machine may take to start a kernel or to send a cell's last output."""


def scratch_copy(folder: Path) -> Path:
    """The project as a notebook finds it, with no run in it.

    Returns:
        the copy's `notebooks` folder, in which Jupyter starts.
    """
    for item in ROOT.iterdir():
        if item.name not in LEFT_OUT:
            (folder / item.name).symlink_to(item)
    (folder / "demo").mkdir()
    for item in (ROOT / "demo").iterdir():
        (folder / "demo" / item.name).symlink_to(item)
    if (ROOT / "cache").exists():
        shutil.copytree(ROOT / "cache", folder / "cache")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    return folder / "notebooks"


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Execute all cells in place.

    Args:
        notebook: to execute; what it held of outputs is replaced.
        folder: in which the kernel starts.

    Raises:
        CellExecutionError: of the first cell that fails.
    """
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    # a user's own start-up files and settings of IPython have no say
    with patch.dict(os.environ, {"IPYTHONDIR": str(folder / ".ipython")}):
        client.execute()
    return notebook


def main() -> None:
    """Write the committed outputs anew."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as scratch:
        run(notebook, scratch_copy(Path(scratch)))
    notebook.metadata["language_info"] = {"name": "python"}  # not this machine's version
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
