"""What CLIP says of captioned pictures: does a picture show what its captions say, and which kind is it?

Agreement is the CLIP score of Hessel et al. 2021 for one pair: 100 x cosine of picture and caption. Its size
depends on the CLIP, so compare pictures with each other and not with a threshold. A group is suggested as in
Radford et al. 2021 (zero-shot): a softmax of the picture's cosines with one text a group, scaled as CLIP was
trained; the largest is the group, and its value the confidence. Both are asked of the same vectors, so pictures
are embedded once.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from evaluation.clip import Clip

BATCH = 16  # pictures, or captions, in CLIP at once


def picture_vectors(clip: Clip, images: Iterable[Image.Image]) -> Tensor:
    """Unit vectors float32 [N, D] of RGB pictures, which are taken a few at a time; N is at least 1."""
    rest = iter(images)
    vectors = []
    while batch := list(islice(rest, BATCH)):
        vectors.append(clip.of_pictures(batch))
    return torch.cat(vectors)


def agreements(clip: Clip, pictures: Tensor, captions: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """The caption that fits each picture worst, with 100 x cosine of the two, in [-100, 100].

    Args:
        clip: the judge.
        pictures: unit vectors [N, D].
        captions: of each picture, at least one.
    """
    texts = [caption for own in captions for caption in own]
    owners = torch.tensor([place for place, own in enumerate(captions) for _ in own])
    cosines: list[float] = []
    for start in range(0, len(texts), BATCH):
        vectors = clip.of_texts(texts[start : start + BATCH])
        cosines.extend((100 * (pictures[owners[start : start + BATCH]] * vectors).sum(-1)).tolist())
    rest = iter(zip(texts, cosines, strict=True))
    return [min(islice(rest, len(own)), key=lambda pair: pair[1]) for own in captions]


def check_prompts(prompts: Mapping[str, str]) -> None:
    """Whether there is a choice.

    Raises:
        ValueError: there are fewer than two groups to choose from.
    """
    if len(prompts) < 2:
        raise ValueError(
            f"the group prompts are {dict(prompts)}: give at least two groups, each with a text that"
            " describes its pictures, such as {portrait: close-up portrait, landscape: landscape or wide shot}."
        )


def zero_shot(clip: Clip, pictures: Tensor, prompts: Mapping[str, str]) -> list[tuple[str, float]]:
    """The group whose text fits each picture best, with a confidence in (0, 1].

    Args:
        clip: the judge.
        pictures: unit vectors [N, D].
        prompts: name of each group -> what its pictures show, in words.

    Raises:
        ValueError: there are fewer than two groups to choose from.
    """
    check_prompts(prompts)
    names, texts = list(prompts), clip.of_texts(list(prompts.values()))
    confidences, best = torch.softmax(clip.scale * pictures @ texts.T, dim=-1).max(dim=-1)
    pairs = zip(best.tolist(), confidences.tolist(), strict=True)
    return [(names[place], confidence) for place, confidence in pairs]
