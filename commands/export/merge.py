"""`python train.py merge`: an adapter as part of its base, in a whole diffusers pipeline folder.

    python train.py merge --output merged/my_style                       the run trained last
    python train.py merge --ckpt_path style.safetensors --model.base_model FOLDER --lora_scale 0.8 --output merged/soft

The folder is loaded by `StableDiffusionPipeline.from_pretrained(FOLDER)` as it is, without any LoRA. It is written
beside its place and loaded again; its picture must be the one that base and adapter paint, before it gets its name.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from commands.runs.lora_file import LoraOnBase, add_lora_options, find_lora_on_base
from commands.terminal.command_line import HelpfulParser
from foundation.missing_paths import hindrance
from lightning_modules.base.loading import Components, quiet_libraries
from lightning_modules.base.stock_pipeline import stock_pipeline, unet_without_adapter
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.merging import check_merge, merge_adapter, pictures_to_match

FROM_PURE_NOISE = {
    "_class_name": "DDIMScheduler",
    "clip_sample": False,  # its default clips at 1, meant for pixels; configs of other classes don't say
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
"""Of a scheduler's config: its pictures begin at pure noise (Lin et al. 2024)."""


def merge(args: Sequence[str]) -> None:
    """Run the command.

    Args:
        args: what follows `train.py merge`.

    Raises:
        ValueError: what the user can mend, or the merged model doesn't paint what it should.
    """
    given = _parser().parse_args(list(args))
    output = _free(given.output)
    found = find_lora_on_base(given)
    if output.resolve().is_relative_to(Path(found.base_model).resolve()):
        raise ValueError(
            f"--output {output} lies in the base itself, {found.base_model}: name another folder."
        )
    parts = found.load()
    if found.lora.said_of_base("zero_terminal_snr", found.base_model):  # trained so because its user said so
        parts.scheduler_config |= FROM_PURE_NOISE
    pipeline_class = type(stock_pipeline(parts, parts.unet))
    print(f"Merging {found.lora.path} x {given.lora_scale:g} into {found.base_model}", flush=True)
    base, expected = pictures_to_match(parts, given.lora_scale)
    beside = output.with_name(f".{output.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _write(beside, found, parts, given.lora_scale)
        del parts  # never two bases in memory
        with quiet_libraries():
            merged = pipeline_class.from_pretrained(beside, local_files_only=True, dtype=torch.float32)
            merged.set_progress_bar_config(disable=True)
        check = check_merge(merged, base, expected)
        if not check.passed:
            raise ValueError(
                f"the merged model paints something else than base and adapter (a colour value differs by "
                f"{check.max_difference:.5f} of 1), so it isn't kept. Nothing was written to {output}."
            )
        beside.rename(output)
    except OSError as error:
        raise ValueError(
            f"--output {output} can't be written ({error}). Free some space there, or name another folder."
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(
        f"Wrote {output}: it paints what base and adapter paint to within {check.max_difference:.5f}; the adapter "
        f"changes the base's picture by {check.effect:.2f}"
    )


def _write(folder: Path, found: LoraOnBase, parts: Components, scale: float) -> None:
    """The base with the adapter in it: all its parts, float32. The base in memory is the merged one afterwards."""
    with quiet_libraries():
        plain = unet_without_adapter(parts.unet)
        merge_adapter(plain, adapter_of(parts.unet), scale)
        pipeline = stock_pipeline(parts, plain)
        pipeline.save_pretrained(folder)


def _free(output: str | None) -> Path:
    """The folder to write.

    Raises:
        ValueError: none is given, or something is there already.
    """
    if not output:
        raise ValueError("--output is needed: the folder to write, which must not exist yet.")
    if Path(output).exists():
        raise ValueError(
            f"--output {output} exists already: name another folder, or take that one away first."
        )
    if why := hindrance(Path(output)):
        raise ValueError(f"--output {output} can't be written: {why}. Name another folder.")
    return Path(output)


def _parser() -> HelpfulParser:
    parser = HelpfulParser(prog="train.py merge", description="Write base and adapter as one model.")
    add_lora_options(parser)
    parser.add_argument(
        "--output", type=str | None, default=None, help="folder to write; it must not exist yet"
    )
    parser.add_argument(
        "--lora_scale", type=float, default=1.0, help="strength of the adapter; 1 is as trained"
    )
    return parser
