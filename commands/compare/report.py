"""From painted pictures to the report: every picture is shown to CLIP once, as it was saved, then measured.

The saved PNGs are what is scored, so anybody can score them again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from commands.compare.reference_pictures import ReferencePictures
from commands.runs.evaluation_options import EvaluationOptions
from datamodules.painting.comparison_pictures import ComparisonPictures, Subject, spread
from datamodules.painting.prompt_entries import PictureJob
from evaluation.bootstrap import Array
from evaluation.caption_agreement import picture_vectors
from evaluation.clip import Clip
from evaluation.measure import Copies, Vectors, measure, text_score
from evaluation.memorisation import Captioned, Looks, Memorisation, thumbnail
from evaluation.prompts import strip_weights
from evaluation.report import FourWays, Measured, NearPair, Report, SideBySide, Strip
from evaluation.style_similarity import style_similarity

RESAMPLING_SEED = 0


@dataclass(frozen=True)
class Embeddings:
    """What CLIP sees.

    Attributes:
        seen: of each painted picture its unit vector [D].
        own_prompts: unit vectors of the subjects' words, [P, D].
        style_prompt: [D].
        training: CLIP vectors and thumbnails of the training pictures; None where there are none.
        held_out: likewise.
    """

    seen: Mapping[PictureJob, Array]
    own_prompts: Array
    style_prompt: Array
    training: Looks | None
    held_out: Looks | None


def embed(
    pictures: ComparisonPictures, reference: ReferencePictures, clip: Clip, style_prompt: str
) -> Embeddings:
    """Show everything to CLIP."""
    words = [strip_weights(subject.job.prompt) for subject in pictures.subjects]
    texts = _float(clip.of_texts([*words, strip_weights(style_prompt)]))
    jobs = pictures.jobs
    painted = (Image.open(pictures.path(job)).convert("RGB") for job in jobs)
    vectors = _float(picture_vectors(clip, _counted(painted, "Scoring pictures", len(jobs))))
    return Embeddings(
        dict(zip(jobs, vectors, strict=True)),
        texts[:-1],
        texts[-1],
        _looks(
            clip,
            reference.images(reference.training),
            len(reference.training),
            "Looking at training pictures",
        ),
        _looks(
            clip,
            reference.images(reference.held_out),
            len(reference.held_out),
            "Looking at held-out pictures",
        ),
    )


def measure_pictures(
    pictures: ComparisonPictures, embeddings: Embeddings, reference: ReferencePictures, reasons: Sequence[str]
) -> Measured:
    """Every number of the report."""
    return measure(
        _vectors(pictures, embeddings), _copies(pictures, embeddings, reference), RESAMPLING_SEED, reasons
    )


def report(
    pictures: ComparisonPictures,
    measured: Measured,
    reference: ReferencePictures,
    options: EvaluationOptions,
    *,
    title: str,
    style_prompt: str,
    facts: Mapping[str, str],
) -> Report:
    """The numbers with the pictures to look at."""
    first = pictures.repetitions[0]
    leaders = list({subject.group: subject for subject in reversed(pictures.subjects)}.values())
    return Report(
        title=title,
        base_label=options.labels[0],
        lora_label=options.labels[1],
        style_prompt=style_prompt,
        enhancement=pictures.enhancement or "",
        facts=facts,
        measured=measured,
        side_by_side=tuple(_side_by_side(pictures, subject, first) for subject in pictures.subjects),
        near_pairs=_near_pairs(pictures, measured.memorisation, reference),
        four_ways=tuple(_four_ways(pictures, subject, first) for subject in _leading(pictures)),
        strips=tuple(_strip(pictures, subject, first) for subject in reversed(leaders))
        if measured.strength
        else (),
    )


def picture_rows(pictures: ComparisonPictures, embeddings: Embeddings) -> list[dict[str, Any]]:
    """Each picture of a subject with its scores, for `metrics.json`.

    The prompt score compares with the subject's own words, of enhanced pictures too. Likeness is null without
    held-out pictures.
    """
    rows: dict[PictureJob, dict[str, Any]] = {}
    for subject, vector in zip(pictures.subjects, embeddings.own_prompts, strict=True):
        for job, enhanced in _cells_of(pictures, subject):
            seen = embeddings.seen[job][None, None]
            rows[job] = {
                "file": pictures.path(job).name,
                "prompt": subject.job.prompt,
                "scored_as": strip_weights(subject.job.prompt),
                "group": subject.group,
                "seed": job.seed,
                "lora_scale": job.lora_scale,
                "enhanced": enhanced,
                "prompt_score": float(text_score(seen, vector[None])[0, 0]),
                "style_score": float(text_score(seen, embeddings.style_prompt)[0, 0]),
                "style_similarity": None
                if embeddings.held_out is None
                else float(style_similarity(seen, embeddings.held_out.clip)[0, 0]),
            }
    return list(rows.values())


def _cells_of(pictures: ComparisonPictures, subject: Subject) -> Iterator[tuple[PictureJob, bool]]:
    """All pictures of a subject, and whether they are enhanced."""
    plain = pictures.subjects.index(subject) in pictures.plain
    for strength in (0.0, pictures.lora_scale):
        for repetition in pictures.repetitions:
            yield pictures.job(subject, repetition, strength), False
            if plain:
                yield pictures.job(subject, repetition, strength, enhanced=True), True
    for strength in pictures.strengths:
        yield pictures.job(subject, pictures.repetitions[0], strength), False


def _vectors(pictures: ComparisonPictures, embeddings: Embeddings) -> Vectors:
    """The vectors by cell."""
    everyone, plain = range(len(pictures.subjects)), pictures.plain

    def cell(
        places: Sequence[int], strength: float, repetitions: Sequence[int], enhanced: bool = False
    ) -> Array:
        rows = [
            [
                embeddings.seen[pictures.job(pictures.subjects[place], r, strength, enhanced=enhanced)]
                for r in repetitions
            ]
            for place in places
        ]
        return np.asarray(rows, np.float64)

    every, first = pictures.repetitions, pictures.repetitions[:1]
    return Vectors(
        groups=[subject.group for subject in pictures.subjects],
        base=cell(everyone, 0.0, every),
        lora=cell(everyone, pictures.lora_scale, every),
        own_prompts=embeddings.own_prompts,
        style_prompt=embeddings.style_prompt,
        strengths={strength: cell(everyone, strength, first) for strength in pictures.strengths},
        enhanced=plain,
        base_enhanced=cell(plain, 0.0, every, enhanced=True),
        lora_enhanced=cell(plain, pictures.lora_scale, every, enhanced=True),
        style=np.zeros((0, 1))
        if embeddings.held_out is None
        else np.asarray(embeddings.held_out.clip, np.float64),
    )


def _sample_jobs(pictures: ComparisonPictures) -> list[PictureJob]:
    """What the LoRA painted at its full strength: the subjects, then training captions."""
    own = [
        pictures.job(subject, repetition, pictures.lora_scale)
        for subject in pictures.subjects
        for repetition in pictures.repetitions
    ]
    return [*own, *pictures.of_captions(pictures.trained_captions)]


def _copies(
    pictures: ComparisonPictures, embeddings: Embeddings, reference: ReferencePictures
) -> Copies | None:
    """What memorisation compares; None without training or held-out pictures."""
    if embeddings.training is None or embeddings.held_out is None:
        return None
    trained = pictures.of_captions(pictures.trained_captions)
    unseen = pictures.of_captions(pictures.unseen_captions)
    own = _sample_jobs(pictures)[: -len(trained) or None]
    places = spread(len(reference.training), len(trained)), spread(len(reference.held_out), len(unseen))
    return Copies(
        _painted(pictures, embeddings, own),
        embeddings.training,
        embeddings.held_out,
        Captioned(_painted(pictures, embeddings, trained), places[0]) if trained else None,
        Captioned(_painted(pictures, embeddings, unseen), places[1]) if unseen else None,
    )


def _painted(pictures: ComparisonPictures, embeddings: Embeddings, jobs: Sequence[PictureJob]) -> Looks:
    thumbnails = [thumbnail(_image(pictures, job)) for job in jobs]
    return Looks(np.stack([embeddings.seen[job] for job in jobs]), np.stack(thumbnails))


def _counted(images: Iterator[Image.Image], what: str, number: int) -> Iterator[Image.Image]:
    """With a bar in a terminal."""
    return iter(tqdm(images, what, number, unit=" pictures", leave=False, disable=None))


def _looks(clip: Clip, images: Iterator[Image.Image], number: int, what: str) -> Looks | None:
    """CLIP vectors and thumbnails, each picture read once."""
    if not number:
        return None
    thumbnails: list[Array] = []

    def noted() -> Iterator[Image.Image]:
        for image in _counted(images, what, number):
            thumbnails.append(thumbnail(image))
            yield image

    vectors = _float(picture_vectors(clip, noted()))
    return Looks(vectors, np.stack(thumbnails))


def _side_by_side(pictures: ComparisonPictures, subject: Subject, repetition: int) -> SideBySide:
    base, lora = (
        _image(pictures, pictures.job(subject, repetition, strength))
        for strength in (0.0, pictures.lora_scale)
    )
    seed = pictures.job(subject, repetition, 0.0).seed
    return SideBySide(subject.job.prompt, subject.group, seed, base, lora)


def _near_pairs(
    pictures: ComparisonPictures, found: Memorisation | None, reference: ReferencePictures
) -> tuple[NearPair, ...]:
    if found is None:
        return ()
    jobs = _sample_jobs(pictures)
    records = tuple(reference.training[pair.training] for pair in found.pairs)
    return tuple(
        NearPair(pair, jobs[pair.sample].prompt, _image(pictures, jobs[pair.sample]), image, record.path.name)
        for pair, record, image in zip(found.pairs, records, reference.images(records), strict=True)
    )


def _leading(pictures: ComparisonPictures) -> list[Subject]:
    """The first subject of each group that was painted with the enhancement."""
    found: dict[str, Subject] = {}
    for place in pictures.plain:
        found.setdefault(pictures.subjects[place].group, pictures.subjects[place])
    return list(found.values())


def _four_ways(pictures: ComparisonPictures, subject: Subject, repetition: int) -> FourWays:
    jobs = [
        pictures.job(subject, repetition, strength, enhanced=enhanced)
        for strength in (0.0, pictures.lora_scale)
        for enhanced in (False, True)
    ]
    images = [_image(pictures, job) for job in jobs]
    return FourWays(jobs[0].prompt, jobs[1].prompt, jobs[0].seed, *images)


def _strip(pictures: ComparisonPictures, subject: Subject, repetition: int) -> Strip:
    jobs = {strength: pictures.job(subject, repetition, strength) for strength in pictures.strengths}
    images = {strength: _image(pictures, job) for strength, job in jobs.items()}
    return Strip(subject.job.prompt, pictures.job(subject, repetition, 0.0).seed, images)


def _image(pictures: ComparisonPictures, job: PictureJob) -> Image.Image:
    with Image.open(pictures.path(job)) as picture:
        return picture.convert("RGB")


def _float(vectors: Any) -> Array:
    array: Array = vectors.numpy().astype(np.float64)
    return array
