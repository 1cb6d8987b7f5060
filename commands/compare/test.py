"""`python train.py test`: is the LoRA better than its base? Pictures, intervals, and a page to look at.

    python train.py test                                    the run trained last, settings from its config's `test:`
    python train.py test --lora runs/ghibli --seeds [0,1,2,3]
    python train.py test --lora my.safetensors --model.base_model FOLDER --held_out pictures_of_the_style

Both sides paint the same prompts from the same noise. Run again, it paints what is missing only. The pieces: the
pictures, `datamodules/painting/comparison_pictures.py`; what is measured, `evaluation/measure.py`; the files,
`commands/compare/report_files.py`.
"""

from dataclasses import fields
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from commands.compare.painting_cli import NOT_OPTIONS, PaintingCLI, run_painting, what_is_there
from commands.compare.reference_pictures import reference_pictures
from commands.compare.report import embed, measure_pictures, picture_rows, report
from commands.compare.report_files import METRICS, PAGE, write_report
from commands.runs.evaluation_options import SECTION, EvaluationOptions
from commands.runs.lora_file import find_lora
from commands.watch.parent_watch import local_rank
from datamodules.folder.records import Record
from datamodules.painting.comparison_pictures import ComparisonPictures, spread, subjects_of
from datamodules.painting.prompt_entries import Entry, PictureJob, read_entries
from evaluation.clip import Clip
from evaluation.findings import findings
from foundation.missing_paths import hindrance
from lightning_modules.base.loading import base_name

CLIP_MODEL = "openai/clip-vit-base-patch32"
STYLE_PROMPT = "anime style screenshot from a Studio Ghibli movie, watercolor style"


class TestCLI(PaintingCLI):
    """The comparison's settings are options of their own."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Evaluation only."""
        return {SECTION: NOT_OPTIONS | {"verbose"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The adapter, the comparison, and where its files go."""
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(EvaluationOptions, None)
        parser.add_argument(
            "--output",
            type=str | None,
            default=None,
            help="folder of the report (default: report in the run)",
        )
        parser.add_argument(
            "--pictures",
            type=str | None,
            default=None,
            help="folder of the painted pictures, to share the base's between reports (default: in the report)",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse twice: which run it is says what the defaults are."""
        super().parse_arguments(parser, args)
        options = self.config[SECTION]
        section = find_lora(options.lora, Path(options.runs)).config.get(SECTION)
        if section:
            self._subcommand_parsers[SECTION].set_defaults(section)
            super().parse_arguments(parser, args)

    def after_instantiate_classes(self) -> None:
        """Settle what is compared, before anything heavy is loaded."""
        given = self.config_init[self.subcommand]
        self.options = EvaluationOptions(
            **{field.name: given[field.name] for field in fields(EvaluationOptions)}
        )
        run = self.lora.run
        self.folder = Path(given.output or (run / "report" if run else "report"))
        if self.folder.is_file():
            raise ValueError(f"--output {self.folder} is a file; give the folder that the report goes to.")
        if given.pictures is not None and Path(given.pictures).is_file():
            raise ValueError(
                f"--pictures {given.pictures} is a file; give the folder of the painted pictures."
            )
        if why := hindrance(self.folder):
            raise ValueError(f"--output {self.folder} can't be written: {why}. Name another folder.")
        self.reference = reference_pictures(
            self.lora.config.get("data"), self.options.held_out, self.size()[0]
        )
        self.pictures = self._pictures(Path(given.pictures or self.folder / "pictures"))

    def _pictures(self, folder: Path) -> ComparisonPictures:
        options, (height, width) = self.options, self.size()
        pictures = ComparisonPictures(
            subjects_of(self._entries(), options.of_pictures(), height=height, width=width),
            repetitions=options.seeds,
            lora_scale=options.lora_scale,
            strengths=options.strengths if self.reference.held_out else [],
            enhancement=options.enhancement,
            trained_captions=self._captions(self.reference.training),
            unseen_captions=self._captions(self.reference.held_out),
            output=folder,
            batch_size=options.batch_size,
        )
        self.name_pictures(pictures)
        return pictures

    def _captions(self, records: tuple[Record, ...]) -> list[str]:
        """Some captions of training or of held-out pictures; none where there is nothing to compare."""
        if not (self.reference.training and self.reference.held_out):
            return []
        return [records[place].caption for place in spread(len(records), self.options.training_captions)]

    def _entries(self) -> list[Entry]:
        """The prompts: the options', or else the run's samples."""
        prompts = self.options.prompts
        if prompts == []:
            raise ValueError("--prompts is []: give one prompt or more, or a file with one a line.")
        if isinstance(prompts, list):
            return [(f"test.prompts {number}", entry) for number, entry in enumerate(prompts, 1)]
        if prompts is not None:
            return read_entries(Path(prompts))
        samples = self.lora.setting("samples", "prompts")
        if not samples:
            raise ValueError(
                f"{self.lora.run or self.lora.path} doesn't say what to paint: give --prompts FILE, with one a "
                "line."
            )
        return [(f"samples.prompts {number}", entry) for number, entry in enumerate(samples, 1)]

    def _run_subcommand(self, subcommand: str) -> None:
        """Paint what isn't there, then measure and write."""
        if self.trainer.is_global_zero:
            print(f"Judged by {self.clip.name}")  # loaded here, so that a wrong one is said at once
            print(f"Adapter: {self.lora.path} on {self.model.base_model}", flush=True)
            print(what_is_there(self.pictures), flush=True)
        if self.pictures.waiting() or local_rank() is not None:  # then all have to go the same way
            self.paint(self.pictures)
        if self.trainer.is_global_zero:
            self.write()

    @cached_property
    def clip(self) -> Clip:
        """The judge."""
        return Clip(self._judged_by("clip", "model", CLIP_MODEL), "--clip")

    def write(self) -> None:
        """Measure what was painted and write the report."""
        style_prompt = self._judged_by("style_prompt", "style_prompt", STYLE_PROMPT)
        embeddings = embed(self.pictures, self.reference, self.clip, style_prompt)
        found = report(
            self.pictures,
            measure_pictures(
                self.pictures, embeddings, self.reference, [*self.reference.reasons, *self._left_out()]
            ),
            self.reference,
            self.options,
            title=f"{self.options.labels[1]}: {(self.lora.run or self.lora.path).name}",
            style_prompt=style_prompt,
            facts=self._facts(),
        )
        write_report(found, picture_rows(self.pictures, embeddings), self.pictures.output, self.folder)
        print(f"\n{found.title}")
        for one in findings(found):
            print(f"  {one.answer}\n    {' '.join(one.figures)}")
        for reason in found.measured.not_measured:
            print(f"  Not measured: {reason}")
        print(f"Report: {self.folder / PAGE}   Numbers: {self.folder / METRICS}", flush=True)

    def _judged_by(self, option: str, setting: str, default: str) -> str:
        """An option, else the run's setting of its CLIP scores, else the default."""
        value: str = getattr(self.options, option) or self.lora.setting("clip_score", setting) or default
        return value

    def _left_out(self) -> list[str]:
        """Prompts that the 2x2 can't use."""
        left = len(self.pictures.subjects) - len(self.pictures.plain)
        if not left or not self.options.enhancement:
            return []
        return [
            f"Prompt engineering leaves out {left} of {len(self.pictures.subjects)} prompts, which say "
            f"“{self.options.enhancement}” already."
        ]

    def _facts(self) -> dict[str, str]:
        """How it was made."""
        model, jobs = self.model, [subject.job for subject in self.pictures.subjects]
        said = {
            "adapter": f"{self.lora.path} ({model.adapter.format}), SHA-256 {model.adapter.digest[:12]}",
            "base model": base_name(model.base_model),
            "strength": f"{self.options.lora_scale:g}",
            "seeds of each prompt": str(len(self.options.seeds)),
            "size": _each(f"{job.width}x{job.height}" for job in jobs),
            "sampler": _each(f"{job.sampler}, {job.steps} steps" for job in jobs),
            "guidance scale": _each(_guidance(job) for job in jobs),
            "CLIP": base_name(self.clip.name),
            "training pictures": str(len(self.reference.training)),
            "held-out pictures": str(len(self.reference.held_out)),
            "date": date.today().isoformat(),
        }
        if model.adapter.alpha_assumed:
            said["alpha"] = "not in the file; alpha = rank was assumed"
        return said


def _guidance(job: PictureJob) -> str:
    """Its scale, and its rescale where there is one."""
    rescale = f" (rescale {job.guidance_rescale:g})" if job.guidance_rescale else ""
    return f"{job.guidance_scale:g}{rescale}"


def _each(values: Any) -> str:
    """Different values, once each."""
    return ", ".join(dict.fromkeys(values))


def test(args: list[str]) -> None:
    """Run the command.

    Args:
        args: what follows `train.py test`.
    """
    run_painting(SECTION, TestCLI, args)
