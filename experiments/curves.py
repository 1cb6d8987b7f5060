"""How the loss on the held-out pictures fell, group by group, from what each training logged for TensorBoard."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAG = "val/loss_group/"

Curve = Mapping[int, float]  # optimizer step -> loss
Curves = Mapping[str, Mapping[str, Curve]]  # arm -> group -> curve


def read_curves(runs: Mapping[str, Sequence[Path]]) -> Curves:
    """Mean curves over the training seeds.

    Args:
        runs: arm -> the run folder of each seed.

    Returns:
        arm -> group -> step -> loss; steps that every seed has.
    """
    return {arm: _mean([_read(folder) for folder in folders]) for arm, folders in runs.items()}


def _mean(of_seeds: Sequence[Mapping[str, Curve]]) -> dict[str, Curve]:
    groups = [group for group in of_seeds[0] if all(group in curves for curves in of_seeds)]
    means: dict[str, Curve] = {}
    for group in groups:
        steps = sorted(set.intersection(*(set(curves[group]) for curves in of_seeds)))
        means[group] = {step: statistics.fmean(curves[group][step] for curves in of_seeds) for step in steps}
    return means


def _read(folder: Path) -> dict[str, Curve]:
    """Curves of one run by group; of a resumed run's steps the last value counts."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    tags = sorted(tag for tag in events.Tags()["scalars"] if tag.startswith(TAG))
    return {tag.removeprefix(TAG): {e.step: e.value for e in events.Scalars(tag)} for tag in tags}
