"""From CLIP vectors of all painted pictures to every number of the report.

What can't be measured (no held-out pictures, one seed ...) is left out with the reason as a sentence, and the rest
is measured all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from evaluation.bootstrap import Array
from evaluation.cmmd import style_distance
from evaluation.diversity import diversity
from evaluation.interaction import Interaction, interact
from evaluation.memorisation import Captioned, Looks, memorisation
from evaluation.paired import compare
from evaluation.report import Measured
from evaluation.strength import StrengthSweep, sweep
from evaluation.style_similarity import style_similarity

T = TypeVar("T")

STYLE_SCORE = "CLIP score with the style prompt"
LIKENESS = "likeness to held-out pictures of the style"
PROMPT_SCORE = "CLIP score with the own prompt"


@dataclass(frozen=True)
class Vectors:
    """CLIP's unit vectors of P prompts painted S times each.

    Attributes:
        groups: of each prompt.
        base: [P, S, D].
        lora: the same prompts and noise, [P, S, D].
        own_prompts: of the prompts' words, [P, D].
        style_prompt: [D].
        strengths: strength -> [P, 1, D]; empty where no sweep was painted.
        enhanced: places of the prompts that were also painted with the enhancement.
        base_enhanced: of those, [Q, S, D].
        lora_enhanced: likewise.
        style: of held-out pictures of the style, [M, D], M may be 0.
    """

    groups: Sequence[str]
    base: Array
    lora: Array
    own_prompts: Array
    style_prompt: Array
    strengths: Mapping[float, Array]
    enhanced: Sequence[int]
    base_enhanced: Array
    lora_enhanced: Array
    style: Array


@dataclass(frozen=True)
class Copies:
    """What may have been copied from where: the arguments of `memorisation`."""

    samples: Looks
    training: Looks
    unseen: Looks
    of_training: Captioned | None
    of_unseen: Captioned | None


def text_score(pictures: Array, texts: Array) -> Array:
    """CLIP score, 100 x cosine (Hessel et al. 2021, without the cut at 0).

    Args:
        pictures: unit vectors [P, S, D].
        texts: unit vectors [P, D], or [D] for all.

    Returns:
        [P, S].
    """
    scores: Array = 100 * np.einsum("psd,pd->ps", pictures, np.broadcast_to(texts, pictures[:, 0].shape))
    return scores


def measure(vectors: Vectors, copies: Copies | None, seed: int, reasons: Sequence[str] = ()) -> Measured:
    """Every number.

    Args:
        vectors: of all pictures.
        copies: what memorisation compares; None where there are no training pictures.
        seed: of the resampling.
        reasons: sentences on what is missing from the start.
    """
    missing = list(reasons)

    def tried(what: str, found: Callable[[], T]) -> T | None:
        try:
            return found()
        except ValueError as error:
            missing.append(f"{what}: {error}")
            return None

    base, lora, groups = vectors.base, vectors.lora, vectors.groups
    styled = len(vectors.style) > 0
    return Measured(
        prompt_score=compare(
            text_score(base, vectors.own_prompts), text_score(lora, vectors.own_prompts), groups, seed
        ),
        style_score=compare(
            text_score(base, vectors.style_prompt), text_score(lora, vectors.style_prompt), groups, seed
        ),
        style_similarity=compare(
            style_similarity(base, vectors.style), style_similarity(lora, vectors.style), groups, seed
        )
        if styled
        else None,
        style_distance=tried("CMMD", lambda: style_distance(base, lora, vectors.style, groups, seed))
        if styled
        else None,
        memorisation=tried("Memorisation", lambda: memorisation(**vars(copies))) if copies else None,
        diversity=tried("Variety", lambda: diversity(base, lora, groups, seed)),
        strength=tried("Strength", lambda: _sweep(vectors, seed)) if styled and vectors.strengths else None,
        enhancement=_enhancement(vectors, seed) if len(vectors.enhanced) else {},
        not_measured=tuple(missing),
    )


def _sweep(vectors: Vectors, seed: int) -> StrengthSweep:
    at = sorted(vectors.strengths)
    style = [style_similarity(vectors.strengths[strength], vectors.style) for strength in at]
    prompt = [text_score(vectors.strengths[strength], vectors.own_prompts) for strength in at]
    return sweep(at, np.stack(style), np.stack(prompt), vectors.groups, seed)


def _enhancement(vectors: Vectors, seed: int) -> dict[str, Interaction]:
    """The 2x2 by the measures of style, and by what it costs: do pictures still show the plain prompt?"""
    rows = list(vectors.enhanced)
    cells = (vectors.base[rows], vectors.base_enhanced, vectors.lora[rows], vectors.lora_enhanced)

    def by(score: Callable[[Array], Array]) -> Interaction:
        base_plain, base_enhanced, lora_plain, lora_enhanced = map(score, cells)
        return interact(base_plain, base_enhanced, lora_plain, lora_enhanced, seed)

    found = {STYLE_SCORE: by(lambda cell: text_score(cell, vectors.style_prompt))}
    if len(vectors.style):
        found[LIKENESS] = by(lambda cell: style_similarity(cell, vectors.style))
    own = vectors.own_prompts[rows]
    return found | {PROMPT_SCORE: by(lambda cell: text_score(cell, own))}
