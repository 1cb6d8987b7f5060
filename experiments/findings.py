"""The answer by rule: an effect beside the whole range of tuning, for each group and each measure.

    effect     the second arm of `answer.effect` minus the first, both as they are (V2 minus V1)
    range      of each star of tuning: its best arm minus its worst
    verdict    none    the effect isn't shown
               more    |effect| - range is shown to be above zero
               worse   the same, with an effect below zero
               less    |effect| - range is shown to be below zero
               untold  neither

"Shown" is `Effect.shown`: the 95 % interval over prompts leaves out zero and every training seed alone agrees. The
verdict is taken for the range of the star that the first arm of the effect belongs to (what tuning *could have done
instead*), by the measure that the plan names. The other measures and ranges say what would change it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.bootstrap import Array, Estimate
from experiments.effects import Effect, Range, arm_mean, difference, excess, lead, spread
from experiments.plan import Answer, Measure, Plan
from experiments.scores import Scores

Verdict = Literal["more", "worse", "less", "untold", "none"]
VERDICTS: dict[Verdict, str] = {
    "more": "{effect} changed more than the whole range of {range}",
    "worse": "{effect} lowered the score, by more than the whole range of {range}",
    "less": "the range of {range} is wider than the effect of {effect}",
    "untold": "the effect of {effect} and the range of {range} can't be told apart",
    "none": "no effect of {effect} is shown",
}


@dataclass(frozen=True)
class Against:
    """The effect beside one range.

    Attributes:
        range: of the arms.
        excess: |effect| minus the range.
        lead: the curated arm as it is, minus the best arm of the range; None for a range that holds that arm.
        without_worst: |effect| minus the range without its worst arm; None where two arms are left alone.
        verdict: by the rule.
        verdict_without_worst: by the rule, the worst arm left out; None likewise.
    """

    range: Range
    excess: Effect
    lead: Effect | None
    without_worst: Effect | None
    verdict: Verdict
    verdict_without_worst: Verdict | None


@dataclass(frozen=True)
class Finding:
    """One group by one measure.

    Attributes:
        effect: of curation.
        against: range's name -> the effect beside it.
        pairs: name -> the difference.
        arms: arm -> its mean.
        base: the base's mean; None where it wasn't painted.
    """

    effect: Effect
    against: Mapping[str, Against]
    pairs: Mapping[str, Effect]
    arms: Mapping[str, Estimate]
    base: Estimate | None


@dataclass(frozen=True)
class Findings:
    """Everything that was found.

    Attributes:
        plan: the experiment.
        answer: by which comparison it is answered.
        scores: all scores.
        decisive: name of the range that the verdict is taken for.
        of: measure -> group -> what was found.
    """

    plan: Plan
    answer: Answer
    scores: Scores
    decisive: str
    of: Mapping[Measure, Mapping[str, Finding]]

    def verdicts(self, measure: Measure | None = None) -> dict[str, Verdict]:
        """Group -> verdict, by the plan's measure or another."""
        of = self.of[measure or self.answer.measure]
        return {group: finding.against[self.decisive].verdict for group, finding in of.items()}


def find(plan: Plan, answer: Answer, scores: Scores) -> Findings:
    """Work out everything.

    Raises:
        ValueError: the measure that decides was not measured.
    """
    if answer.measure not in scores.arms:
        raise ValueError(
            f"answer.measure is {answer.measure}, which no test has; measured are {', '.join(scores.arms)}."
            " Set another, or let `test` measure it (style_similarity needs held-out pictures)."
        )
    groups = {group: [of == group for of in scores.groups] for group in dict.fromkeys(scores.groups)}
    return Findings(
        plan=plan,
        answer=answer,
        scores=scores,
        decisive=_decisive(answer),
        of={
            measure: {group: _finding(answer, scores, measure, rows) for group, rows in groups.items()}
            for measure in scores.arms
        },
    )


def verdict(effect: Effect, beyond: Effect) -> Verdict:
    """The rule of the module's docstring; `beyond` is |effect| - range."""
    if not effect.shown:
        return "none"
    if not beyond.shown:
        return "untold"
    if beyond.value < 0:
        return "less"
    return "more" if effect.value > 0 else "worse"


def _decisive(answer: Answer) -> str:
    """The star around the first arm of the effect; the first range if none holds it."""
    around = [name for name, arms in answer.ranges.items() if answer.effect[0] in arms]
    return (around or list(answer.ranges))[0]


def _finding(answer: Answer, scores: Scores, measure: Measure, rows: Sequence[bool]) -> Finding:
    arms = {arm: of[:, rows] for arm, of in scores.arms[measure].items()}
    before, after = (arms[name] for name in answer.effect)
    effect = difference(before, after)
    ranges = {name: {arm: arms[arm] for arm in star} for name, star in answer.ranges.items()}
    base = scores.base.get(measure)
    return Finding(
        effect=effect,
        against={
            name: _against(effect, before, after, star, answer.effect[1]) for name, star in ranges.items()
        },
        pairs={name: difference(arms[a], arms[b]) for name, (a, b) in answer.pairs.items()},
        arms={arm: arm_mean(of) for arm, of in arms.items()},
        base=None if base is None else arm_mean(base[None, rows]),
    )


def _against(effect: Effect, before: Array, after: Array, star: Mapping[str, Array], curated: str) -> Against:
    whole = spread(star)
    beyond = excess(before, after, list(star.values()))
    rest = [scores for name, scores in star.items() if name != whole.worst]
    less = excess(before, after, rest) if len(rest) > 1 else None
    return Against(
        range=whole,
        excess=beyond,
        lead=None if curated in star else lead(after, list(star.values())),
        without_worst=less,
        verdict=verdict(effect, beyond),
        verdict_without_worst=None if less is None else verdict(effect, less),
    )
