"""What the folder is made of, what the declared shares make of it, and whether that mix teaches a style.

The verdict measures the distance to two mixes that were tried (the finding this project stands on): 50
pictures with 90 % landscapes taught grass and skies and left faces generic; 150 pictures, two thirds of them
portraits, taught the style.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datamodules.audit.result import GroupRow, Verdict
from datamodules.folder.records import Record

LEANS, FAR, FAILED = 0.45, 0.67, 0.83  # from these on: 60, 75 and 90 % land between them
FEW = 0.2  # below it scenery is hardly taught
RECOGNISED = 0.8  # of the draws, for a verdict
MOST_UNEVEN = 4  # a portrait may be seen so many times as often as a landscape, and the other way round
ENOUGH = 50  # portraits, for the advice

UNKNOWN = (
    "Nothing tells portraits from landscapes here. Name groups (column `group`, or sub-folders portrait/ and"
    " landscape/), or let --clip suggest them and --write note them down."
)

PORTRAITS = re.compile(
    r"\b(?:portraits?|close[ -]?ups?|headshots?|faces?|people|persons?|characters?|figures?|girls?|boys?"
    r"|wom[ae]n|m[ae]n|child(?:ren)?|\d*(?:girl|boy)s?)\b"
)
LANDSCAPES = re.compile(
    r"\b(?:landscapes?|scener(?:y|ies)|nature|environments?|wide shots?|establishing shots?|no humans"
    r"|cityscapes?|seascapes?|townscapes?|skyline|panoramas?|hills?|mountains?|forests?|woods|meadows?|fields?"
    r"|rivers?|lakes?|sea|ocean|beach|coast|harbou?r|valleys?|villages?|towns?|cit(?:y|ies)|streets?|clouds)\b"
)
PLACES = re.compile(
    r"\b(?:backgrounds?|places?|wide|bg)\b"
)  # of a group's name; in a caption they say little


@dataclass(frozen=True)
class Mix:
    """How the draws divide.

    Attributes:
        portraits: part of the draws that shows portraits, 0 to 1.
        landscapes: part that shows landscapes; what is neither makes up the rest.
        portrait_pictures: number trained on.
        landscape_pictures: number trained on.
        portrait_seen: how often each portrait is seen in the run, on average.
        landscape_seen: how often each landscape is.
    """

    portraits: float
    landscapes: float
    portrait_pictures: int
    landscape_pictures: int
    portrait_seen: float
    landscape_seen: float


def group_rows(
    training: Sequence[Record], held_out: Sequence[Record], exposure: Mapping[str, tuple[int, float]]
) -> list[GroupRow]:
    """A row a group, by name.

    Args:
        training: pictures trained on.
        held_out: pictures kept for validation.
        exposure: group -> draws of the run, and how often each of its pictures is seen; may lack groups.
    """
    members: dict[str, list[Record]] = {}
    for record in (*training, *held_out):
        members.setdefault(record.group, []).append(record)
    trained = Counter(record.group for record in training)
    draws = sum(number for number, _ in exposure.values())
    return [
        _row(name, members[name], trained[name], *exposure.get(name, (0, 0.0)), all_draws=draws)
        for name in sorted(members)
    ]


def _row(
    name: str, members: Sequence[Record], trained: int, draws: int, seen: float, *, all_draws: int
) -> GroupRow:
    shapes = Counter(_shape(record) for record in members)
    sizes = sorted(((record.width, record.height) for record in members), key=lambda size: size[0] * size[1])
    return GroupRow(
        name=name,
        training=trained,
        held_out=len(members) - trained,
        wide=shapes["wide"],
        tall=shapes["tall"],
        square=shapes["square"],
        smallest=sizes[0],
        largest=sizes[-1],
        share=draws / all_draws if all_draws else 0.0,
        draws=draws,
        seen=seen,
    )


def kind_of(group: str, caption: str) -> str:
    """`portrait`, `landscape` or "": by the group's name, or else by the caption's first telling word."""
    name = group.lower().replace("_", " ").replace("-", " ")
    for text in (name, caption.lower()):
        portrait, landscape = PORTRAITS.search(text), LANDSCAPES.search(text)
        if text is name and not portrait and PLACES.search(name):
            return "landscape"
        if portrait and landscape:
            return "portrait" if portrait.start() < landscape.start() else "landscape"
        if portrait or landscape:
            return "portrait" if portrait else "landscape"
    return ""


def mix_of(
    training: Sequence[Record], kinds: Sequence[str], exposure: Mapping[str, tuple[int, float]]
) -> Mix:
    """How the draws divide into portraits and landscapes.

    Args:
        training: pictures trained on.
        kinds: `portrait`, `landscape` or "" for each (see `kind_of`).
        exposure: group -> draws of the run, and how often each of its pictures is seen.
    """
    pictures: Counter[str] = Counter(kinds)
    draws: dict[str, float] = {"portrait": 0.0, "landscape": 0.0, "": 0.0}
    for record, kind in zip(training, kinds, strict=True):
        draws[kind] += exposure.get(record.group, (0, 0.0))[1]
    total = sum(draws.values()) or 1.0
    return Mix(
        portraits=draws["portrait"] / total,
        landscapes=draws["landscape"] / total,
        portrait_pictures=pictures["portrait"],
        landscape_pictures=pictures["landscape"],
        portrait_seen=draws["portrait"] / max(pictures["portrait"], 1),
        landscape_seen=draws["landscape"] / max(pictures["landscape"], 1),
    )


def verdict(mix: Mix, groups: Mapping[str, str], *, declared: bool) -> Verdict:
    """How far the mix is from the known good one, and what to do.

    Args:
        mix: of the run.
        groups: each group's name -> kind of most of its pictures (see `kind_of`).
        declared: `data.shares` is given.
    """
    if mix.portraits + mix.landscapes < RECOGNISED:
        return Verdict("note", "The mix can't be judged", (UNKNOWN,), None)
    share = mix.landscapes / (mix.portraits + mix.landscapes)
    uneven = _uneven(mix)
    advice = [_seen(mix)]
    if share >= LEANS:
        advice += [*_shares_advice(groups, declared), _collect(mix)]
    elif uneven:
        advice.append(_collect_rarer(mix))
    elif share < 0.1:
        advice.append("With hardly any landscapes the style of skies, trees and houses is learned last.")
    if share >= LEANS or not uneven:
        return Verdict("warning" if share >= LEANS else "good", _headline(share), tuple(advice), share)
    return Verdict("warning", uneven, tuple(advice), share)


def _headline(share: float) -> str:
    shown = f"{_percent(share)} of what training sees is landscapes"
    if share >= FAILED:
        return f"{shown}: the mix that is known to fail. At 90 % it learned grass and skies, and faces stayed generic"
    if share >= FAR:
        return f"{shown}: far from the mix that works (33 %). Faces will be learned late and stay weak"
    if share >= LEANS:
        return f"{shown}: it leans to landscapes (33 % works). Faces get less than they need"
    if share < FEW:
        return f"{shown}: fewer than the mix that taught the style (33 %), at the cost of scenery and not of faces"
    return f"{shown}: near the mix that taught the style (33 %)"


def _seen(mix: Mix) -> str:
    kinds = (
        ("portrait", mix.portrait_pictures, mix.portrait_seen),
        ("landscape", mix.landscape_pictures, mix.landscape_seen),
    )
    parts = [
        f"each of {number} {kind}s {seen:.0f} times" if number > 1 else f"the one {kind} {seen:.0f} times"
        for kind, number, seen in kinds
        if number
    ]
    return f"Training sees {' and '.join(parts)}."


def _shares_advice(groups: Mapping[str, str], declared: bool) -> list[str]:
    """The option that would declare the good mix, if the groups allow it."""
    portraits = [name for name, kind in groups.items() if kind == "portrait"]
    landscapes = [name for name, kind in groups.items() if kind == "landscape"]
    if not portraits or not landscapes or len(portraits) + len(landscapes) < len(groups):
        return [
            "Part portraits and landscapes into groups (column `group`, or sub-folders): then data.shares can"
            " mix them."
        ]
    weights = {name: 2 * len(landscapes) for name in portraits} | {
        name: len(portraits) for name in landscapes
    }
    if len(portraits) == len(landscapes):
        weights = dict.fromkeys(portraits, 2) | dict.fromkeys(landscapes, 1)
    option = ", ".join(f"{name}: {weight}" for name, weight in weights.items())
    verb = "Change" if declared else "Declare"
    return [f"{verb} the mix: --data.shares '{{{option}}}' draws two portraits for each landscape."]


def _collect(mix: Mix) -> str:
    wanted = max(ENOUGH, 2 * mix.landscape_pictures)
    missing = max(wanted - mix.portrait_pictures, 0)
    if mix.landscape_pictures > ENOUGH // 2 and mix.portrait_pictures < ENOUGH:
        return (
            f"Better still, curate: {ENOUGH // 2} of the landscapes with {ENOUGH} portraits"
            f" ({ENOUGH - mix.portrait_pictures} more) teach more than any setting;"
            " declared shares alone show the few portraits over and over."
        )
    return f"Better still, collect {missing} more portraits: {wanted} would make the mix by themselves."


def _collect_rarer(mix: Mix) -> str:
    rarer = "portraits" if mix.portrait_seen > mix.landscape_seen else "landscapes"
    return f"Collect more {rarer}: the few there are will be learned by heart before the style is."


def _uneven(mix: Mix) -> str:
    """The headline if one kind's pictures are seen far more often than the other's."""
    if not mix.portrait_pictures or not mix.landscape_pictures or not mix.landscape_seen:
        return ""
    ratio = mix.portrait_seen / mix.landscape_seen
    if 1 / MOST_UNEVEN <= ratio <= MOST_UNEVEN:
        return ""
    few, number = (
        ("portraits", mix.portrait_pictures) if ratio > 1 else ("landscapes", mix.landscape_pictures)
    )
    other = "landscape" if ratio > 1 else "portrait"
    return (
        f"The declared mix is right ({_percent(mix.landscapes)} landscapes) but rests on {number} {few},"
        f" each seen {max(ratio, 1 / ratio):.0f} times as often as a {other}"
    )


def _shape(record: Record) -> str:
    if record.width == record.height:
        return "square"
    return "wide" if record.width > record.height else "tall"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"
