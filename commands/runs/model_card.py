"""The model card beside exported files: README.md with the header that the Hugging Face hub reads.

What it says comes from the files' own headers and from the run's folder: exposure.json (what was really trained on),
report/metrics.json (once `python train.py test` ran) and the newest sample grid. Nothing is measured here.
Format: https://huggingface.co/docs/hub/model-cards
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from callbacks.exposure_ledger import FILE as EXPOSURE
from evaluation.prompts import as_characters
from foundation.atomic_file import atomic_file
from lightning_modules.base.families.known import family_of_file
from lightning_modules.base.single_file import hub_file

CARD = "README.md"
GRID = "samples.png"
MARK = "<!-- Written by train.py; a card without this line is never overwritten. -->"
SETTINGS = {
    "base": "base model",
    "ss_network_dim": "rank",
    "ss_network_alpha": "alpha",
    "steps": "steps",
    "ss_total_batch_size": "pictures a step",
    "modelspec.resolution": "resolution",
    "ss_optimizer": "optimizer",
    "ss_learning_rate": "learning rate",
    "ss_lr_scheduler": "schedule",
    "ss_mixed_precision": "mixed precision",
    "ss_min_snr_gamma": "min-SNR gamma",
    "ss_caption_dropout_rate": "caption dropout",
    "ss_seed": "seed",
    "modelspec.date": "written",
}
SCORES = {
    "prompt_score": "CLIP score, own prompt",
    "style_score": "CLIP score, style prompt",
    "style_similarity": "likeness to held-out pictures",
}
NOTE = """\
The style of a LoRA belongs to the artists whose pictures it learned from. Trained on copyrighted pictures, it is for
**academic and research use only**: no commercial use, and respect the artists whose work it learned from. The licence
of the base model holds as well."""


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes:
        files: the exported files, all in one folder.
        facts: the header of one of them.
        digest: of the adapter that they hold, before any rounding.
        exposure: the run's ledger; empty where there is none.
        metrics: the run's report; empty where `test` hasn't run.
        grid: where the sample grid is, seen from the card; None without one.
    """

    files: Sequence[Path]
    facts: Mapping[str, str]
    digest: str
    exposure: Mapping[str, Any]
    metrics: Mapping[str, Any]
    grid: str | None


def write_model_card(files: Sequence[Path], digest: str, run: Path | None) -> Path:
    """Write the card of files that lie in one folder, beside them.

    Args:
        files: what was exported.
        digest: of the adapter, as `SavedAdapter.digest` gives it.
        run: the folder of the run; None for somebody else's file.

    Returns:
        The card: README.md, or where that is somebody else's `<first file>.md`.
    """
    folder = files[0].parent
    with safe_open(files[0], framework="pt") as file:
        facts = file.metadata()
    card = Card(
        files=files,
        facts=facts,
        digest=digest,
        exposure=_json(run / EXPOSURE) if run else {},
        metrics=_json(run / "report" / "metrics.json") if run else {},
        grid=_grid(run, folder) if run else None,
    )
    path = folder / CARD
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        path = files[0].with_suffix(".md")
    with atomic_file(path) as partial:
        partial.write_text(text(card), encoding="utf-8")
    return path


def text(card: Card) -> str:
    """The card in Markdown."""
    title = card.facts.get("modelspec.title", card.files[0].stem)
    parts = [
        _front_matter(card),
        MARK,
        f"# {plain(title)}",
        f"A style LoRA for {plain(card.facts.get('base', 'Stable Diffusion'))}.",
        f"![The same prompts and noise, painted by the base and with the LoRA]({card.grid})"
        if card.grid
        else "",
        "## How to use it\n\n" + _usage(card),
        "## What it was trained on\n\n" + _trained_on(card),
        "## Base against LoRA\n\n" + _scores(card),
        "## Settings\n\n" + _settings(card),
        f"## Please note\n\n{NOTE}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(value: object) -> str:
    """A value as words in Markdown: no table cell, tag or line of its own comes out of it."""
    words = " ".join(str(value).split())
    return (
        words.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace("|", "\\|")
        .replace("`", "'")
        .replace("[", "\\[")
    )


def _front_matter(card: Card) -> str:
    base = card.facts.get("ss_sd_model_name")
    place = hub_file(base or "")
    fields: dict[str, Any] = {
        "base_model": place[0] if place else base,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "license": "other",
        "license_name": "academic-and-research-use-only",
        "tags": ["lora", "stable-diffusion", "text-to-image", "diffusers", "style"],
        "instance_prompt": card.facts.get("modelspec.trigger_phrase"),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return "---\n" + yaml.safe_dump(given, sort_keys=False, allow_unicode=True) + "---"


def _usage(card: Card) -> str:
    trigger = card.facts.get("modelspec.trigger_phrase")
    lines = [_usage_trigger(trigger)] if trigger else []
    for path in card.files:
        lines.append(_usage_kohya(path) if _is_kohya(path) else _usage_diffusers(path, card))
    return "\n".join(lines)


def _usage_trigger(trigger: str) -> str:
    prompt = as_characters(trigger)
    bare = "" if prompt == trigger else f" (in diffusers, whose prompts have no weights, {_code(trigger)})"
    return f"Put {_code(prompt)} into the prompt{bare}.\n"


def _code(value: str) -> str:
    """A value as code in Markdown, in which only its end can be mistaken."""
    words = " ".join(value.split()).replace("`", "'")
    return f"`{words}`"


def _is_kohya(path: Path) -> bool:
    with safe_open(path, framework="pt") as file:
        return any(name.startswith("lora_unet_") for name in file.keys())  # noqa: SIM118 - no mapping


def _usage_kohya(path: Path) -> str:
    return (
        f"* **ComfyUI**: copy `{path.name}` into `models/loras` and put a *Load LoRA* node behind the checkpoint.\n"
        f"* **A1111, Forge**: copy `{path.name}` into `models/Lora` and write `<lora:{path.stem}:1>` into the prompt."
    )


def _usage_diffusers(path: Path, card: Card) -> str:
    base, pipeline = card.facts.get("ss_sd_model_name", "the base model"), family_of_file(card.facts).pipeline
    opened = "from_single_file" if base.endswith(".safetensors") else "from_pretrained"
    if place := hub_file(base):  # diffusers takes a path or an address
        base = f"https://huggingface.co/{place[0]}/blob/main/{place[1]}"
    given = repr(base)
    if variant := card.facts.get("base_variant"):  # diffusers looks for files of 32 bits unless it is told
        given += f", variant={variant!r}"
    return (
        "* **diffusers**:\n\n"
        "  ```python\n"
        f"  from diffusers import {pipeline}\n\n"
        f"  pipeline = {pipeline}.{opened}({given})\n"
        f"{_usage_of_v(card.facts)}"
        f'  pipeline.load_lora_weights("FOLDER_OF_THIS_CARD", weight_name={path.name!r})\n'
        "  ```\n"
    )


def _usage_of_v(facts: Mapping[str, str]) -> str:
    """What diffusers must be told of a base that predicts v: of a single file it doesn't see it, and folders err."""
    if facts.get("modelspec.prediction_type") != "v":
        return ""
    zero = facts.get("ss_zero_terminal_snr") == "True"
    more = ', rescale_betas_zero_snr=True, timestep_spacing="trailing"' if zero else ""
    return (
        "  pipeline.scheduler = type(pipeline.scheduler).from_config(\n"
        f'      pipeline.scheduler.config, prediction_type="v_prediction"{more}\n'
        "  )\n"
    )


def _trained_on(card: Card) -> str:
    groups: Mapping[str, Mapping[str, Any]] = card.exposure.get("groups") or {}
    if not groups:
        return "This file doesn't say which pictures it was trained on, or how often."
    lines = [
        "| group | pictures | planned draws | realised draws | times a picture | least | most |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in groups.items():
        row = [group.get(key, "") for key in ("pictures", "planned", "seen", "times_each", "least", "most")]
        lines.append("| " + " | ".join([plain(name), *(_number(value) for value in row)]) + " |")
    count = sum(int(group.get("pictures", 0)) for group in groups.values())
    verdict = "as planned" if card.exposure.get("as_planned") else "not quite as planned"
    return (
        f"{count} pictures, {card.exposure.get('draws', '?')} draws, {verdict}; counted from the batches that reached "
        "the training step.\n\n" + "\n".join(lines)
    )


def _scores(card: Card) -> str:
    rows = [row for name, label in SCORES.items() for row in _score_rows(label, card.metrics.get(name))]
    if not rows:
        return "Not measured yet: `python train.py test`, and then `python train.py export` writes it here."
    named = str((card.metrics.get("facts") or {}).get("adapter", "an adapter that it doesn't name"))
    tested = named.rpartition("/")[2]  # no machine path is published
    same = "" if card.digest[:12] in tested else " That is another adapter than this one."
    return "\n".join(
        [
            f"Measured on {plain(tested)}, against the base with the same prompts and the same noise.{same} Intervals "
            "are 95 % bootstrap intervals over prompts and seeds. CLIP measures how well picture and words match, not "
            "style.",
            "",
            "| score | group | prompts | base | LoRA | difference | |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def _score_rows(label: str, paired: Any) -> list[str]:
    if not isinstance(paired, dict) or "overall" not in paired:
        return []
    rows = []
    groups = paired.get("groups") or {}
    for group, found in {"all": paired["overall"], **(groups if len(groups) > 1 else {})}.items():
        cells = [_estimate(found[name]) for name in ("base", "lora", "difference")]
        line = [
            label,
            plain(group),
            f"{found['prompts']} x {found['seeds']}",
            *cells,
            plain(found["verdict"]),
        ]
        rows.append("| " + " | ".join(line) + " |")
    return rows


def _estimate(found: Mapping[str, float | None]) -> str:
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _settings(card: Card) -> str:
    rows = [
        f"| {label} | {plain(card.facts[name])} |" for name, label in SETTINGS.items() if name in card.facts
    ]
    return "\n".join(["| setting | value |", "| --- | --- |", *rows])


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else plain(value)


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a file; empty where there is none or it can't be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _grid(run: Path, folder: Path) -> str | None:
    """The newest sample grid, where the card can show it: a card that is moved takes what lies beside it along."""
    newest = max((run / "samples").glob("step_*.png"), default=None)
    if newest is None:
        return None
    if newest.resolve().is_relative_to(folder.resolve()):
        return newest.resolve().relative_to(folder.resolve()).as_posix()
    with atomic_file(folder / GRID) as partial:
        shutil.copyfile(newest, partial)
    return GRID
