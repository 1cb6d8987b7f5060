"""Which pictures a comparison needs: each cell once, the same noise on both sides."""

from pathlib import Path
from typing import Any

import pytest

from datamodules.painting.comparison_pictures import ComparisonPictures, Subject, spread, subjects_of
from datamodules.painting.prompt_entries import PictureJob

ENTRIES = [
    ("p 1", "girl"),
    ("p 2", {"prompt": "Sea, (watercolor:1.3), soft", "group": "landscape", "seed": 42, "steps": 9}),
    ("p 3", {"prompt": "hills", "group": "landscape"}),
]


def subjects() -> list[Subject]:
    return subjects_of(ENTRIES, {"steps": None, "sampler": "euler"}, height=64, width=48)


def pictures(**changes: Any) -> ComparisonPictures:
    settings: dict[str, Any] = {
        "repetitions": [0, 2],
        "lora_scale": 1.0,
        "strengths": [0.0, 0.5, 1.0],
        "enhancement": "soft (watercolor:1.2)",
        "trained_captions": ["a", "a", "b"],
        "unseen_captions": [],
    }
    return ComparisonPictures(subjects(), **(settings | changes), output=Path("out"), batch_size=4)


def test_subjects_have_their_groups_seeds_and_settings() -> None:
    first, second, third = subjects()
    assert (first.group, second.group, third.group) == ("pictures", "landscape", "landscape")
    assert (first.job.seed, second.job.seed, third.job.seed) == (0, 42, 2)
    assert (first.job.steps, second.job.steps) == (25, 9)
    assert {one.job.sampler for one in subjects()} == {"euler"}
    assert (first.job.height, first.job.width) == (64, 48)


def test_a_seed_among_flags_is_the_prompts_own() -> None:
    said, unsaid = subjects_of([("p 1", "girl --d 7"), ("p 2", "sea --s 9")], {}, height=64, width=64)
    assert (said.job.prompt, said.job.seed, unsaid.job.seed, unsaid.job.steps) == ("girl", 7, 1, 9)


def test_both_sides_have_the_same_noise() -> None:
    found = pictures()
    for subject in found.subjects:
        for repetition in (0, 2):
            base, lora = (found.job(subject, repetition, strength) for strength in (0.0, 1.0))
            assert base == PictureJob(**{**vars(lora), "lora_scale": 0.0})
            assert base.seed == subject.job.seed + 1000 * repetition


def test_no_picture_stands_twice_and_shared_cells_are_one() -> None:
    jobs = pictures().jobs
    assert len(set(jobs)) == len(jobs)
    # 3 subjects x 2 seeds x 2 sides, 2 of them enhanced, the sweep's 0.5 alone is new, 3 captions
    assert len(jobs) == 12 + 2 * 2 * 2 + 3 + 3


def test_prompts_that_say_the_enhancement_already_are_left_out() -> None:
    assert pictures().plain == [0, 2]
    assert pictures(enhancement=None).plain == []
    assert pictures(enhancement="soft ink").plain == [0, 1, 2]
    subject = pictures().subjects[0]
    assert pictures().job(subject, 0, 1.0, enhanced=True).prompt == "girl, soft (watercolor:1.2)"


def test_captions_are_painted_from_noise_of_their_own() -> None:
    jobs = pictures(lora_scale=0.8).of_captions(["a", "a", "b"])
    assert [(job.prompt, job.seed, job.lora_scale) for job in jobs] == [
        ("a", 0, 0.8),
        ("a", 1, 0.8),
        ("b", 2, 0.8),
    ]


def test_brackets_of_a_caption_are_painted_as_characters() -> None:
    jobs = pictures().of_captions(["saber (fate), [armour]", "hills"])
    assert [job.prompt for job in jobs] == [r"saber \(fate\), \[armour\]", "hills"]


def test_without_sweep_enhancement_and_captions_there_are_the_pairs() -> None:
    assert len(pictures(strengths=[], enhancement=None, trained_captions=[]).jobs) == 12


def test_places_are_spread_evenly_or_come_again() -> None:
    assert spread(9, 3) == [0, 3, 6]
    assert spread(2, 5) == [0, 1, 0, 1, 0]
    assert spread(0, 5) == []
    assert spread(4, 0) == []


def test_a_prompt_that_stands_twice_is_named() -> None:
    with pytest.raises(ValueError, match="p 4: stands there already, with the same seed"):
        subjects_of([*ENTRIES, ("p 4", ENTRIES[1][1])], {}, height=64, width=64)
    subjects_of([*ENTRIES, ("p 4", "girl")], {}, height=64, width=64)  # another seed: another picture


def test_all_wrong_prompts_are_named_at_once() -> None:
    wrong = [("p 1", {"prompt": "a", "steps": 0}), ("p 2", {"prompt": "b", "promt": 1})]
    with pytest.raises(ValueError, match=r"(?s)p 1: steps.*p 2: promt: no such setting"):
        subjects_of(wrong, {}, height=64, width=64)
