"""The report's files: a page to look at, `metrics.json`, the plots and grids as PNGs, and all of it for TensorBoard.

Each is written beside its place and renamed, `metrics.json` last: where it is, the report is whole.
"""

import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from evaluation.bootstrap import Estimate
from evaluation.findings import findings
from evaluation.grids import GridRow, comparison_grid
from evaluation.page import write_page
from evaluation.paired import Paired
from evaluation.report import Report
from evaluation.report_page import clip_score_plot, interaction_plots, report_page, strength_plot
from foundation.atomic_file import atomic_file

PAGE, METRICS = "report.html", "metrics.json"


def write_report(report: Report, rows: Sequence[Mapping[str, Any]], pictures: Path, folder: Path) -> None:
    """Write everything into the folder.

    Args:
        report: what was found.
        rows: each picture with its scores.
        pictures: the folder of the painted pictures.
        folder: of the report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).unlink(missing_ok=True)
    images = dict(_images(report))
    for old in {*folder.glob("*.png")} - {folder / f"{name}.png" for name in images}:
        old.unlink()  # of an older report, with other groups
    for name, image in images.items():
        with atomic_file(folder / f"{name}.png") as partial:
            image.save(partial, format="PNG")
    _to_tensorboard(report, images, folder)
    write_page(report_page(report), folder / PAGE)
    metrics = {
        "title": report.title,
        "labels": [report.base_label, report.lora_label],
        "style_prompt": report.style_prompt,
        "enhancement": report.enhancement,
        "facts": dict(report.facts),
        **report.measured.to_json(),
        "pictures_folder": os.path.relpath(pictures, folder),
        "pictures": list(rows),
    }
    with atomic_file(folder / METRICS) as partial:
        partial.write_text(json.dumps(metrics, indent=1, allow_nan=False), encoding="utf-8")


def _images(report: Report) -> Iterator[tuple[str, Image.Image]]:
    """Plots and grids by the names of their files."""
    labels = (report.base_label, report.lora_label)
    for number, group in enumerate(dict.fromkeys(row.group for row in report.side_by_side), 1):
        rows = [
            GridRow(row.prompt, _tensors(row.base, row.lora))
            for row in report.side_by_side
            if row.group == group
        ]
        name = "".join(letter if letter.isalnum() else "_" for letter in group) or str(number)
        yield f"side_by_side_{name}", comparison_grid(group, labels, rows)
    yield "clip_scores", clip_score_plot(report)
    if report.near_pairs:
        near = [
            GridRow(f"{pair.prompt} | {pair.name}", _tensors(pair.sample, pair.training))
            for pair in report.near_pairs
        ]
        yield "nearest_training_pictures", comparison_grid("Nearest first", ("painted", "training"), near)
    if report.measured.strength is not None:
        yield "strength_sweep", strength_plot(report.measured.strength)
        for number, strip in enumerate(report.strips, 1):
            columns = [f"{strength:g}" for strength in strip.pictures]
            row = GridRow(strip.prompt, _tensors(*strip.pictures.values()))
            yield f"strengths_{number}", comparison_grid("Strength", columns, [row], cell_width=160)
    for number, image in enumerate(interaction_plots(report), 1):
        yield f"prompt_engineering_{number}", image
    if report.four_ways:
        columns = [
            f"{label}, {kind}" for label in ("base", "LoRA") for kind in ("plain", "with the addition")
        ]
        four = [
            GridRow(one.plain, _tensors(one.base_plain, one.base_enhanced, one.lora_plain, one.lora_enhanced))
            for one in report.four_ways
        ]
        yield "prompt_engineering_grid", comparison_grid(report.enhancement, columns, four)


def _tensors(*images: Image.Image) -> list[Tensor]:
    """Pictures as float [3, H, W] in [0, 1]."""
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 for image in images]


def _to_tensorboard(report: Report, images: Mapping[str, Image.Image], folder: Path) -> None:
    """Numbers, pictures and answers under `test/`, in the place of an older report's."""
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(folder) as writer:
        for name, value in _scalars(report):
            writer.add_scalar(f"test/{name}", value, 0)
        for name, image in images.items():
            writer.add_image(f"test/{name}", np.asarray(image), 0, dataformats="HWC")
        answers = [
            f"**{html.escape(found.answer)}** {html.escape(' '.join(found.figures))}"
            for found in findings(report)
        ]
        writer.add_text("test/answers", "\n\n".join(answers), 0)


def _scalars(report: Report) -> Iterator[tuple[str, float]]:
    """Means and paired differences with their intervals, over all prompts and by group."""
    measured = report.measured
    for name in ("prompt_score", "style_score", "style_similarity"):
        found: Paired | None = getattr(measured, name)
        for group, one in {"": found.overall, **found.groups}.items() if found else ():
            end = f"/{group}" if group else ""
            yield f"{name}/base{end}", one.base.value
            yield f"{name}/lora{end}", one.lora.value
            yield from _with_ends(f"{name}/difference{end}", one.difference)
    if measured.style_distance is not None:
        yield "cmmd/base", measured.style_distance.overall.base
        yield "cmmd/lora", measured.style_distance.overall.lora
    if measured.diversity is not None:
        yield "diversity/kept", measured.diversity.overall.kept.value
    if measured.memorisation is not None:
        yield "memorisation/alarm", float(measured.memorisation.alarm)
    for number, found_interaction in enumerate(measured.enhancement.values(), 1):
        yield from _with_ends(f"prompt_engineering/interaction_{number}", found_interaction.interaction)


def _with_ends(name: str, estimate: Estimate) -> Iterator[tuple[str, float]]:
    yield name, estimate.value
    if estimate.low is not None and estimate.high is not None:
        yield f"{name}/low", estimate.low
        yield f"{name}/high", estimate.high
