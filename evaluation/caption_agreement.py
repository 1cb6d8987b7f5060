"""What CLIP says of captioned pictures: does a picture show what its caption says, and which kind is it?

Agreement is the CLIP score of Hessel et al. 2021 for one pair: 100 x cosine of picture and caption. Its size
depends on the CLIP, so compare pictures with each other and not with a threshold. A group is suggested as in
Radford et al. 2021 (zero-shot): a softmax of the picture's cosines with one text a group, scaled as CLIP was
trained; the largest is the group, and its value the confidence.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from evaluation.clip import Clip

BATCH = 16  # pictures in memory at once


def agreements(clip: Clip, images: Iterable[Image.Image], captions: Sequence[str]) -> list[float]:
    """100 x cosine of each picture with its own caption, in [-100, 100].

    Args:
        clip: the judge.
        images: RGB, taken a few at a time.
        captions: one a picture.
    """
    scores: list[float] = []
    for vectors in _vectors(clip, images):
        texts = clip.of_texts(captions[len(scores) : len(scores) + len(vectors)])
        scores.extend((100 * (vectors * texts).sum(-1)).tolist())
    return scores


def zero_shot(
    clip: Clip, images: Iterable[Image.Image], prompts: Mapping[str, str]
) -> list[tuple[str, float]]:
    """The group whose text fits each picture best, with a confidence in (0, 1].

    Args:
        clip: the judge.
        images: RGB, taken a few at a time.
        prompts: name of each group -> what its pictures show, in words.

    Raises:
        ValueError: there are fewer than two groups to choose from.
    """
    if len(prompts) < 2:
        raise ValueError(
            f"the group prompts are {dict(prompts)}: give at least two groups, each with a text that"
            " describes its pictures, such as {portrait: close-up portrait, landscape: landscape or wide shot}."
        )
    names, texts = list(prompts), clip.of_texts(list(prompts.values()))
    suggested: list[tuple[str, float]] = []
    for vectors in _vectors(clip, images):
        confidences, best = torch.softmax(clip.scale * vectors @ texts.T, dim=-1).max(dim=-1)
        pairs = zip(best.tolist(), confidences.tolist(), strict=True)
        suggested.extend((names[place], confidence) for place, confidence in pairs)
    return suggested


def _vectors(clip: Clip, images: Iterable[Image.Image]) -> Iterator[Tensor]:
    """Unit vectors [up to BATCH, D] of the pictures in order."""
    rest = iter(images)
    while batch := list(islice(rest, BATCH)):
        yield clip.of_pictures(batch)
