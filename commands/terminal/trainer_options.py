"""Which of Lightning's trainer options mean something here, and with which values: asked before anything is loaded.

Training is one endless epoch that `max_steps` ends, logged and checkpointed by this project's own callbacks. Options
that would break that, or do nothing, are refused with what to use instead. The rest is about the machine: devices,
accelerator and precision that it has.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from commands.terminal.option_errors import did_you_mean

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
OTHER_SPELLINGS = {
    "32": "32-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "None": "32-true",
}
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook", "single_device")

NEVER = "Training is one endless epoch, ended by --trainer.max_steps"
NOT_HERE: dict[str, tuple[tuple[Any, ...], str]] = {
    "max_epochs": ((-1, None), f"{NEVER}; it counts no epochs."),
    "min_epochs": ((None,), f"{NEVER}; it counts no epochs."),
    "min_steps": ((None,), "Set --trainer.max_steps alone."),
    "limit_train_batches": ((None, 1.0), f"{NEVER}. Set that."),
    "overfit_batches": ((0, 0.0), "To fit few pictures, put them in a folder of their own."),
    "fast_dev_run": ((False,), "For a short run set --trainer.max_steps 2."),
    "check_val_every_n_epoch": ((None,), "Validation goes by optimizer steps: --trainer.val_check_interval."),
    "reload_dataloaders_every_n_epochs": ((0,), NEVER + "."),
    "use_distributed_sampler": ((False,), "The stream deals its pictures over the processes itself."),
    "default_root_dir": ((None,), "A run lies in --runs FOLDER under --name NAME."),
    "logger": ((None, True), "A run logs to TensorBoard, in its own folder."),
    "enable_checkpointing": (
        (None, True),
        "Checkpoints are written by --checkpoints.every_n_steps and .minutes.",
    ),
    "barebones": ((False,), "It leaves out checkpoints and logs, which a run needs."),
    "max_time": (
        (None,),
        "Set --max_minutes: it stops between two steps, with a checkpoint and the exports.",
    ),
    "model_registry": ((None,), "A run's files lie in its own folder."),
    "sync_batchnorm": ((False,), "Stable Diffusion has no batch norm."),
}
"""Options of `fit` that are refused unless they have one of these values, with what to do instead."""

FEWER_PROMPTS = "All pictures are painted; for fewer, give fewer prompts."
NOT_PAINTING: dict[str, tuple[tuple[Any, ...], str]] = {
    "limit_predict_batches": ((None, 1.0), FEWER_PROMPTS),
    "fast_dev_run": ((False,), FEWER_PROMPTS),
    "max_steps": ((-1,), "Nothing is trained here."),
    "max_epochs": ((None,), "Nothing is trained here."),
    "max_time": ((None,), "Stop it with Ctrl-C; run again, it paints what is missing."),
    "callbacks": ((None,), "Pictures are written by a callback of its own."),
    "barebones": ((False,), "It leaves out the callbacks that write the pictures."),
}
"""The same of commands that only paint."""

OTHER_CALLBACKS = {
    "ModelCheckpoint": "Checkpoints are written by --checkpoints.every_n_steps and .minutes.",
    "OnExceptionCheckpoint": "Checkpoints are written by --checkpoints.every_n_steps and .minutes.",
    "Timer": "Set --max_minutes.",
    "WeightAveraging": "Set --model.ema_decay.",
    "EMAWeightAveraging": "Set --model.ema_decay.",
    "StochasticWeightAveraging": "Set --model.ema_decay.",
    "GradientAccumulationScheduler": "Set --trainer.accumulate_grad_batches.",
}
"""Callbacks of Lightning's whose work is done by something of this trainer's, with what to set."""


def check_training(options: Mapping[str, Any]) -> None:
    """Check the trainer options of `fit`.

    Args:
        options: `trainer.*` by name, as parsed.

    Raises:
        ValueError: with everything that is wrong.
    """
    _refuse(
        [
            *_not_here(options, NOT_HERE),
            *_of_callbacks(options.get("callbacks")),
            *_of_training(options),
            *_of_the_machine(options),
        ]
    )


def check_painting(options: Mapping[str, Any]) -> None:
    """Check the trainer options of commands that only paint.

    Raises:
        ValueError: with everything that is wrong.
    """
    _refuse([*_not_here(options, NOT_PAINTING), *_of_the_machine(options)])


def check_planned(options: Mapping[str, Any]) -> None:
    """Check the trainer options that memory depends on, for a machine that isn't this one.

    Raises:
        ValueError: the precision can't train the adapter.
    """
    planned_on_cpu = options["accelerator"] == "cpu"
    _refuse(list(_of_precision(str(options["precision"]), on_gpu=False, on_cpu=planned_on_cpu)))


def on_cuda(accelerator: Any) -> bool:
    """Whether `--trainer.accelerator` means a GPU with CUDA here."""
    return accelerator not in ("cpu", "mps") and _cuda()


def on_cpu(accelerator: Any) -> bool:
    """Whether `--trainer.accelerator` means the CPU here."""
    return accelerator == "cpu" or not (_cuda() or torch.backends.mps.is_available())


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("\n".join(f"--trainer.{problem}" for problem in problems))


def _not_here(
    options: Mapping[str, Any], refused: Mapping[str, tuple[tuple[Any, ...], str]]
) -> Iterator[str]:
    for name, (allowed, instead) in refused.items():
        value = options.get(name)
        if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
            shown = value if isinstance(value, int | float | str) else type(value).__name__
            yield f"{name} is {shown}, which isn't for this trainer: leave it out. {instead}"


def _of_callbacks(callbacks: Any) -> Iterator[str]:
    for one in callbacks if isinstance(callbacks, list) else [callbacks]:
        name = str(getattr(one, "class_path", "")).rpartition(".")[2]
        if name in OTHER_CALLBACKS:
            yield f"callbacks has {name}, which isn't for this trainer: leave it out. {OTHER_CALLBACKS[name]}"


def _of_training(options: Mapping[str, Any]) -> Iterator[str]:
    for name, what in (
        ("max_steps", "optimizer steps of the run"),
        ("accumulate_grad_batches", "batches of a step"),
    ):
        if options[name] < 1:
            yield f"{name} is {options[name]}; it must be at least 1, the {what}."
    interval = options["val_check_interval"]
    if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
        yield (
            f"val_check_interval is {interval}; it must be a whole number of optimizer steps, at least 1. To "
            "validate never, set --trainer.limit_val_batches 0."
        )
    clip, how = options.get("gradient_clip_val"), options.get("gradient_clip_algorithm")
    if clip is not None and clip < 0:
        yield f"gradient_clip_val is {clip}; it must be above 0, or null to clip nothing."
    if how not in (None, "norm", "value"):
        yield f"gradient_clip_algorithm is {how}; it must be norm or value."
    limit = options.get("limit_val_batches")
    if limit is not None and (limit < 0 or (isinstance(limit, float) and limit > 1)):
        yield f"limit_val_batches is {limit}; it must be a number of batches, 0 or more, or a part from 0.0 to 1.0."
    sanity = options.get("num_sanity_val_steps")
    if sanity is not None and sanity < -1:
        yield f"num_sanity_val_steps is {sanity}; it must be 0 (none) or more batches, or -1 for all."
    if options["log_every_n_steps"] is not None and options["log_every_n_steps"] < 1:
        yield f"log_every_n_steps is {options['log_every_n_steps']}; it must be at least 1."


def _of_the_machine(options: Mapping[str, Any]) -> Iterator[str]:
    accelerator = options["accelerator"]
    if isinstance(accelerator, str):
        problem = _of_accelerator(accelerator)
        if problem:
            yield problem
            return
    on_gpu = on_cuda(accelerator)
    yield from _of_precision(str(options["precision"]), on_gpu=on_gpu, on_cpu=on_cpu(accelerator))
    yield from _of_devices(options["devices"], on_gpu=on_gpu)
    yield from _of_processes(options["strategy"], options["num_nodes"])


def _of_accelerator(name: str) -> str:
    if name not in ACCELERATORS:
        close = next((one for one in ACCELERATORS if one[:2] == name[:2]), None)
        return f"accelerator is {name}; it must be one of {', '.join(ACCELERATORS)}.{did_you_mean(close)}"
    if (
        name in ("gpu", "cuda") and not _cuda() and not (name == "gpu" and torch.backends.mps.is_available())
    ) or (name == "mps" and not torch.backends.mps.is_available()):
        return (
            f"accelerator is {name}, but PyTorch sees none on this machine. Choose auto or cpu; on Colab, choose a "
            "GPU runtime; elsewhere, check the driver and that this PyTorch was built for it."
        )
    return ""


def _of_precision(given: str, *, on_gpu: bool, on_cpu: bool) -> Iterator[str]:
    precision = OTHER_SPELLINGS.get(given, given)
    if precision not in PRECISIONS:
        yield (
            f"precision is {given}; valid here: {', '.join(PRECISIONS)}. The adapter must stay float32, so the "
            "-true 16-bit modes can't train it."
        )
    if precision == "16-mixed" and on_cpu:
        yield (
            f"precision is {given}, but this run is on the CPU, which has no fp16 arithmetic for training. Take "
            "32-true or bf16-mixed, or a machine with a GPU."
        )
    # with emulation, PyTorch says yes on any card
    if precision == "bf16-mixed" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        yield (
            f"precision is {given}, but this card ({torch.cuda.get_device_name()}) has no bf16. Take 16-mixed."
        )


def _of_devices(devices: Any, *, on_gpu: bool) -> Iterator[str]:
    there = torch.cuda.device_count() if on_gpu else os.cpu_count() or 1
    kind = "GPUs" if on_gpu else "processor cores"
    wanted = f"auto, or a number from 1 to {there}, the {kind} of this machine"
    if devices in ("auto", "-1", -1) and (on_gpu or devices == "auto"):
        return
    if on_gpu and (isinstance(devices, list) or "," in str(devices)):
        given = devices if isinstance(devices, list) else str(devices).strip("[]").split(",")
        numbers = [str(one).strip() for one in given if str(one).strip()]
        if not numbers or any(not one.isdecimal() or int(one) >= there for one in numbers):
            yield f"devices is {devices}; it must be {wanted}, or a list of their numbers from 0 to {there - 1}."
        return
    if not str(devices).isdecimal() or not 1 <= int(devices) <= there:
        yield f"devices is {devices}; it must be {wanted}."


def _of_processes(strategy: Any, nodes: Any) -> Iterator[str]:
    if isinstance(strategy, str) and not strategy.startswith(STRATEGIES):
        yield (
            f"strategy is {strategy}; valid here: {', '.join(STRATEGIES)}. Each process holds the whole model, so "
            "those that split it aren't for this trainer."
        )
    together = any(
        name in os.environ
        for name in ("MASTER_ADDR", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "KUBERNETES_PORT")
    )
    if nodes < 1 or (nodes > 1 and not together):
        yield (
            f"num_nodes is {nodes}; it must be 1, unless a launcher (torchrun, SLURM) starts this command on several "
            "machines: it would wait for them for ever."
        )


def _cuda() -> bool:
    return torch.cuda.is_available()
