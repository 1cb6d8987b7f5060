"""The Colab tour runs from top to bottom as it is committed, is committed with its outputs, and holds no logic."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.notebook_run import NOTEBOOK, run, scratch_copy
from train import main

pytestmark = pytest.mark.notebook

PICTURE_KINDS = {"image/png", "image/jpeg"}
LOGIC = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.For,
    ast.While,
    ast.Try,
    ast.With,
    ast.Match,
)


@dataclass(frozen=True)
class Tour:
    """The notebook after it ran, and the run that it left behind."""

    cells: list[NotebookNode]
    run: Path


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def as_python(cell: NotebookNode) -> ast.Module:
    """What IPython makes of a cell: its magics are calls."""
    return ast.parse(TransformerManager().transform_cell(cell.source))  # type: ignore[no-untyped-call]


def kinds(cell: NotebookNode) -> list[str]:
    """What a cell shows: "text" for what it prints, or the kind of a picture or table."""
    shown = [set(output.get("data", {})) - {"text/plain"} for output in cell.outputs]
    return [kind for one in shown for kind in sorted(one)]


def printed(cell: NotebookNode) -> str:
    """What a cell prints, errors and warnings too."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def cell_with(cells: list[NotebookNode], words: str) -> NotebookNode:
    """The only code cell with these words in it."""
    (found,) = [cell for cell in cells if words in cell.source]
    return found


@pytest.fixture(scope="module")
def committed() -> NotebookNode:
    """The notebook as it is committed."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """All cells executed with the committed settings; a cell that fails fails here."""
    folder = tmp_path_factory.mktemp("project")
    notebook = run(nbformat.read(NOTEBOOK, as_version=4), scratch_copy(folder))
    return Tour(code_cells(notebook), folder / "runs" / "tour")


def test_it_runs_and_shows_what_is_committed(tour: Tour, committed: NotebookNode) -> None:
    assert [kinds(cell) for cell in tour.cells] == [kinds(cell) for cell in code_cells(committed)]
    assert "Traceback" not in "".join(map(printed, tour.cells))


def test_a_command_that_refuses_fails_its_cell(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell("import sys\n\nsys.exit(2)")])
    with pytest.raises(CellExecutionError, match="SystemExit"):
        run(notebook, tmp_path)


def test_training_stops_and_goes_on(tour: Tour) -> None:
    first, second = (printed(cell) for cell in tour.cells if 'train.main(["fit"' in cell.source)
    assert "Done: 20 steps" in first
    assert "Done: 40 steps, 20 of them in this process" in second


def test_it_shows_grids_plots_and_painted_pictures(tour: Tour) -> None:
    expected = {
        "samples/*.png": 1,
        "make_image_grid([": 1,
        "side_by_side_*.png": 2,  # portraits and landscapes
        "clip_scores.png": 1,
        "prompt_engineering_grid.png": 4,  # and a plot each of style score, likeness and prompt score
        '"predict"': 1,
        "strengths_*.png": 3,  # the curve, and a strip a group
    }
    shown = {words: kinds(cell_with(tour.cells, words)) for words in expected}
    assert {words: len(pictures) for words, pictures in shown.items()} == expected
    assert {kind for pictures in shown.values() for kind in pictures} <= PICTURE_KINDS


def test_the_table_holds_the_figures_of_metrics_json(tour: Tour) -> None:
    (output,) = cell_with(tour.cells, "Markdown(").outputs
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in output.data["text/markdown"].splitlines()
    ]
    found = json.loads((tour.run / "report" / "metrics.json").read_text())
    names = ("prompt_score", "style_score", "style_similarity")
    for row, one in zip(rows[2:], (found[name]["overall"] for name in names), strict=True):
        assert [float(cell) for cell in row[1:4]] == pytest.approx(
            [one["base"]["value"], one["lora"]["value"], one["difference"]["value"]], abs=0.005
        )
        assert row[5] == one["verdict"]


def test_the_short_training_teaches_some_of_the_style(tour: Tour) -> None:
    found = json.loads((tour.run / "report" / "metrics.json").read_text())
    assert found["style_score"]["overall"]["difference"]["low"] > 0


def test_it_is_committed_as_it_ran(committed: NotebookNode) -> None:
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not [cell for cell in cells if "execution" in cell.metadata]
    assert NOTEBOOK.stat().st_size < 1_500_000


def test_its_outputs_name_no_machine(committed: NotebookNode) -> None:
    texts = [printed(cell) for cell in code_cells(committed)]
    texts += [
        output.data.get(kind, "")
        for cell in code_cells(committed)
        for output in cell.outputs
        for kind in ("text/plain", "text/markdown")
        if "data" in output
    ]
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work|var|opt|usr|Users)\b\S*", "".join(texts)) == []


def test_it_only_calls_the_project(committed: NotebookNode) -> None:
    trees = [as_python(cell) for cell in code_cells(committed)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    assert [ast.unparse(node) for node in nodes if isinstance(node, LOGIC)] == []
    assert max(len(ast.unparse(tree).splitlines()) for tree in trees) <= 20
    called = [
        node.func.attr
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert called.count("main") == 4  # fit, fit, test, predict


def test_no_cell_is_too_wide_to_read(committed: NotebookNode) -> None:
    assert [
        line for cell in code_cells(committed) for line in cell.source.splitlines() if len(line) > 120
    ] == []


def test_the_switch_selects_the_real_model_with_options_that_exist(
    committed: NotebookNode, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = cell_with(code_cells(committed), "REAL_MODEL = False").source
    names: dict[str, object] = {}
    exec(settings.replace("REAL_MODEL = False", "REAL_MODEL = True"), names)
    configs, precision = names["CONFIGS"], names["PRECISION"]
    assert isinstance(configs, list)
    assert isinstance(precision, list)
    for command, options in (("fit", configs), ("test", precision), ("predict", precision)):
        with pytest.raises(SystemExit) as stop:
            main([command, *options, "--print_config"])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        assert "precision: 16-mixed" in shown
        if command == "fit":
            assert f"base_model: {names['BASE']}" in shown
            assert "folder: /content/drive/MyDrive/ghibli" in shown
