"""The report of a star: what matters in plain words first, then tables, curves and pictures, and the rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import RESAMPLES, Array
from experiments.document import Answer, Block, Figure, Heading, Points, Table, Text
from experiments.effects import Effect, arm_mean, difference
from experiments.picture_grid import BASE, grid_of_first_prompts
from experiments.plan import Measure, Plan, Star
from experiments.plots import scores_beside_each_other
from experiments.scores import Scores
from experiments.star import SHARE, Beside, Curves, Verdict, compare_with_center, first_reached, value_at
from experiments.wording import MEANING, WORDS, interval, listed, mark, signed

VERDICTS: Mapping[Verdict, str] = {
    "better": "Better than the center",
    "trades": "Trades one for the other",
    "worse": "Worse",
    "same": "No difference shown",
}


@dataclass(frozen=True)
class StarFindings:
    """What was found.

    Attributes:
        plan: the experiment; its answer is a `Star`.
        star: the same.
        scores: draws -> scores of all arms then; the last at the end.
        beside: arm -> how it stands beside the center.
    """

    plan: Plan
    star: Star
    scores: Mapping[int, Scores]
    beside: Mapping[str, Beside]

    @property
    def end(self) -> Scores:
        """Scores of the last draws."""
        return self.scores[max(self.scores)]


def find_in_star(plan: Plan, star: Star, scores: Mapping[int, Scores]) -> StarFindings:
    """Work out everything."""
    return StarFindings(plan, star, scores, compare_with_center(curves_of(scores, plan.arms), star.center))


def curves_of(scores: Mapping[int, Scores], arms: Sequence[str] | Mapping[str, object]) -> Curves:
    """The arms' scores over draws, from the base's on.

    Raises:
        ValueError: the base's pictures were not measured.
    """
    first = next(iter(scores.values()))
    if not first.base:
        raise ValueError(
            "no test painted the base: a star begins there. Let `strengths` hold 0, or leave it out."
        )

    def over_draws(measure: Measure, arm: str) -> Array:
        trained = [of.arms[measure][arm] for of in scores.values()]
        base = np.broadcast_to(first.base[measure], trained[0].shape)
        return np.stack([base, *trained], 1)

    return Curves(
        np.array([0, *scores], float),
        *({arm: over_draws(measure, arm) for arm in arms} for measure in ("style_score", "prompt_score")),
    )


def star_blocks(found: StarFindings) -> Iterator[Block]:
    """The report from top to bottom."""
    yield Answer(_headline(found), list(_sentences(found)))
    yield Heading("Every arm beside the center")
    yield _table(found)
    yield Text(
        "Against the center's draws, and prompt at equal style, are quantities of the rule, with intervals that hold"
        f" 95 % together (*: shown). What is at the end are scores minus those of {found.star.center}, with intervals"
        " of their own."
    )
    yield Heading("Style gained against prompt kept")
    for number, (name, arms) in enumerate(found.star.families.items()):
        yield _curves(found, number, name, arms)
    if found.star.strengths:
        yield Heading("Is a stronger adapter at a lower strength the same picture?")
        yield from _strengths(found)
    yield Heading("Each group at the end")
    yield from _groups(found)
    yield Heading("What they paint")
    yield _grid(found)
    yield Heading("How this was derived")
    yield Points(list(_derivation(found)))


def _headline(found: StarFindings) -> str:
    by = {verdict: [arm for arm, of in found.beside.items() if of.verdict == verdict] for verdict in VERDICTS}
    said = [f"{words}: {listed(by[verdict])}" for verdict, words in VERDICTS.items() if by[verdict]]
    return f"{'. '.join(said)}. (Beside {found.star.center}.)"


def _sentences(found: StarFindings) -> Iterator[str]:
    for arm, of in found.beside.items():
        if of.verdict != "same":
            yield f"{arm}: {_in_words(of)}."


def _in_words(of: Beside) -> str:
    parts = []
    if not of.reached:
        parts.append(f"doesn't reach {SHARE:.0%} of the center's style")
    elif of.sooner.shown:
        less = "fewer" if of.sooner.value < 0 else "more"
        parts.append(f"{abs(of.sooner.value):.0%} {less} draws to {SHARE:.0%} of the center's style")
    if of.ends.shown and of.ends.value < 0:
        parts.append(f"{signed(of.ends, 'style_score')} points of style at the end")
    if of.keeps.shown:
        parts.append(f"{signed(of.keeps, 'prompt_score')} points of prompt score at equal style")
    return ", ".join(parts)


def _table(found: StarFindings) -> Table:
    columns = ["arm", "verdict", "draws to the style", "against the center's", "prompt at equal style"]
    rows = []
    for arm, of in found.beside.items():
        needed = f"{of.needed:,.0f}" if of.reached else f"not in {of.needed:,.0f}"
        sooner = of.sooner.estimate
        share = f"{sooner.value:+.0%} ({sooner.low:+.0%} to {sooner.high:+.0%}){mark(of.sooner)}"
        rows.append([arm, of.verdict, needed, share, signed(of.keeps, "prompt_score") + mark(of.keeps)])
        rows[-1] += [signed(effect, measure) for measure, effect in _at_the_end(found, arm).items()]
    return Table([*columns, *(f"{WORDS[measure]} at the end" for measure in found.end.arms)], rows)


def _at_the_end(found: StarFindings, arm: str) -> dict[Measure, Effect]:
    """The arm minus the center, of each measure."""
    return {measure: difference(of[found.star.center], of[arm]) for measure, of in found.end.arms.items()}


def _curves(found: StarFindings, number: int, name: str, arms: Sequence[str]) -> Figure:
    curves = curves_of(found.scores, found.plan.arms)
    lines = {arm: (_line(curves.prompt[arm]), _line(curves.style[arm])) for arm in (found.star.center, *arms)}
    text = f"{name}: style score against prompt score, from the base on after {_numbers(found)} draws"
    image = scores_beside_each_other(name, lines, WORDS["prompt_score"], WORDS["style_score"])
    return Figure(f"curves_{number}.png", image, text)


def _strengths(found: StarFindings) -> Iterator[Block]:
    """Each arm that was painted at several strengths, beside the center trained for less."""
    curves, center = curves_of(found.scores, found.plan.arms), found.star.center
    draws, styles, prompts = (
        curves.draws,
        *(np.array(_line(of[center])) for of in (curves.style, curves.prompt)),
    )
    lines: dict[str, tuple[list[float], list[float]]] = {
        f"{center} over draws": (prompts.tolist(), styles.tolist())
    }
    rows = []
    for arm in found.star.strengths:
        of = found.end.strengths[arm]
        asked = [float(at["prompt_score"].mean()) for at in of.values()]
        styled = [float(at["style_score"].mean()) for at in of.values()]
        lines[arm] = (asked, styled)
        for strength, prompt, style in zip(of, asked, styled, strict=True):
            where = first_reached(styles[None], draws, np.array([style]))
            there = prompt - float(value_at(prompts[None], draws, where)[0])
            cells = [f"{strength:g}", f"{style:.1f}", f"{prompt:.1f}"]
            rows.append([arm, *cells, f"{there:+.1f}" if style <= styles.max() else "more style than it has"])
    last = f"prompt score minus that of {center} in training, at equal style"
    yield Table(["arm", "strength", "style score", "prompt score", last], rows)
    text = f"Style against prompt of adapters at strengths up to 1, beside {center} over its draws"
    image = scores_beside_each_other(text, lines, WORDS["prompt_score"], WORDS["style_score"])
    yield Figure("strengths.png", image, text)


def _line(scores: Array) -> list[float]:
    """Means of scores [T, D, P, S] over draws."""
    means: list[float] = scores.mean((0, 2, 3)).tolist()
    return means


def _groups(found: StarFindings) -> Iterator[Block]:
    """Every arm's mean scores by group."""
    scores = found.end
    members = {group: [of == group for of in scores.groups] for group in dict.fromkeys(scores.groups)}
    for measure, of in scores.arms.items():
        yield Text(f"{WORDS[measure].capitalize()}: {MEANING[measure]}.")
        arms = {**of, BASE: scores.base[measure][None]}
        rows = [
            [arm, *(interval(arm_mean(values[:, rows]), measure) for rows in members.values())]
            for arm, values in arms.items()
        ]
        yield Table(["arm", *members], rows)


def _grid(found: StarFindings) -> Figure:
    seed = found.plan.seeds[0]
    text = (
        f"The first prompts of each group as every arm paints them from the same noise (training seed {seed})"
    )
    return Figure("pictures.jpg", grid_of_first_prompts(found.end), text)


def _derivation(found: StarFindings) -> Iterator[str]:
    seeds = next(iter(found.end.arms.values()))[found.star.center].shape[2]
    center = found.star.center
    yield (
        f"The rule: the style to reach is {SHARE:.0%} of the way from the base's score to where {center} ends. An arm"
        " is better if it is shown to reach it in fewer draws, or to have a higher prompt score when it does, and"
        " nothing is shown to be worse; worse the other way round, or if it is shown to end with less style; it trades"
        " if one is shown better and another worse. That it may end with less was added when the first training seed"
        " had been seen. For an arm that doesn't reach it, prompt scores are compared at the highest style that it has."
        " Between measured draws curves are straight."
    )
    yield (
        f"Several comparisons: the intervals of the three quantities of all {len(found.beside)} arms hold 95 % together"
        f" (max-t over {RESAMPLES} bootstrap resamples of the prompts). Shown also means that every training seed alone"
        " agrees."
    )
    yield (
        f"Pairing: every arm paints the same {len(found.end.prompts)} prompts from the same noise, {seeds} each; in"
        " arms of one training seed noise, timesteps and, at one rank, the adapter at step 0 are the same numbers."
    )
    yield "Arms, prompts and rule, but for what is said of it, were written down before any arm was looked at."
    yield from found.plan.notes


def _numbers(found: StarFindings) -> str:
    return listed([f"{number:,}" for number in found.scores])
