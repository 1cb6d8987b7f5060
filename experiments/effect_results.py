"""The report of an experiment: the answer in plain words first, then pictures, tables, and how it was derived."""

from collections.abc import Iterator, Mapping

from evaluation.bootstrap import METHOD
from experiments.curves import Curves
from experiments.document import Answer, Block, Figure, Heading, Points, Table, Text
from experiments.effects import Effect
from experiments.findings import VERDICTS, Against, Finding, Findings
from experiments.picture_grid import BASE, grid_of_first_prompts
from experiments.plan import Measure
from experiments.plots import arm_means, bars_with_intervals, loss_curves
from experiments.wording import DECIMALS, MEANING, WORDS, each_seed, interval, listed, mark, signed


def effect_blocks(findings: Findings, curves: Curves) -> Iterator[Block]:
    """The report from top to bottom."""
    yield Answer(headline(findings), [sentence(findings, group) for group in _groups(findings)])
    yield _main_plot(findings)
    yield Heading("What would change it")
    yield Points(list(what_would_change_it(findings)))
    yield Heading("The effect beside the range")
    yield _against_table(findings)
    yield Heading("What else was compared")
    yield Points(list(pair_sentences(findings)))
    yield from _pairs(findings)
    yield Heading("Every arm")
    yield from _arms(findings)
    yield Heading("What they paint")
    yield _grid(findings)
    yield Heading("How the held-out loss fell")
    yield from _curves(findings, curves)
    yield Heading("How this was derived")
    yield Points(list(_derivation(findings)))


def headline(findings: Findings) -> str:
    """The question's answer in a sentence."""
    verdicts = findings.verdicts()
    phrases = {group: _phrase(findings, verdict) for group, verdict in verdicts.items()}
    if len(set(phrases.values())) == 1:
        yes = {"more": "Yes", "worse": "No", "less": "No"}.get(next(iter(verdicts.values())), "Not shown")
        alike = " alike" if len(phrases) > 1 else ""
        return f"{yes}: for {listed(list(phrases))}{alike}, {next(iter(phrases.values()))}."
    return "It depends: " + "; ".join(f"for {group}, {phrase}" for group, phrase in phrases.items()) + "."


def sentence(findings: Findings, group: str) -> str:
    """The figures behind the verdict of a group."""
    answer, finding = findings.answer, findings.of[findings.answer.measure][group]
    against, measure = finding.against[findings.decisive], answer.measure
    first, second = answer.effect
    tuned = against.range
    return (
        f"{group}: {answer.name} ({first} to {second}) moved the {WORDS[measure]} by "
        f"{signed(finding.effect, measure)} ({each_seed(finding.effect, measure)}); the whole range of "
        f"{findings.decisive} is {interval(tuned.effect.estimate, measure)}, from {tuned.worst} up to {tuned.best} "
        f"({each_seed(tuned.effect, measure)}).{_lead(against, answer.effect[1], measure)}"
    )


def what_would_change_it(findings: Findings) -> Iterator[str]:
    """Choices that the answer hangs on, each tried with the same pictures, then what wasn't tried."""
    answer = findings.answer
    for measure in findings.of:
        if measure != answer.measure:
            yield f"Judged by the {WORDS[measure]}: {_verdicts(findings, findings.verdicts(measure))}"
    own = findings.of[answer.measure]
    for name in answer.ranges:
        if name != findings.decisive:
            verdicts = {group: finding.against[name].verdict for group, finding in own.items()}
            yield f"Beside {name}: {_verdicts(findings, verdicts, name)}"
    for group, finding in own.items():
        against = finding.against[findings.decisive]
        if against.without_worst is not None and against.verdict_without_worst is not None:
            same = "still" if against.verdict_without_worst == against.verdict else "then"
            yield (
                f"Without the worst arm of the range ({against.range.worst}) for {group}: {same} "
                f"{_phrase(findings, against.verdict_without_worst)} (effect minus range "
                f"{signed(against.without_worst, answer.measure)})."
            )
    yield (
        "How wide the star of tuning is, is a choice: wider steps can only widen its range, narrower ones narrow it. "
        f"The training seeds are {len(findings.plan.seeds)}: others could move every figure by about what they differ."
    )


def pair_sentences(findings: Findings) -> Iterator[str]:
    """Each further comparison in a sentence, by the measure that decides."""
    measure = findings.answer.measure
    for name, pair in findings.answer.pairs.items():
        effects = {group: finding.pairs[name] for group, finding in findings.of[measure].items()}
        said = [
            f"{group} {signed(effect, measure)}" if effect.shown else f"{group} no difference shown"
            for group, effect in effects.items()
        ]
        yield f"{name} ({' to '.join(pair)}): {'; '.join(said)}."


def _main_plot(findings: Findings) -> Figure:
    answer = findings.answer
    panels = {
        group: {
            answer.name: finding.effect.estimate,
            **{
                f"range of\n{name}": against.range.effect.estimate
                for name, against in finding.against.items()
            },
        }
        for group, finding in findings.of[answer.measure].items()
    }
    words = f"{answer.name} ({' to '.join(answer.effect)}) beside the whole range of tuning"
    image = bars_with_intervals(words, panels, f"change of the {WORDS[answer.measure]}")
    return Figure(
        "effect_and_ranges.png", image, f"{words}: {WORDS[answer.measure]}, with 95 % intervals over prompts"
    )


def _against_table(findings: Findings) -> Table:
    columns = [
        "measure",
        "group",
        findings.answer.name,
        "beside",
        "its range",
        "worst to best",
        "effect - range",
    ]
    rows = [
        [
            WORDS[measure],
            group,
            signed(finding.effect, measure) + mark(finding.effect),
            name,
            interval(against.range.effect.estimate, measure),
            f"{against.range.worst} to {against.range.best}",
            signed(against.excess, measure) + mark(against.excess),
        ]
        for measure, groups in findings.of.items()
        for group, finding in groups.items()
        for name, against in finding.against.items()
    ]
    return Table(columns, rows)


def _pairs(findings: Findings) -> Iterator[Block]:
    """Differences of two arms with effect sizes, a table for each measure."""
    answer = findings.answer
    groups = _groups(findings)
    arms = {f"{answer.name} ({' to '.join(answer.effect)})": None, **answer.pairs}
    for measure, of in findings.of.items():
        yield Text(f"{WORDS[measure].capitalize()}: {MEANING[measure]}.")
        columns = ["from, to", *(text for group in groups for text in (group, "d", "each training seed"))]
        rows = []
        for name, pair in arms.items():
            effects = [of[group].effect if pair is None else of[group].pairs[name] for group in groups]
            cells = [cell for effect in effects for cell in _effect_cells(effect, measure)]
            rows.append([name if pair is None else f"{name} ({pair[0]} to {pair[1]})", *cells])
        yield Table(columns, rows)
    yield Text(
        "* shown: the 95 % interval leaves out zero and every training seed alone has the same sign; without the star "
        "no difference is shown. d is the standardised paired difference (mean over standard deviation of the prompts' "
        "differences)."
    )


def _arms(findings: Findings) -> Iterator[Block]:
    groups = _groups(findings)
    measures = list(findings.of)
    columns = ["arm", *(f"{group}: {WORDS[measure]}" for measure in measures for group in groups)]
    cells = [(findings.of[measure][group], measure) for measure in measures for group in groups]
    rows = [[arm, *(interval(of.arms[arm], measure) for of, measure in cells)] for arm in findings.plan.arms]
    if all(of.base is not None for of, _ in cells):
        rows.append([BASE, *(interval(of.base, measure) for of, measure in cells if of.base is not None)])
    yield Table(columns, rows)
    yield from (_arms_plot(measure, of) for measure, of in findings.of.items())


def _arms_plot(measure: Measure, of: Mapping[str, Finding]) -> Figure:
    bases = {group: finding.base.value for group, finding in of.items() if finding.base is not None}
    words = f"{WORDS[measure].capitalize()} of every arm"
    image = arm_means(words, {group: finding.arms for group, finding in of.items()}, bases, WORDS[measure])
    return Figure(
        f"arms_{measure}.png", image, f"{words}, with 95 % intervals over prompts; dashed: the base"
    )


def _grid(findings: Findings) -> Figure:
    seed = findings.plan.seeds[0]
    text = (
        f"The first prompts of each group as every arm paints them from the same noise (training seed {seed})"
    )
    return Figure("pictures.jpg", grid_of_first_prompts(findings.scores), text)


def _curves(findings: Findings, curves: Curves) -> Iterator[Block]:
    answer = findings.answer
    compared = dict.fromkeys([*answer.effect, *(arm for pair in answer.pairs.values() for arm in pair)])
    groups = _groups(findings)
    families = {
        "arms that are compared": list(compared),
        **{name: list(arms) for name, arms in answer.ranges.items()},
    }
    for number, (name, arms) in enumerate(families.items()):
        if all(group in curves[arm] for arm in arms for group in groups):
            text = f"Loss on held-out pictures, {name}: means over the training seeds"
            yield Figure(f"loss_{number}.png", loss_curves(text, curves, arms, groups), text)


def _derivation(findings: Findings) -> Iterator[str]:
    plan, scores = findings.plan, findings.scores
    answer = findings.answer
    seeds = next(iter(scores.arms[answer.measure].values())).shape[2]
    yield (
        f"The rule: by the {WORDS[answer.measure]}, the effect of {answer.name} is {answer.effect[1]} minus "
        f"{answer.effect[0]}, both as they are; a range is the best arm minus the worst of its star. The verdict is "
        "taken from effect minus range (the effect in absolute value), if that is shown. A range is best minus worst "
        "of noisy means, which comes out too large rather than too small: that favours tuning."
    )
    yield (
        f"Pairing: every arm paints the same {len(scores.prompts)} prompts with the same {seeds} noises each, and in "
        "arms of one training seed noise, timesteps and, at one rank, the adapter at step 0 are the same numbers. "
        "Differences are taken picture by picture."
    )
    yield f"Intervals: 95 %, {METHOD}; the same resamples for all arms."
    yield (
        f"Training seeds ({', '.join(map(str, plan.seeds))}): scores are averaged over them, and they are not "
        f"resampled ({len(plan.seeds)} are too few to say how trainings vary). So an interval says what other prompts "
        "might have shown with these trainings. An effect counts as shown (*) only if each training seed alone has its "
        "sign too."
    )
    yield from plan.notes


def _verdicts(findings: Findings, verdicts: Mapping[str, str], name: str | None = None) -> str:
    said = [f"for {group}, {_phrase(findings, verdict, name)}" for group, verdict in verdicts.items()]
    return "; ".join(said) + "."


def _phrase(findings: Findings, verdict: str, name: str | None = None) -> str:
    words: str = VERDICTS[verdict]  # type: ignore[index]
    return words.format(effect=findings.answer.name, range=name or findings.decisive)


def _lead(against: Against, curated: str, measure: Measure) -> str:
    """Would tuning have caught up? The curated arm beside the best that tuning made of the other."""
    if against.lead is None:
        return ""
    behind, before = f"no arm of that range reaches {curated}", f"{against.range.best} is above {curated}"
    told = (
        (behind if against.lead.value > 0 else before) if against.lead.shown else "they can't be told apart"
    )
    return f" {curated} as it is, minus the best arm of that range: {signed(against.lead, measure)}; {told}."


def _groups(findings: Findings) -> list[str]:
    return list(findings.of[findings.answer.measure])


def _effect_cells(effect: Effect, measure: Measure) -> tuple[str, str, str]:
    size = "" if effect.size is None else f"{effect.size:+.1f}"
    each = ", ".join(f"{value:+.{DECIMALS[measure]}f}" for value in effect.by_seed)
    return signed(effect, measure) + mark(effect), size, each
