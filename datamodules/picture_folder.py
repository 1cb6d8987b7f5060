"""What a folder of captioned pictures gives to a run: training pictures, a hold-out, a balanced stream of draws.

Plain Python: the DataModule builds on it, and so does `python train.py audit`, which loads no Lightning.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from datamodules.audit.caption_checks import escaped_signs, too_long, without_commas
from datamodules.data_options import (
    check_captions,
    check_choice,
    check_folders,
    check_loading,
    check_resolution,
)
from datamodules.folder.dataset_facts import dataset_facts
from datamodules.folder.group_names import by_group
from datamodules.folder.records import FolderReport, Record, scan
from datamodules.folder.repeats import repeats_problems, shares_of_repeats
from datamodules.pictures.geometry import orientation, training_size
from datamodules.problems import (
    SOME_WITHOUT_GROUP,
    STRADDLES,
    UNUSABLE_MIX,
    DatasetError,
    Problem,
    describe,
)
from datamodules.stream.balanced_sampling import BalancedStream
from datamodules.stream.caption_variation import CaptionOptions, Wording
from datamodules.stream.loss_weights import full_loss_weights
from datamodules.stream.planned_visits import planned_visits
from datamodules.stream.split import split
from foundation.training_pictures import PlannedVisits

log = logging.getLogger(__name__)


class PictureFolder:
    """Captioned pictures of a folder.

    Taken flat, since the command line calls each option `--data.NAME`; nothing is read before `setup`. The caller may
    set `count_tokens` and `lost_words`, functions of a caption, before it: then captions that are too long for the text
    encoder are reported with the words that it won't read.

    Args:
        folder: Pictures with captions: metadata.jsonl or .csv (file_name, text, optionally group), or a .txt file
            beside each picture. Without a group column sub-folders are the groups.
        resolution: Side of the square that is trained on, in pixels, a multiple of 8. Pictures are scaled to cover it.
            Of tall ones a quarter of the surplus is cut at the top, the rest at the bottom; wide ones are cut alike on
            both sides.
        batch_size: Pictures of one step of one process.
        num_workers: Processes that load pictures; 0 loads in the main process.
        shares: How often each group is drawn, as positive numbers, such as {portrait: 2, landscape: 1}. Null keeps the
            repeats of kohya's folder names (10_portrait) if there are any, and else draws as found: every picture
            equally often.
        group_by: What the groups are: label (the group column, or the sub-folder) or orientation (the groups are then
            portrait, landscape and square, by the pictures' shape).
        flip: Show half of the draws mirrored. Turn it off for a style with writing or a fixed side.
        trigger: A word put before each caption that doesn't have it already, such as ghibli_style.
        captions: Words put around every caption, and what each draw does to tags (prefix, suffix, shuffle_tags,
            keep_tags, tag_dropout).
        holdout_fraction: Part of each group that is held out of training for validation, chosen by content. Groups of
            fewer than 5 pictures give none, others at least one. 0 holds nothing out.
        holdout_folder: Folder with pictures to validate on instead; then `folder` is trained on whole.
        validation_batch_size: Pictures of one validation step; null takes batch_size.
        cache_folder: Folder in which all runs keep what they worked out from pictures and captions, by content:
            encodings, checks. It can be deleted at any time between runs. Null writes nothing.
        seed: Decides the order of pictures and the flips. It doesn't touch the hold-out.
        buckets: Train each picture near its own shape: of sizes in steps of 64 at about the area of resolution x
            resolution, the one with the nearest aspect ratio. A batch with pictures of several sizes runs in one-size
            parts. Off: every picture is cropped to the square.
        loss_weights: How much pictures of a group count in the loss, as positive numbers, such as {prior: 0.5}; a group
            that isn't named counts 1.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        folder: str,
        resolution: int = 512,
        batch_size: int = 1,
        num_workers: int = 2,
        shares: dict[str, float] | None = None,
        group_by: Literal["label", "orientation"] = "label",
        flip: bool = True,
        trigger: str = "",
        captions: CaptionOptions = CaptionOptions(),  # noqa: B008 - never changed; its fields are shown as options
        holdout_fraction: float = 0.1,
        holdout_folder: str | None = None,
        validation_batch_size: int | None = None,
        cache_folder: str | None = "cache",
        seed: int = 0,
        buckets: bool = False,
        loss_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        check_resolution(resolution, buckets)
        check_loading(batch_size, validation_batch_size, num_workers)
        check_captions(captions)
        check_choice(group_by, holdout_fraction)
        check_folders(folder, holdout_folder, cache_folder)
        self.folder = Path(folder)
        self.resolution = resolution
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.shares = None if shares is None else by_group(shares, "data.shares")
        self.group_by = group_by
        self.flip = flip
        self.trigger = trigger.strip()
        self.wording = Wording(captions, self.trigger, seed)
        self.holdout_fraction = holdout_fraction
        self.holdout_folder = None if holdout_folder is None else Path(holdout_folder)
        self.validation_batch_size = batch_size if validation_batch_size is None else validation_batch_size
        self.cache_folder = None if cache_folder is None else Path(cache_folder)
        self.seed = seed
        self.buckets = buckets
        self.loss_weights = None if loss_weights is None else by_group(loss_weights, "data.loss_weights")
        self.count_tokens: Callable[[str], int] | None = None
        self.lost_words: Callable[[str], str] | None = None
        self.reports: list[FolderReport] = []
        self.written: dict[Path, tuple[str, ...]] = {}  # captions before anything is put around them
        self.training: list[Record] = []
        self.held_out: list[Record] = []
        self.warnings: list[Problem] = []
        self.group_weights: dict[str, float] = {}
        self._stream: BalancedStream | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read and check everything, once; print what is passed over.

        Raises:
            DatasetError: with all problems of the folders that stop training.
            ValueError: `shares` or `loss_weights` don't fit the groups.
        """
        if self._stream is not None:
            return
        errors = self.read()
        if errors:
            errors += self._mismatches()
            folders = " and ".join(str(report.folder) for report in self.reports)
            raise DatasetError(_full_text(folders, errors, self.warnings))
        self.divide()
        if self.warnings and self.speaks:
            folders = " and ".join(str(report.folder) for report in self.reports)
            log.warning(f"Worth a look in {folders}:\n{describe(self.warnings)}")

    def read(self) -> list[Problem]:
        """Read and check the folders, into `reports` and `warnings`.

        Returns:
            What stops training.

        Raises:
            DatasetError: a folder isn't there.
        """
        self.reports = [self._scan(self.folder, "data.folder")]
        if self.holdout_folder is not None:
            self.reports.append(self._scan(self.holdout_folder, "data.holdout_folder"))
        self.warnings = [problem for report in self.reports for problem in report.warnings]
        self.warnings.extend(self._odd_captions())
        self.warnings.extend(self._too_long(self.reports))
        return [problem for report in self.reports for problem in report.errors] + _straddling(self.reports)

    def _mismatches(self) -> list[Problem]:
        """What is wrong with the mix as well, as far as it shows: every problem is told at once."""
        if not self.reports[0].records:
            return []
        try:
            self.divide()
        except ValueError as error:
            return [Problem(UNUSABLE_MIX, str(error).rstrip("."))]
        finally:
            self._stream = None
        return []

    def divide(self) -> None:
        """Part what was read into training and hold-out, and set up the stream.

        Raises:
            ValueError: `shares` doesn't fit the groups, or nothing is left to train on.
        """
        fraction = self.holdout_fraction if self.holdout_folder is None else 0.0
        self.training, self.held_out = split(self.reports[0].records, fraction)
        if self.holdout_folder is not None:
            self.held_out = split(self.reports[1].records, 0.0)[0]
        stream = self._balanced()
        if self.batch_size > len(self.training):
            raise ValueError(
                f"data.batch_size is {self.batch_size}, but there are {len(self.training)} pictures to train on: a"
                f" batch would hold some twice. Set it to {len(self.training)} or less; for larger steps, set"
                " trainer.accumulate_grad_batches."
            )
        self.group_weights = full_loss_weights(stream.sizes, self.loss_weights)
        self._stream = stream

    def _balanced(self) -> BalancedStream:
        """The stream at the declared shares, or at kohya's repeats where none are declared."""
        repeats = shares_of_repeats(self.training) if self.group_by == "label" else None
        shares = repeats if self.shares is None else self.shares
        stream = BalancedStream(Counter(record.group for record in self.training), shares, self.seed)
        used = self.shares is None and repeats is not None
        self.warnings.extend(repeats_problems(self.training, self.folder, stream.shares, used=used))
        return stream

    @property
    def stream(self) -> BalancedStream:
        """The balanced stream.

        Raises:
            RuntimeError: `setup` hasn't run.
        """
        if self._stream is None:
            raise RuntimeError("setup() has to run first: nothing has been read yet.")
        return self._stream

    def fingerprint(self) -> dict[str, str]:
        """What decides the draws: a run is only continued exactly if all of it is the same."""
        return {
            "pictures": _digest(self.training),
            "holdout": _digest(self.held_out),
            "shares": ", ".join(f"{name}: {share}" for name, share in self.stream.shares.items()),
            "resolution": str(self.resolution),
            "flip": str(self.flip),
            "trigger": self.trigger,
            "captions": ", ".join(f"{name}: {value}" for name, value in asdict(self.wording.options).items()),
            "seed": str(self.seed),
            "buckets": str(self.buckets),
            "loss weights": ", ".join(f"{name}: {weight:g}" for name, weight in self.group_weights.items()),
        }

    def facts(self) -> dict[str, str]:
        """What exported files say of the pictures, in strings."""
        return dataset_facts(
            self.training, resolution=self.resolution, buckets=self.buckets, trigger=self.trigger
        )

    def exposure(self, draws: int) -> dict[str, tuple[int, float]]:
        """For each group: how many of the first draws it gets, and how often each of its pictures is seen."""
        counts = self.stream.counts(draws)
        return {name: (number, number / self.stream.sizes[name]) for name, number in counts.items()}

    def planned_visits(self, draws: int) -> list[PlannedVisits]:
        """For each training picture how often the first draws show it, by group and name."""
        return planned_visits(self.folder, self.training, self.stream, draws)

    def describe(self, draws: int) -> str:
        """A table of the groups: pictures, hold-out, share, and what a run of so many draws shows of each."""
        held_out = Counter(record.group for record in self.held_out)
        lines = [
            f"{'group':<20} {'pictures':>8} {'held out':>8} {'share':>7} {'draws':>8}  each picture is seen"
        ]
        for name, (number, each) in self.exposure(draws).items():
            share = float(self.stream.shares[name])
            size = self.stream.sizes[name]
            lines.append(
                f"{name:<20} {size:>8} {held_out[name]:>8} {share:>7.1%} {number:>8}  {each:.1f} times"
            )
        lines.extend(
            f"{name:<20} {0:>8} {held_out[name]:>8}"
            for name in sorted(set(held_out) - set(self.stream.sizes))
        )
        weights = [f"{name} {weight:g}" for name, weight in self.group_weights.items() if weight != 1]
        if weights:
            lines.append(f"Weights in the loss: {', '.join(weights)} (others 1)")
        if self.buckets:
            lines.append(f"Pictures a size (width x height): {self._bucket_line()}")
        return "\n".join(lines)

    def _bucket_line(self) -> str:
        sizes = Counter(
            training_size(record.width, record.height, self.resolution, self.buckets)
            for record in (*self.training, *self.held_out)
        )
        return ", ".join(f"{width}x{height} {number}" for (width, height), number in sorted(sizes.items()))

    def _scan(self, folder: Path, option: str) -> FolderReport:
        report = scan(
            folder,
            resolution=self.resolution,
            option=option,
            progress=self.speaks,
            cache_folder=self.cache_folder,
            buckets=self.buckets,
        )
        self.written.update({record.path: record.captions for record in report.records})
        records = [self._worded(record) for record in report.records]
        if self.group_by == "label":
            return replace(report, records=records)
        warnings = [problem for problem in report.warnings if problem.kind is not SOME_WITHOUT_GROUP]
        shaped = [replace(record, group=orientation(record.width, record.height)) for record in records]
        return replace(report, records=shaped, warnings=warnings)

    def _worded(self, record: Record) -> Record:
        caption, *others = (self.wording.in_full(caption) for caption in record.captions)
        return replace(record, caption=caption, other_captions=tuple(others))

    def _odd_captions(self) -> list[Problem]:
        """What is said of captions whose brackets or tags may not be what they were meant as."""
        varied = self.wording.options.shuffle_tags or self.wording.options.tag_dropout > 0
        found = []
        for report in self.reports:
            for record in report.records:
                name = record.path.relative_to(report.folder).as_posix()
                for in_full, written in zip(record.captions, self.written[record.path], strict=True):
                    found += escaped_signs({name: in_full})
                    found += without_commas({name: written}) if varied else []
        return found

    def _too_long(self, reports: Iterable[FolderReport]) -> list[Problem]:
        if self.count_tokens is None:
            return []
        records = [record for report in reports for record in report.records]
        return [
            problem
            for record in records
            for caption in record.captions
            for problem in too_long(
                {record.path.name: caption}, self.count_tokens, self.lost_words or (lambda _: "")
            )
        ]

    @property
    def speaks(self) -> bool:
        """Whether this process shows progress and prints warnings: of several, one does."""
        return True


def _straddling(reports: list[FolderReport]) -> list[Problem]:
    """Pictures that would be both trained on and validated on."""
    if len(reports) < 2:
        return []
    trained = {record.key: record.path for record in reports[0].records}
    both = [record for record in reports[1].records if record.key in trained]
    return [
        Problem(
            STRADDLES,
            f"{trained[record.key]} = {record.path}",
            files=(trained[record.key].absolute().as_posix(), record.path.absolute().as_posix()),
        )
        for record in both
    ]


def _full_text(folders: str, errors: list[Problem], warnings: list[Problem]) -> str:
    also = f"\nNot stopping, but worth a look:\n{describe(warnings)}" if warnings else ""
    return f"{len(errors)} problems stop training on {folders}:\n{describe(errors)}{also}"


def _digest(records: Iterable[Record]) -> str:
    """A number for pictures with captions and groups, whatever their names and order."""
    rows = sorted((record.key, record.caption, record.group, *record.other_captions) for record in records)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
