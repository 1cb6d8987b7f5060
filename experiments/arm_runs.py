"""One arm with one seed: where its run lies, which commands train and measure it, and when they are done.

    <output>/<arm>/seed<k>/                    a run of `train.py fit`
    <output>/<arm>/seed<k>/settings.json       what it was started with: other settings are refused
    <output>/<arm>/seed<k>/exports/*_step_<last>.safetensors   its adapter, written when training ends: it is trained
    <output>/<arm>/seed<k>/test/metrics.json   what `train.py test` found: it is measured, if
    <output>/<arm>/seed<k>/test/settings.json  says that it was measured as the plan wants it; else it is measured anew
    <output>/pictures/                         painted pictures, shared by all tests: the base's are painted once

In arms of one seed the noise, the timesteps and the order of visits are the same functions of (seed, draw), and the
adapters of one rank start from the same numbers, since all are keyed by the seed (`foundation/keyed_random.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.plan import Plan
from foundation.atomic_file import atomic_file
from foundation.given_paths import located

QUICK: dict[
    str, Any
] = {  # what no arm's result needs: samples, their scores, and a second look at the export
    "samples.prompts": None,
    "clip_score.model": None,
    "export.self_test": False,
    "checkpoints.keep": 1,
}

DECISIVE = ("data", "model", "trainer")
"""Sections of a config that decide what a training gives."""


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

    def test_arguments(self) -> list[str]:
        """What follows `train.py` to measure it."""
        # the exported file, since a run's folder stands for its newest checkpoint: a kill may have left an older one
        where = ["--lora", str(self.adapter), "--output", str(self.metrics.parent)]
        shared = ["--pictures", str(self.output / "pictures"), "--held_out", str(self.plan.held_out)]
        return ["test", *where, *shared, *as_options(self.plan.evaluation)]

    @property
    def measured(self) -> bool:
        """Whether its scores are there, measured as the plan wants it."""
        return self.metrics.is_file() and _read(self._measured_by) == self._evaluation()

    def before_measuring(self) -> None:
        """Say how it is measured from here on; what was measured otherwise goes."""
        if _read(self._measured_by) != self._evaluation():
            self.metrics.unlink(missing_ok=True)
            write_json(self._measured_by, self._evaluation())

    def claim(self) -> None:
        """Write what the run is started with, or compare it with what is written.

        Raises:
            ValueError: the folder holds a run of other settings.
        """
        path = self.folder / "settings.json"
        written, settings = _read(path), self._settings()
        if written is None:
            return write_json(path, settings)
        names = [name for name in {**written, **settings} if written.get(name) != settings.get(name)]
        if names:
            raise ValueError(
                f"{self.folder} holds a run of other settings (different: {', '.join(names)}). Give --output another"
                " folder, or delete that run to train it anew."
            )

    @property
    def _measured_by(self) -> Path:
        return self.metrics.with_name("settings.json")

    def _settings(self) -> dict[str, Any]:
        """What decides the training: the config's settings and all that win over them."""
        config = yaml.safe_load(self.plan.config.read_text(encoding="utf-8")) or {}
        decisive = {section: config[section] for section in DECISIVE if section in config}
        return {**decisive, "seed": self.seed, **self.options}

    def _evaluation(self) -> dict[str, Any]:
        """What decides the measuring, with the prompts that the file holds now."""
        prompts = self.plan.evaluation.get("prompts")
        file = isinstance(prompts, str) and Path(located(prompts)).is_file()
        return {
            "held_out": str(self.plan.held_out),
            **self.plan.evaluation,
            **({"prompts": Path(located(str(prompts))).read_text(encoding="utf-8")} if file else {}),
        }


def runs_of(plan: Plan, output: Path) -> list[ArmRun]:
    """All runs, seed by seed: when a third of the time is over, every arm has a run."""
    return [ArmRun(plan, arm, seed, output) for seed in plan.seeds for arm in plan.arms]


def by_arm(runs: Sequence[ArmRun]) -> dict[str, list[ArmRun]]:
    """The runs of each arm, in the order of the seeds."""
    return {arm: [run for run in runs if run.arm == arm] for arm in dict.fromkeys(run.arm for run in runs)}


def as_options(options: Mapping[str, Any]) -> list[str]:
    """Values as they are typed: text as it is, everything else as JSON."""
    return [f"--{name}={of if isinstance(of, str) else json.dumps(of)}" for name, of in options.items()]


def write_json(path: Path, values: Any) -> None:
    """Write the file whole, making folders as needed."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
