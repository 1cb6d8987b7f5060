"""The set-up cell and the default run in an environment like Colab's (`colab_packages.txt`).

It takes some minutes and 6 GB of disk, and a package index; with the folder of an environment in COLAB_ENVIRONMENT that
one is made, or used again. What is tested is what is committed.

    pytest -m slow tests/test_colab.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = Path(__file__).with_name("colab_packages.txt")
LIFTED = {"diffusers", "huggingface_hub"}
"""What the set-up may exchange; all else that Colab has stays as it is."""

COLAB = """
import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The folder of programs of an environment with Colab's packages."""
    folder = Path(os.environ.get("COLAB_ENVIRONMENT", tmp_path / "environment"))
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "-r", PACKAGES], check=True)
    return folder / "bin"


def installed(environment: Path) -> dict[str, str]:
    """Versions by name."""
    listed = subprocess.run(
        [environment / "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    return {row["name"]: row["version"] for row in json.loads(listed.stdout)}


def set_up_cells(content: Path) -> Iterator[str]:
    """The notebook's first cells, for another place than Colab's."""
    notebook = json.loads((ROOT / "notebooks" / "ghibli_lora.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells[: 1 + next(i for i, cell in enumerate(cells) if "pip install" in cell)]:
        own = cell.replace("https://github.com/OWNER/NAME.git", str(ROOT))
        yield own.replace("/content/", f"{content}/")


def test_the_notebooks_set_up_and_the_default_run(environment: Path, tmp_path: Path) -> None:
    before = installed(environment)
    (tmp_path / "set_up.ipy").write_text("\n".join([COLAB, *set_up_cells(tmp_path)]))
    inside = {**os.environ, "PATH": f"{environment}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([environment / "ipython", "set_up.ipy"], cwd=tmp_path, env=inside, check=True)
    after = installed(environment)
    assert {name for name, version in before.items() if after.get(name) != version} <= LIFTED
    subprocess.run([environment / "pip", "check"], check=True)
    done = subprocess.run(
        [environment / "python", "train.py", "fit", "--trainer.max_steps", "20"],
        cwd=tmp_path / "style-lora",
        env=inside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("in a fresh stock pipeline the adapter paints what it paints in memory") == 2
    assert (tmp_path / "style-lora" / "runs" / "demo" / "demo_kohya.safetensors").is_file()
