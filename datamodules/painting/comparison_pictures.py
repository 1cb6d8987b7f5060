"""The pictures of `python train.py test`: base and LoRA side by side, from the same noise.

A picture is told by its prompt, its seed and the LoRA's strength, the base being strength 0. So the cells of all
comparisons (base against LoRA, the strength sweep, plain against enhanced prompts) are pictures of one list, and
a cell that two comparisons share is painted once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.painting.picture_list import PictureList
from datamodules.painting.prompt_entries import Entry, PictureJob, make_jobs, said_by
from evaluation.prompts import as_characters, strip_weights

NO_GROUP = "pictures"
APART = 1000  # between the seeds of two repetitions of a prompt


@dataclass(frozen=True)
class Subject:
    """A prompt to compare.

    Attributes:
        job: how it is painted; its seed is that of repetition 0.
        group: which mean it belongs to.
    """

    job: PictureJob
    group: str


def subjects_of(
    entries: Sequence[Entry], options: Mapping[str, Any], *, height: int, width: int
) -> list[Subject]:
    """The prompts to compare, in their order. A prompt without a seed has its place in the list for one.

    Args:
        entries: where each stands and what stands there, as `read_entries` gives them.
        options: of the command line, by the names of `PictureJob`; None is not given.
        height: where neither says it.
        width: likewise.

    Raises:
        ValueError: naming every value that can't be, every unknown name, and a prompt that stands there twice.
    """
    make_jobs(entries, options, height=height, width=width)  # all problems at once
    subjects = []
    for place, entry in enumerate(entries):
        (job,) = make_jobs([entry], options, height=height, width=width)
        seed = job.seed if "seed" in said_by(entry[1]) else place
        group = entry[1].get("group") if isinstance(entry[1], Mapping) else None
        subjects.append(Subject(replace(job, seed=seed), str(group or NO_GROUP)))
    twice = [where for k, (where, _) in enumerate(entries) if subjects[k] in subjects[:k]]
    if twice:
        raise ValueError(
            f"{', '.join(twice)}: stands there already, with the same seed. A comparison counts it once."
        )
    return subjects


class ComparisonPictures(PictureList):
    """All pictures of a comparison.

    Args:
        subjects: the prompts.
        repetitions: of each prompt; repetition r paints with the prompt's seed + 1000 r.
        lora_scale: the strength that is compared with the base.
        strengths: of the sweep, painted in the first repetition; none leaves it out.
        enhancement: words to add to each prompt; None leaves that comparison out.
        trained_captions: painted by the LoRA alone, to see whether it repeats the pictures that it learnt them from.
        unseen_captions: of held-out pictures, likewise, for comparison.
        output: folder of the pictures.
        batch_size: pictures painted together.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        repetitions: Sequence[int],
        lora_scale: float,
        strengths: Sequence[float],
        enhancement: str | None,
        trained_captions: Sequence[str],
        unseen_captions: Sequence[str],
        output: Path,
        batch_size: int,
    ) -> None:
        super().__init__(output, batch_size)
        self.subjects = subjects
        self.repetitions = repetitions
        self.lora_scale = lora_scale
        self.strengths = strengths
        self.enhancement = enhancement
        self.trained_captions = trained_captions
        self.unseen_captions = unseen_captions

    def job(
        self, subject: Subject, repetition: int, strength: float, *, enhanced: bool = False
    ) -> PictureJob:
        """One cell."""
        job = subject.job
        prompt = f"{job.prompt}, {self.enhancement}" if enhanced else job.prompt
        return replace(job, prompt=prompt, seed=job.seed + APART * repetition, lora_scale=float(strength))

    @cached_property
    def plain(self) -> list[int]:
        """Places of the subjects that don't hold the enhancement's words already; none without an enhancement."""
        if not self.enhancement:
            return []
        words = _words(self.enhancement)
        return [place for place, one in enumerate(self.subjects) if not words <= _words(one.job.prompt)]

    def of_captions(self, captions: Sequence[str]) -> list[PictureJob]:
        """The pictures of captions, painted as the first subject is, each from noise of its own.

        A caption's brackets were trained as characters, so they are painted as characters.
        """
        like = replace(self.subjects[0].job, lora_scale=float(self.lora_scale))
        return [replace(like, prompt=as_characters(caption), seed=k) for k, caption in enumerate(captions)]

    @cached_property
    def jobs(self) -> list[PictureJob]:
        """All pictures, equal ones once."""
        captions = (self.trained_captions, self.unseen_captions)
        painted = [job for some in captions for job in self.of_captions(some)]
        return list(dict.fromkeys([*self._cells(), *painted]))

    def _cells(self) -> Iterator[PictureJob]:
        for strength in (0.0, self.lora_scale):
            for subject in self.subjects:
                yield from (self.job(subject, r, strength) for r in self.repetitions)
            for place in self.plain:
                subject = self.subjects[place]
                yield from (self.job(subject, r, strength, enhanced=True) for r in self.repetitions)
        for strength in self.strengths:
            yield from (self.job(subject, self.repetitions[0], strength) for subject in self.subjects)


def spread(pictures: int, number: int) -> list[int]:
    """So many places, evenly out of all pictures; where there are fewer pictures, they come again.

    Args:
        pictures: how many there are.
        number: how many places are wanted.
    """
    if pictures < number:
        return [k % pictures for k in range(number)] if pictures else []
    return [k * pictures // number for k in range(number)]


def _words(prompt: str) -> set[str]:
    return set(re.findall(r"\w+", strip_weights(prompt).lower()))
