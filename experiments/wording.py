"""How the reports of experiments name measures, and write numbers with their intervals."""

from collections.abc import Mapping, Sequence

from evaluation.bootstrap import Estimate
from experiments.effects import Effect
from experiments.plan import Measure

WORDS: Mapping[Measure, str] = {
    "style_score": "style score",
    "style_similarity": "likeness to the style",
    "prompt_score": "prompt score",
}
MEANING: Mapping[Measure, str] = {
    "style_score": "CLIP score (100 x cosine) of each picture with the style prompt",
    "style_similarity": "mean CLIP cosine of each picture with the held-out pictures of the style",
    "prompt_score": "CLIP score of each picture with its own prompt, whether it still shows what was asked for",
}
DECIMALS: Mapping[Measure, int] = {"style_score": 1, "style_similarity": 3, "prompt_score": 1}


def mark(effect: Effect) -> str:
    """A star behind what is shown."""
    return " *" if effect.shown else ""


def each_seed(effect: Effect, measure: Measure) -> str:
    """The value of each training seed."""
    each = ", ".join(f"{value:+.{DECIMALS[measure]}f}" for value in effect.by_seed)
    return f"each training seed alone {each}"


def signed(effect: Effect, measure: Measure) -> str:
    """A difference with its interval."""
    return interval(effect.estimate, measure, sign="+")


def interval(estimate: Estimate, measure: Measure, sign: str = "") -> str:
    """Such as "12.3 (11.0 to 13.6)"."""
    form = f"{sign}.{DECIMALS[measure]}f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def listed(names: Sequence[str]) -> str:
    """Such as "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
