"""How much a picture looks like the style: its mean cosine with held-out pictures of it, by CLIP vectors.

Held-out, because nearness to pictures that were trained on could be memorised. CLIP sees content as well as
style, so a portrait is nearer to portraits of any style: compare base and LoRA on the same prompts
(`paired.compare`), not one group with another.
"""

from numpy.typing import ArrayLike

from evaluation.bootstrap import Array
from evaluation.vectors import unit_vectors


def style_similarity(samples: ArrayLike, style: ArrayLike) -> Array:
    """Mean cosine of each sample with all pictures of the style.

    Args:
        samples: CLIP vectors [prompts, seeds, D].
        style: of held-out pictures, [M, D].

    Returns:
        [prompts, seeds], in [-1, 1].

    Raises:
        ValueError: shapes that don't fit, or a vector that is zero or not finite.
    """
    pictures, goal = unit_vectors({"samples": samples, "style": style}, ndims={"samples": 3, "style": 2})
    similarity: Array = pictures @ goal.mean(0)
    return similarity
