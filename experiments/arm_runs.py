"""One arm with one seed: where its run lies, which commands train and measure it, and when they are done.

    <output>/<arm>/seed<k>/                    a run of `train.py fit`
    <output>/<arm>/seed<k>/settings.json       what it was started with: another plan is refused
    <output>/<arm>/seed<k>/exports/*_step_<last>.safetensors   its adapter, written when training ends: it is trained
    <output>/<arm>/seed<k>/test/metrics.json   what `train.py test` found: it is measured
    <output>/pictures/                         painted pictures, shared by all tests: the base's are painted once

In arms of one seed the noise, the timesteps and the order of visits are the same functions of (seed, draw), and the
adapters of one rank start from the same numbers, since all are keyed by the seed (`keyed_random.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.plan import Plan

QUICK: dict[str, Any] = {  # what no arm's result needs: samples, their scores, and a second look at the export
    "samples.prompts": None,
    "clip_score.model": None,
    "export.self_test": False,
    "checkpoints.keep": 1,
}


@dataclass(frozen=True)
class ArmRun:
    """One arm with one seed.

    Attributes:
        plan: the experiment.
        arm: the arm's name.
        seed: of its training.
        output: folder of the experiment.
    """

    plan: Plan
    arm: str
    seed: int
    output: Path

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.output / self.arm / f"seed{self.seed}"

    @property
    def metrics(self) -> Path:
        """What the evaluation found; it is there when the evaluation is done."""
        return self.folder / "test" / "metrics.json"

    @property
    def options(self) -> dict[str, Any]:
        """Options of `fit`: the runner's, then those of all arms, then the arm's own."""
        held_out = {"data.holdout_folder": str(self.plan.held_out)}
        return {**QUICK, **held_out, **self.plan.options, **self.plan.arms[self.arm]}

    def train_arguments(self) -> list[str]:
        """What follows `train.py` to train it, or to go on where it was killed."""
        where = ["--runs", str(self.folder.parent), "--name", self.folder.name, "--ckpt_path", "auto"]
        config = ["fit", "--config", str(self.plan.config), "--seed_everything", str(self.seed)]
        return [*config, *as_options(self.options), *where]

    @property
    def adapter(self) -> Path | None:
        """Its adapter of the last step; None until training has begun. It is there when training is done."""
        config = self.folder / "config.yaml"
        if not config.is_file():
            return None
        steps = yaml.safe_load(config.read_text(encoding="utf-8"))["trainer"]["max_steps"]
        return self.folder / "exports" / f"{self.folder.name}_step_{steps:06d}.safetensors"

    @property
    def trained(self) -> bool:
        """Whether training is done."""
        return self.adapter is not None and self.adapter.is_file()

    def claim(self) -> None:
        """Write what the run is started with, or compare it with what is written.

        Raises:
            ValueError: the folder holds a run of other settings.
        """
        path = self.folder / "settings.json"
        settings = self._settings()
        if not path.exists():
            return write_json(path, settings)
        written = json.loads(path.read_text(encoding="utf-8"))
        if written != settings:
            names = sorted(name for name in written.keys() | settings.keys() if written.get(name) != settings.get(name))
            raise ValueError(
                f"{self.folder} holds a run of other settings (different: {', '.join(names)}). Give --output another"
                " folder, or delete that run to train it anew."
            )

    def _settings(self) -> dict[str, Any]:
        config = hashlib.sha256(self.plan.config.read_bytes()).hexdigest()
        return {"config": config, "seed": self.seed, **self.options}


def runs_of(plan: Plan, output: Path) -> list[ArmRun]:
    """All runs, seed by seed: when a third of the time is over, every arm has a run."""
    return [ArmRun(plan, arm, seed, output) for seed in plan.seeds for arm in plan.arms]


def as_options(options: Mapping[str, Any]) -> list[str]:
    """Values as they are typed: text as it is, everything else as JSON."""
    return [f"--{name}={of if isinstance(of, str) else json.dumps(of)}" for name, of in options.items()]


def write_json(path: Path, values: Any) -> None:
    """Write beside the place and rename, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
