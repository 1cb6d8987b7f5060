"""{base, LoRA} x {plain prompt, enhanced prompt}: does an enhancement work better with the LoRA than without?

The four cells hold the same prompts and the same noise. With y the mean score of a cell, the interaction of a
2 x 2 design is

    (y[LoRA, enhanced] - y[LoRA, plain]) - (y[base, enhanced] - y[base, plain])

the effect of the enhancement with the LoRA minus its effect without. Above zero, the LoRA makes the words work
(the "latent enabler" hypothesis); at zero, the two effects just add up. The interval is `bootstrap.py`'s over
that difference of differences, picture by picture.
"""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from evaluation.bootstrap import Estimate, mean
from evaluation.paired import paired_scores, verdict


@dataclass(frozen=True)
class Interaction:
    """Means of the four cells, the four simple effects, and their interaction.

    Attributes:
        prompts: how many.
        seeds: pictures of each prompt, in each cell.
        base_plain: mean score; so are the other three cells.
        base_enhanced: mean score.
        lora_plain: mean score.
        lora_enhanced: mean score.
        enhancement_on_base: enhanced minus plain, base.
        enhancement_on_lora: enhanced minus plain, LoRA.
        lora_on_plain: LoRA minus base, plain prompts.
        lora_on_enhanced: LoRA minus base, enhanced prompts.
        interaction: enhancement_on_lora minus enhancement_on_base.
        verdict: "the enhancement does more with the LoRA", "... does less ...", "no difference shown", or
            that one prompt is too few.
    """

    prompts: int
    seeds: int
    base_plain: Estimate
    base_enhanced: Estimate
    lora_plain: Estimate
    lora_enhanced: Estimate
    enhancement_on_base: Estimate
    enhancement_on_lora: Estimate
    lora_on_plain: Estimate
    lora_on_enhanced: Estimate
    interaction: Estimate
    verdict: str


def interact(
    base_plain: ArrayLike,
    base_enhanced: ArrayLike,
    lora_plain: ArrayLike,
    lora_enhanced: ArrayLike,
    seed: int,
) -> Interaction:
    """Effects and interaction of scores, each [prompts, seeds], same prompts and noise in all four.

    Raises:
        ValueError: shapes that don't fit each other, no scores, or one that isn't finite.
    """
    cells = {"base, plain": base_plain, "base, enhanced": base_enhanced}
    cells |= {"LoRA, plain": lora_plain, "LoRA, enhanced": lora_enhanced}
    bp, be, lp, le = paired_scores(cells)
    interaction = mean((le - lp) - (be - bp), seed)
    return Interaction(
        prompts=bp.shape[0],
        seeds=bp.shape[1],
        base_plain=mean(bp, seed),
        base_enhanced=mean(be, seed),
        lora_plain=mean(lp, seed),
        lora_enhanced=mean(le, seed),
        enhancement_on_base=mean(be - bp, seed),
        enhancement_on_lora=mean(le - lp, seed),
        lora_on_plain=mean(lp - bp, seed),
        lora_on_enhanced=mean(le - be, seed),
        interaction=interaction,
        verdict=verdict(
            interaction, "the enhancement does more with the LoRA", "the enhancement does less with the LoRA"
        ),
    )
