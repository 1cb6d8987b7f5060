"""One arm with one seed: where its run lies, which commands train and measure it, and when they are done.

    <output>/<arm>/seed<k>/                    a run of `train.py fit`
    <output>/<arm>/seed<k>/settings.json       what it was started with: other settings are refused
    <output>/<arm>/seed<k>/exports/*_step_<n>.safetensors      its adapters; when the last is there, it is trained
    <output>/<arm>/seed<k>/test/step_<n>/metrics.json   what `train.py test` found: it is measured, if
    <output>/<arm>/seed<k>/test/step_<n>/settings.json  says that it was measured as the plan wants it; else anew
    <output>/pictures/                         painted pictures, shared by all tests: the base's are painted once

In arms of one seed the noise, the timesteps and the order of visits are the same functions of (seed, draw), and the
adapters of one rank start from the same numbers, since all are keyed by the seed (`foundation/keyed_random.py`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.plan import Plan, Star
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

BETWEEN = "--"
"""Between two commands for `experiments.several`."""

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
    def options(self) -> dict[str, Any]:
        """Options of `fit`: the runner's, then those of all arms, then the arm's own."""
        held_out = {"data.holdout_folder": str(self.plan.held_out)}
        return {**QUICK, **held_out, **self._exports_at(), **self._changed}

    def train_arguments(self) -> list[str]:
        """What follows `train.py` to train it, or to go on where it was killed."""
        where = ["--runs", str(self.folder.parent), "--name", self.folder.name, "--ckpt_path", "auto"]
        config = ["fit", "--config", str(self.plan.config), "--seed_everything", str(self.seed)]
        return [*config, *as_options(self.options), *where]

    @property
    def steps(self) -> tuple[int, ...]:
        """The optimizer steps at which it is measured.

        Raises:
            ValueError: nothing says how long it trains; draws that are no whole number of its steps, or don't end where
                it does.
        """
        last = self._setting("trainer.max_steps")
        if not isinstance(last, int) or last < 1:
            raise ValueError(
                f"the arm {self.arm} has trainer.max_steps {last!r}: give a number of steps in"
                f" {self.plan.config} or in the plan's options."
            )
        if not self.plan.draws:
            return (last,)
        batch = self._setting("data.batch_size", 1) * self._setting("trainer.accumulate_grad_batches", 1)
        if uneven := [number for number in self.plan.draws if number % batch]:
            raise ValueError(
                f"draws has {uneven[0]}, which is no whole number of steps of the arm {self.arm}, {batch} draws each."
            )
        if self.plan.draws[-1] != last * batch:
            raise ValueError(
                f"draws ends with {self.plan.draws[-1]}, the arm {self.arm} with {last * batch} (trainer.max_steps"
                " times its draws a step): make them equal."
            )
        return tuple(number // batch for number in self.plan.draws)

    @property
    def trained(self) -> bool:
        """Whether training is done: its last adapter is written when it ends, and not missed when all is measured."""
        return self.adapter(self.steps[-1]).is_file() or self.measured

    def adapter(self, step: int) -> Path:
        """What it had learned by a step."""
        return self.folder / "exports" / f"{self.folder.name}_step_{step:06d}.safetensors"

    def metrics(self, step: int) -> Path:
        """What the evaluation found; it is there when the evaluation is done."""
        return self.folder / "test" / f"step_{step:06d}" / "metrics.json"

    def test_arguments(self) -> list[str]:
        """What follows `experiments.several` to measure it where it isn't."""
        shared = ["--pictures", str(self.output / "pictures"), "--held_out", str(self.plan.held_out)]
        words: list[str] = []
        for step in [step for step in self.steps if not self._measured(step)]:
            # the exported file, since a run's folder stands for its newest checkpoint
            where = ["--lora", str(self.adapter(step)), "--output", str(self.metrics(step).parent)]
            words += [BETWEEN, "test", *where, *shared, *as_options(self._test_options(step))]
        return words[1:]

    @property
    def measured(self) -> bool:
        """Whether all its scores are there, measured as the plan wants it."""
        return all(self._measured(step) for step in self.steps)

    def before_measuring(self) -> None:
        """Say how it is measured from here on; what was measured otherwise goes."""
        for step in self.steps:
            if _read(self._measured_by(step)) != self._evaluation(step):
                self.metrics(step).unlink(missing_ok=True)
                write_json(self._measured_by(step), self._evaluation(step))

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
    def _changed(self) -> dict[str, Any]:
        """What the plan changes in the config."""
        return {**self.plan.options, **self.plan.arms[self.arm]}

    def _setting(self, name: str, default: Any = None) -> Any:
        """A setting as the run will have it, from the plan's options or its config."""
        section, key = name.split(".")
        return self._changed.get(name, (self._config.get(section) or {}).get(key, default))

    @property
    def _config(self) -> dict[str, Any]:
        return yaml.safe_load(self.plan.config.read_text(encoding="utf-8")) or {}

    def _exports_at(self) -> dict[str, Any]:
        """A checkpoint, and with it an export, at all steps that are measured before the last."""
        return {"checkpoints.every_n_steps": math.gcd(*self.steps)} if self.plan.draws else {}

    def _measured(self, step: int) -> bool:
        return self.metrics(step).is_file() and _read(self._measured_by(step)) == self._evaluation(step)

    def _measured_by(self, step: int) -> Path:
        return self.metrics(step).with_name("settings.json")

    def _settings(self) -> dict[str, Any]:
        """What decides the training: the config's settings and all that win over them."""
        config = self._config
        decisive = {section: config[section] for section in DECISIVE if section in config}
        return {**decisive, "seed": self.seed, **self.options}

    def _test_options(self, step: int) -> dict[str, Any]:
        """The plan's, and at the end the strengths that a star wants of this arm."""
        answer = self.plan.answer
        strengths = answer.strengths.get(self.arm, ()) if isinstance(answer, Star) else ()
        sweep = {"strengths": [0.0, *strengths]} if strengths and step == self.steps[-1] else {}
        return {**self.plan.evaluation, **sweep}

    def _evaluation(self, step: int) -> dict[str, Any]:
        """What decides the measuring, with the prompts that the file holds now."""
        prompts = self.plan.evaluation.get("prompts")
        file = isinstance(prompts, str) and Path(located(prompts)).is_file()
        return {
            "held_out": str(self.plan.held_out),
            **self._test_options(step),
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
