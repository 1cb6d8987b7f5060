"""`python train.py export`: a trained adapter, or anybody's LoRA file, as the file that another program loads.

    python train.py export                                          the run trained last, in both formats
    python train.py export --ckpt_path runs/my_style/checkpoints/best.ckpt --format kohya --dtype fp16
    python train.py export --ckpt_path bought.safetensors --model.base_model FOLDER --format diffusers

Each file is loaded again into a fresh stock pipeline and must paint what the adapter in memory paints; of a kohya file
every tensor's name is one that ComfyUI and A1111 know. A model card (README.md) is written beside.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from callbacks.lora_export import outcome
from commands.runs.lora_file import LoraFile, LoraOnBase, add_lora_options, find_lora_on_base
from commands.runs.model_card import write_model_card
from commands.terminal.command_line import HelpfulParser
from foundation.adapter_export import LoraFormat
from foundation.missing_paths import hindrance
from lightning_modules.base.loading import describe_base, unet_without_weights
from lightning_modules.lora.adapter import Adapter, describe
from lightning_modules.lora.export_check import check_export
from lightning_modules.lora.read_back import verify_file
from lightning_modules.lora.reading import PICKLED, SavedAdapter, read_adapter, unet_adapter
from lightning_modules.lora.writing import Dtype, write_adapter

FAILED = 1
"""Exit status when a file doesn't paint what it should."""

MIXED_ALPHAS = (
    "its alphas differ by layer. ComfyUI and A1111 honour that; diffusers 0.42 reads such a kohya file with wrong "
    "strengths, so give diffusers the diffusers file."
)


def export(args: Sequence[str]) -> None:
    """Run the command.

    Args:
        args: what follows `train.py export`.

    Raises:
        ValueError: what the user can mend.
        SystemExit: status 1, a written file failed its test.
    """
    given = _parser().parse_args(list(args))
    found = find_lora_on_base(given)
    lora, saved = found.lora, found.saved
    facts = header_facts(saved, describe_base(found.base_model, found.base_config, found.prediction_type))
    formats: tuple[LoraFormat, ...] = (given.format,) if given.format else get_args(LoraFormat)
    targets = {format: target(lora, format, given.dtype, given.output) for format in formats}
    _refuse_own_source(lora, targets)
    for path in targets.values():
        _check_place(path)

    unet = unet_without_weights(found.base_model, found.base_config)
    adapter = unet_adapter(saved, unet)
    print(f"Adapter: {lora.path} ({describe(adapter)}) on {facts['base']}", flush=True)
    for format, path in targets.items():
        _write(path, adapter, format, facts, given.dtype)
        verify_file(path, adapter, unet, given.dtype)
        print(f"Wrote {path} ({format}, {given.dtype})", flush=True)
        if format == "kohya" and len({adapter.alpha(layer) for layer in adapter.strengths}) > 1:
            print(f"Note: {MIXED_ALPHAS}", flush=True)
    passed = not given.self_test or _test(list(targets.values()), found)
    print(f"Wrote {write_model_card(list(targets.values()), saved.digest, lora.run)}", flush=True)
    if not passed:
        sys.exit(FAILED)


def header_facts(saved: SavedAdapter, base: Mapping[str, str]) -> dict[str, str]:
    """What the new file's header says: what the old one said of its making, and what the base is.

    Args:
        saved: what is exported; a file of somebody else keeps its title, tags and so on.
        base: of `describe_base`. What the adapter was trained on is better known to its own file.
    """
    own: dict[str, str] = {
        name: saved.metadata[name] for name in ("base", "ss_sd_model_name") if name in saved.metadata
    }
    return {**saved.metadata, **base, **own}


def target(lora: LoraFile, format: LoraFormat, dtype: Dtype, output: str | None) -> Path:
    """Where a file goes.

    Args:
        lora: the adapter; files of a run go to its `exports`, others lie beside their source.
        format: ends the name, so that both can lie side by side.
        dtype: stands in the name unless it is fp32.
        output: a folder or a .safetensors file, if given.

    Raises:
        ValueError: `output` is a file of another kind.
    """
    if output is not None and Path(output).suffix == ".safetensors":
        return Path(output)
    if output == "":
        raise ValueError("--output is empty: give a folder or a .safetensors name, or leave it out.")
    if output is not None and (Path(output).is_file() or Path(output).suffix in (".ckpt", *PICKLED)):
        raise ValueError(
            f"--output {output} is a file of another kind: give a folder or a .safetensors name."
        )
    folder = Path(output) if output else lora.run / "exports" if lora.run else lora.path.parent
    stem = lora.name.removesuffix("_kohya") + ("" if dtype == "fp32" else f"_{dtype}")
    return folder / f"{stem}_{format}.safetensors"


def _refuse_own_source(lora: LoraFile, targets: Mapping[LoraFormat, Path]) -> None:
    """Nothing is written over what it is made of, and two formats don't go into one file."""
    if len(set(targets.values())) < len(targets):
        raise ValueError(
            f"--output {next(iter(targets.values()))} is one file, for two formats: add --format diffusers or --format "
            "kohya, or give a folder."
        )
    for path in targets.values():
        if path.resolve() == lora.path.resolve():
            raise ValueError(f"{path} is what would be exported: give another place with --output.")


def _check_place(path: Path) -> None:
    """Nothing is written over what is no adapter, a model's weights say, nor below a file."""
    if path.is_file():
        try:
            read_adapter(path, "--output")
        except ValueError as error:
            raise ValueError(
                f"--output {path} is there already and is no whole adapter file, so it isn't written over. Name "
                "another, or take it away first."
            ) from error
    if why := hindrance(path):
        raise ValueError(f"--output {path} can't be written: {why}. Name another folder.")


def _write(path: Path, adapter: Adapter, format: LoraFormat, facts: Mapping[str, str], dtype: Dtype) -> None:
    try:
        write_adapter(path, adapter, format, facts, dtype)
    except OSError as error:
        raise ValueError(
            f"{path} can't be written ({error}). Free some space there, or name another place with --output."
        ) from error


def _test(paths: Sequence[Path], found: LoraOnBase) -> bool:
    """Compare each file's picture with memory's; a file that can't be told from the base passes."""
    parts = found.load()
    passed = True
    for path in paths:
        check = check_export(path, parts)
        if check.passed or check.effect == 0:
            print(f"Tested {path.name}: {outcome(check)}", flush=True)
        else:
            passed = False
            print(f"error: {path} failed its test: {outcome(check)}. Don't rely on it.", file=sys.stderr)
    return passed


def _parser() -> HelpfulParser:
    parser = HelpfulParser(prog="train.py export", description="Write an adapter for another program.")
    options: dict[str, tuple[Any, Any, str]] = {
        "--format": (LoraFormat | None, None, "diffusers, or kohya for ComfyUI and A1111 (default: both)"),
        "--dtype": (Dtype, "fp32", "what the numbers are stored in"),
        "--output": (str | None, None, "folder or .safetensors file (default: the run's exports)"),
        "--self_test": (bool, True, "load each file into a fresh pipeline and compare pictures"),
    }
    add_lora_options(parser)
    for name, (kind, default, text) in options.items():
        parser.add_argument(name, type=kind, default=default, help=text)
    return parser
