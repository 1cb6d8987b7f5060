"""`python train.py audit --data.folder FOLDER`: what is wrong with a folder, before a night of GPU goes into it.

Takes the `--data.*` options and the config files of `fit`, prints a table, and writes audit.json and audit.html.
Exit status: 0 clean, 1 warnings, 2 errors. Loads neither Lightning nor diffusers.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal, NoReturn

from jsonargparse import Namespace

from commands.audit.json_file import write_audit_json
from commands.audit.text import audit_text
from commands.audit.tokens import TokenCounter, token_counter
from commands.terminal.command_line import HelpfulParser
from commands.terminal.config_files import with_configs
from datamodules.audit import caption_checks, composition
from datamodules.audit.measuring import Measures, measure_all
from datamodules.audit.near_duplicates import clusters
from datamodules.audit.quality import findings, is_flat
from datamodules.audit.result import Agreement, Audit, CaptionStatistics, SuggestedGroup, Verdict, name_in
from datamodules.folder.records import Record
from datamodules.picture_folder import PictureFolder
from datamodules.pictures.geometry import training_size
from datamodules.problems import LEAVES, NEAR_DUPLICATE, NEAR_STRADDLES, POOR_AGREEMENT, UNUSABLE_MIX, Problem
from demo.style_set import ensure_style_set
from foundation.missing_paths import is_file

CLIP_GROUPS = {"portrait": "close-up portrait", "landscape": "landscape or wide shot"}
POOR = 4.0  # standard deviations below the median agreement
LEAST = 8.0  # similarity x 100 below the median that a poor caption lies in any case
FURTHER = ": caption "  # between a picture's name and the number of a further caption


@dataclass(frozen=True)
class AuditOptions:
    """What to audit, and how.

    Attributes:
        data: the folder, as `fit` reads it.
        max_steps: optimizer steps of the planned run.
        accumulate: batches of a step.
        base_model: whose tokenizer counts; null counts words.
        base_config: of a single-file base model.
        long_captions: what happens to captions that are too long; in windows they are read to their end.
        clip: folder or hub id of a CLIP that compares pictures and captions; null leaves that out.
        clip_groups: groups that CLIP may suggest, each with a prompt that describes it.
    """

    data: PictureFolder
    max_steps: int = 1500
    accumulate: int = 1
    base_model: str | None = None
    base_config: str | None = None
    long_captions: Literal["truncate", "windows"] = "truncate"
    clip: str | None = None
    clip_groups: dict[str, str] = field(default_factory=lambda: dict(CLIP_GROUPS))


def run_audit(options: AuditOptions) -> Audit:
    """Look at everything.

    Raises:
        DatasetError: a folder isn't there.
        ValueError: the CLIP can't be loaded.
    """
    data = options.data
    errors = data.read()
    records = [record for report in data.reports for record in report.records]
    undrawable = _divide(data) if records else []
    counter = token_counter(options.base_model, options.base_config)
    draws = options.max_steps * options.accumulate * data.batch_size
    exposure = data.exposure(draws) if data.training and not undrawable else {}
    captions, caption_problems = _caption_findings(
        data, records, counter, cut=options.long_captions == "truncate"
    )
    agreement, suggested = _ask_clip(options, records)
    found = [*data.warnings, *_picture_findings(data, records), *caption_problems, *_poor(agreement)]
    return Audit(
        folder=data.folder,
        resolution=data.resolution,
        buckets=data.buckets,
        records=tuple(records),
        training=tuple(name_in(data.folder, record.path) for record in data.training),
        held_out=tuple(name_in(data.folder, record.path) for record in data.held_out),
        groups=tuple(composition.group_rows(data.training, data.held_out, exposure)),
        draws=draws,
        run=_run_text(options),
        verdict=_verdict(data, exposure, suggested),
        captions=captions,
        problems=tuple(_with_files(data.folder, problem) for problem in (*errors, *undrawable, *found)),
        agreement=agreement,
        suggested=suggested,
    )


def audit(args: Sequence[str]) -> NoReturn:
    """Run the command and exit with its status.

    Args:
        args: what follows `train.py audit`.

    Raises:
        ValueError: what the user can mend.
    """
    parser = _parser()
    known = {"data", *(name for name in parser.option_names() if name.startswith(("trainer.", "model.")))}
    given = parser.instantiate(parser.parse_args(with_configs(list(args), known, parser.option_kinds())))
    if given.write and not given.clip:
        raise ValueError("--write notes down the groups that CLIP suggests: give --clip MODEL as well.")
    for name in ("max_steps", "accumulate_grad_batches"):
        if given.trainer[name] < 1:
            raise ValueError(f"--trainer.{name} is {given.trainer[name]}; it must be at least 1.")
    ensure_style_set(given.data.folder)
    found = run_audit(_options(given))
    print(audit_text(found))
    if given.out and Path(given.out).exists() and not Path(given.out).is_dir():
        raise ValueError(f"--out is {given.out}, which is a file: give a folder.")
    _write_files(found, Path(given.out or Path("audit") / found.folder.resolve().name))
    if given.write:
        _write_groups(found)
    sys.exit(found.status)


def _parser() -> HelpfulParser:
    parser = HelpfulParser(
        prog="train.py audit",
        description="Look at a folder of captioned pictures. Reads the --config files of fit, too.",
    )
    parser.add_class_arguments(PictureFolder, "data")
    parser.add_argument(
        "--trainer.max_steps", type=int, default=1500, help="optimizer steps of the planned run"
    )
    parser.add_argument("--trainer.accumulate_grad_batches", type=int, default=1, help="batches of one step")
    parser.add_argument("--model.base_model", type=str | None, default=None, help="whose tokenizer counts")
    parser.add_argument(
        "--model.base_config", type=str | None, default=None, help="of a single-file base model"
    )
    parser.add_argument(
        "--model.long_captions",
        type=Literal["truncate", "windows"],
        default="truncate",
        help="windows reads long captions to their end",
    )
    parser.add_argument(
        "--clip", type=str | None, default=None, help="CLIP (folder or hub id) to compare captions"
    )
    parser.add_argument(
        "--clip_groups",
        type=dict[str, str],
        default=CLIP_GROUPS,
        help="groups CLIP may suggest, with a prompt each",
    )
    parser.add_argument("--write", action="store_true", help="write the suggested groups into the metadata")
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder (default: audit/<folder's name>)"
    )
    return parser


def _options(given: Namespace) -> AuditOptions:
    return AuditOptions(
        given.data,
        given.trainer.max_steps,
        given.trainer.accumulate_grad_batches,
        given.model.base_model,
        given.model.base_config,
        given.model.long_captions,
        given.clip,
        given.clip_groups,
    )


def _divide(data: PictureFolder) -> list[Problem]:
    """Training, hold-out and stream; what hinders them is one more finding, so that all are said at once."""
    try:
        data.divide()
    except ValueError as error:
        return [Problem(UNUSABLE_MIX, str(error).rstrip("."))]
    return []


def _verdict(
    data: PictureFolder,
    exposure: Mapping[str, tuple[int, float]],
    suggested: Sequence[SuggestedGroup] | None,
) -> Verdict:
    """The verdict by groups and captions, or by CLIP's eyes where they tell too little."""
    if not exposure:
        what = "Declared shares and groups don't fit" if data.training else "There is nothing to judge yet"
        return Verdict("error", what, ("Mend the errors first.",), None)
    kinds = [composition.kind_of(record.group, record.caption) for record in data.training]
    if suggested and kinds.count("") > (1 - composition.RECOGNISED) * len(kinds):
        seen = {one.name: composition.kind_of(one.suggested, "") for one in suggested}
        kinds = [seen[name_in(data.folder, record.path)] for record in data.training]
    members: dict[str, Counter[str]] = {}
    for record, kind in zip(data.training, kinds, strict=True):
        members.setdefault(record.group, Counter()).update([kind])
    pure = {
        name: kind if number >= 0.8 * counts.total() else ""
        for name, counts in members.items()
        for kind, number in counts.most_common(1)
    }
    mix = composition.mix_of(data.training, kinds, exposure)
    return composition.verdict(mix, pure, declared=data.shares is not None)


def _picture_findings(data: PictureFolder, records: Sequence[Record]) -> list[Problem]:
    """Quality of each picture, and pictures that look alike."""
    sizes = [training_size(record.width, record.height, data.resolution, data.buckets) for record in records]
    measures = measure_all(records, sizes, data.cache_folder)
    problems = [
        Problem(kind, name, detail, (name,))
        for record, (width, height), measured, name in zip(
            records, sizes, measures, _names(data, records), strict=True
        )
        for kind, detail in findings(
            measured.quality,
            width=record.width,
            height=record.height,
            trained_width=width,
            trained_height=height,
        )
    ]
    return [*problems, *_near_duplicates(data, records, measures)]


def _near_duplicates(
    data: PictureFolder, records: Sequence[Record], measures: Sequence[Measures]
) -> list[Problem]:
    """Clusters of pictures that look alike, each one finding; byte-identical ones are found by the scan."""
    first = {record.key: index for index, record in reversed(list(enumerate(records)))}
    # without contrast a hash is noise
    indices = sorted(index for index in first.values() if not is_flat(measures[index].quality))
    held_out = {record.path for record in data.held_out}
    names = _names(data, records)
    problems = []
    for cluster in clusters([measures[index].appearance for index in indices]):
        members = [indices[place] for place in cluster]
        sides = {records[index].path in held_out for index in members}
        files = tuple(names[index] for index in members)
        shown = [
            f"{names[index]} [held out]"
            if len(sides) == 2 and records[index].path in held_out
            else names[index]
            for index in members
        ]
        problems.append(
            Problem(NEAR_STRADDLES if len(sides) == 2 else NEAR_DUPLICATE, " ~ ".join(shown), files=files)
        )
    return problems


def _caption_findings(
    data: PictureFolder, records: Sequence[Record], counter: TokenCounter, *, cut: bool
) -> tuple[CaptionStatistics, list[Problem]]:
    """Every caption of every picture; `cut` is whether long ones lose their end."""
    names = _names(data, records)
    trained, written = {}, {}
    for name, record in zip(names, records, strict=True):
        pairs = zip(record.captions, data.written[record.path], strict=True)
        for number, (in_full, plain) in enumerate(pairs, start=1):
            label = name if number == 1 else f"{name}{FURTHER}{number}"
            trained[label], written[label] = in_full, plain
    problems = [
        *caption_checks.shared_captions(written),
        *caption_checks.missing_trigger(written, data.trigger),
        *caption_checks.style_words(written, data.trigger),
        *(caption_checks.too_long(trained, counter.count, counter.lost) if cut else ()),
    ]
    statistics = caption_checks.statistics_of(
        written,
        trained,
        count_tokens=counter.count,
        token_note=counter.note,
        trigger=data.trigger,
    )
    return statistics, [_of_pictures(problem) for problem in problems]


def _of_pictures(problem: Problem) -> Problem:
    """The finding on captions with the names of their pictures, each once."""
    files = tuple(dict.fromkeys(name.partition(FURTHER)[0] for name in problem.files))
    return replace(problem, files=files)


def _ask_clip(
    options: AuditOptions, records: Sequence[Record]
) -> tuple[tuple[Agreement, ...] | None, tuple[SuggestedGroup, ...] | None]:
    """Agreement of pictures and captions, the worst first, and suggested groups; nothing without `--clip`."""
    if options.clip is None or not records:
        return None, None
    from commands.audit.clip_checks import check_with_clip  # loads torch

    names = _names(options.data, records)
    # as written: a made-up trigger word and whatever else is put around them would move every score
    captions = [options.data.written[record.path] for record in records]
    checks = check_with_clip(options.clip, [record.path for record in records], captions, options.clip_groups)
    agreement = [
        Agreement(name, one.caption, one.similarity) for name, one in zip(names, checks, strict=True)
    ]
    suggested = [
        SuggestedGroup(name, record.group, one.group, one.confidence)
        for name, record, one in zip(names, records, checks, strict=True)
    ]
    return tuple(sorted(agreement, key=lambda one: one.similarity)), tuple(suggested)


def _poor(agreement: Sequence[Agreement] | None) -> list[Problem]:
    """Captions that fit far worse than the others, by the median and its absolute deviation."""
    if not agreement:
        return []
    middle = median(one.similarity for one in agreement)
    spread = 1.4826 * median(
        abs(one.similarity - middle) for one in agreement
    )  # a normal's standard deviation
    return [
        Problem(
            POOR_AGREEMENT,
            one.name,
            f"{one.similarity:.1f}, median {middle:.1f}: {one.caption!r}",
            (one.name,),
        )
        for one in agreement
        if one.similarity < middle - max(POOR * spread, LEAST)
    ]


def _names(data: PictureFolder, records: Sequence[Record]) -> list[str]:
    return [name_in(data.folder, record.path) for record in records]


def _with_files(folder: Path, problem: Problem) -> Problem:
    """The finding with its picture, where the finding is of one file."""
    if problem.files or problem.kind is LEAVES or not is_file(folder / problem.where):
        return problem
    return replace(problem, files=(problem.where,))


def _run_text(options: AuditOptions) -> str:
    batch = options.data.batch_size * options.accumulate
    return f"{options.max_steps} steps of {batch} picture{'s' if batch > 1 else ''}"


def _write_files(audit: Audit, out: Path) -> None:
    from commands.audit.page import audit_page
    from evaluation.page import write_page

    write_audit_json(audit, out / "audit.json")
    write_page(audit_page(audit), out / "audit.html")
    print(f"\nPictures beside every finding: {out / 'audit.html'}   For programs: {out / 'audit.json'}")


def _write_groups(audit: Audit) -> None:
    from commands.audit.write_groups import write_groups

    if audit.errors:
        raise ValueError("--write has written nothing: mend the errors above first.")
    suggested = audit.suggested or ()
    groups = {one.name: one.suggested for one in suggested}
    if len(groups) > 1 and len(set(groups.values())) == 1:
        raise ValueError(
            f"--write has written nothing: CLIP takes all {len(groups)} pictures for {suggested[0].suggested!r}."
            " Describe your groups with --clip_groups in words that tell them apart."
        )
    changed = sum(one.group != one.suggested for one in suggested)
    metadata = write_groups(audit.folder, groups)
    print(
        f"Wrote the suggested groups into {metadata}: {changed} of {len(groups)} pictures change theirs. A metadata"
        " file that was there is kept beside it (.bak); .txt files count no more where there is one."
    )
