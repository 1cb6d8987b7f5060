"""What an experiment's YAML says: arms, seeds, one evaluation, one hold-out, and by which comparison it is answered.

    question: what is asked, in a sentence
    config: the config of `fit` that every arm starts from
    options: {option of fit: value}             the same in all arms
    seeds: [0, 1, 2]                            training seeds
    held_out: a folder of pictures of the style that no arm trains on
    arms: {name: {option of fit: value}}        what each arm changes
    draws: [320, 640, 1600]                     optional: pictures drawn when scores are taken; default at the end
    evaluation: {option of test: value}         the same for all arms
    answer:                                     does an effect exceed a range of tuning? (`experiments/findings.py`)
      measure: style_score                      the score that decides (style_score, style_similarity, prompt_score)
      effect: {name: [arm, arm]}                the effect in question: from the first to the second
      ranges: {name: [arm, arm, ...]}           each a range of tuning: from the worst arm to the best
      pairs: {name: [arm, arm]}                 what else is compared: from the first to the second
    star:                                       instead of it: which arm is better? (`experiments/star.py`)
      center: arm                               the arm that every other is compared with
      families: {name: [arm, arm, ...]}         what the arms change, for tables and curves
      strengths: [0.5, 0.75, 1]                 optional: strengths of the adapter at the last draws
    notes: [sentence]                           what a reader of the results has to know

Paths are seen from the folder that the command is started in, as in configs. A key that is there twice is an error,
which plain YAML would pass over.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from foundation.given_paths import located

Measure = Literal["style_score", "style_similarity", "prompt_score"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
NEEDED = ("question", "config", "options", "seeds", "held_out", "arms", "evaluation")
KEYS = (*NEEDED, "draws", "answer", "star", "notes")
ANSWER_KEYS = ("measure", "effect", "ranges", "pairs")
STAR_KEYS = ("center", "families", "strengths")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OF_THE_RUNNER = {
    "fit": ("config", "name", "runs", "seed_everything", "ckpt_path", "data.holdout_folder"),
    "test": ("config", "lora", "output", "pictures", "held_out"),
}
"""Options that the runner gives itself."""


@dataclass(frozen=True)
class Answer:
    """By which comparisons the question is answered.

    Attributes:
        measure: the score that decides.
        name: of the effect in question, such as "curation".
        effect: from which arm to which.
        ranges: name -> arms of a star of tuning.
        pairs: name -> from which arm to which.
    """

    measure: Measure
    name: str
    effect: tuple[str, str]
    ranges: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Star:
    """Every arm beside one.

    Attributes:
        center: the arm that the others are compared with.
        families: name -> its arms, the center left out.
        strengths: arm -> strengths of its adapter, besides 1, that it paints with at the end.
    """

    center: str
    families: Mapping[str, tuple[str, ...]]
    strengths: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Plan:
    """An experiment; see the module's docstring."""

    question: str
    config: Path
    options: Mapping[str, Any]
    seeds: tuple[int, ...]
    held_out: Path
    arms: Mapping[str, Mapping[str, Any]]
    draws: tuple[int, ...]
    evaluation: Mapping[str, Any]
    answer: Answer | Star
    notes: tuple[str, ...]


def read_plan(path: Path) -> Plan:
    """Read and check an experiment; whether its options exist is checked by `fit` and `test` themselves.

    Raises:
        ValueError: with the file, what is wrong in it and what is valid.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: there is no such file (seen from {Path.cwd()}). Give an experiment's YAML."
        )
    try:
        return _plan(_read_strictly(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key that a mapping has twice; `<<: *anchor` may still be overridden."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As in `SafeLoader`, after a look at the keys as they are written."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise ValueError(
                    f"{key.value!r} stands twice, in lines {seen[key.value]} and {line}. Rename one of them."
                )
            seen[key.value] = line
        return super().construct_mapping(node, deep)


def _read_strictly(text: str) -> Any:
    return yaml.load(text, _StrictLoader)


def _plan(values: Any) -> Plan:
    _keys("the experiment", values, KEYS, needed=NEEDED)
    if ("answer" in values) == ("star" in values):
        raise ValueError("the experiment needs one of answer and star: by which comparison it is answered.")
    arms = {
        name: _options(f"arms.{name}", of, "fit") for name, of in _mapping("arms", values["arms"]).items()
    }
    if len(arms) < 2:
        raise ValueError(f"arms has {list(arms)}: an experiment compares two arms or more.")
    for name in arms:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"the arm {name!r} is to be a folder: use letters, digits, '.', '_' and '-'.")
    config = Path(located(str(values["config"])))
    if not config.is_file():
        raise ValueError(f"config is {config}: there is no such file (seen from {Path.cwd()}).")
    return Plan(
        question=str(values["question"]),
        config=config,
        options=_options("options", values["options"], "fit"),
        seeds=_seeds(values["seeds"]),
        held_out=Path(located(str(values["held_out"]))),
        arms=arms,
        draws=_draws(values.get("draws", [])),
        evaluation=_options("evaluation", values["evaluation"], "test"),
        answer=_answer(values["answer"], tuple(arms))
        if "answer" in values
        else _star(values["star"], tuple(arms)),
        notes=tuple(str(note) for note in values.get("notes") or ()),
    )


def _answer(values: Any, arms: Sequence[str]) -> Answer:
    _keys("answer", values, ANSWER_KEYS, needed=("measure", "effect", "ranges"))
    if values["measure"] not in MEASURES:
        raise ValueError(f"answer.measure is {values['measure']!r}; it must be one of {', '.join(MEASURES)}.")
    ranges = _mapping("answer.ranges", values["ranges"])
    pairs = _mapping("answer.pairs", values.get("pairs") or {})
    effect = _mapping("answer.effect", values["effect"])
    if len(effect) != 1 or not ranges:
        raise ValueError(
            f"answer has the effects {list(effect)} and the ranges {list(ranges)}: it needs one effect and at least one"
            " range."
        )
    ((name, of_effect),) = effect.items()
    return Answer(
        measure=values["measure"],
        name=str(name),
        effect=_pair(f"answer.effect.{name}", of_effect, arms),
        ranges={name: _several(f"answer.ranges.{name}", of, arms) for name, of in ranges.items()},
        pairs={name: _pair(f"answer.pairs.{name}", of, arms) for name, of in pairs.items()},
    )


def _star(values: Any, arms: Sequence[str]) -> Star:
    _keys("star", values, STAR_KEYS, needed=("center", "families"))
    families = _mapping("star.families", values["families"])
    named = {name: _known(f"star.families.{name}", of, arms) for name, of in families.items()}
    (center,) = _known("star.center", values["center"], arms)
    inside = [arm for of in named.values() for arm in of]
    if sorted([center, *inside]) != sorted(arms):
        raise ValueError(f"star.families has {inside}: each arm but {center} has to stand there once.")
    strengths = _mapping("star.strengths", values.get("strengths") or {})
    _known("star.strengths", list(strengths), arms)
    return Star(center, named, {arm: tuple(map(float, of)) for arm, of in strengths.items()})


def _draws(values: Any) -> tuple[int, ...]:
    whole = isinstance(values, list) and all(type(number) is int and number > 0 for number in values)
    if not whole or values != sorted(set(values)):
        raise ValueError(
            f"draws is {values!r}; it must be a rising list of whole numbers, such as [320, 1600]."
        )
    return tuple(values)


def _seeds(values: Any) -> tuple[int, ...]:
    whole = isinstance(values, list) and all(type(seed) is int and seed >= 0 for seed in values)
    if not whole or not values or len(set(values)) != len(values):
        raise ValueError(
            f"seeds is {values!r}; it must be a list of different whole numbers, such as [0, 1, 2]."
        )
    return tuple(values)


def _options(place: str, values: Any, command: Literal["fit", "test"]) -> dict[str, Any]:
    """Options of `fit` or `test`, without those that the runner gives."""
    options = _mapping(place, {} if values is None else values)
    taken = [name for name in options if name in OF_THE_RUNNER[command]]
    if taken:
        raise ValueError(
            f"{place} has {', '.join(taken)}: the runner sets {', '.join(OF_THE_RUNNER[command])} itself. Take it out."
        )
    return options


def _pair(place: str, values: Any, arms: Sequence[str]) -> tuple[str, str]:
    names = _several(place, values, arms)
    if len(names) != 2:
        raise ValueError(f"{place} is {list(names)}; it must be two arms: from the first to the second.")
    return names[0], names[1]


def _several(place: str, values: Any, arms: Sequence[str]) -> tuple[str, ...]:
    """Two different arms or more."""
    names = _known(place, values, arms)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"{place} is {list(names)}; it must be a list of two or more different arms.")
    return names


def _known(place: str, values: Any, arms: Sequence[str]) -> tuple[str, ...]:
    names = values if isinstance(values, list) else [values]
    unknown = [str(name) for name in names if name not in arms]
    if unknown:
        raise ValueError(f"{place} names {', '.join(unknown)}: no such arm. There are {', '.join(arms)}.")
    return tuple(names)


def _mapping(place: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"{place} is {values!r}; it must be a mapping of names to values.")
    return values


def _keys(place: str, values: Any, valid: Sequence[str], needed: Sequence[str]) -> None:
    unknown = [str(key) for key in _mapping(place, values) if key not in valid]
    missing = [key for key in needed if key not in values]
    if unknown or missing:
        said = [f"has {', '.join(unknown)}, which isn't known"] if unknown else []
        said += [f"lacks {', '.join(missing)}"] if missing else []
        raise ValueError(f"{place} {' and '.join(said)}. It has the keys {', '.join(valid)}.")
