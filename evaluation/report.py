"""What the evaluation of one LoRA found: the numbers, which go to `metrics.json`, and the pictures to look at.

The numbers are the result types of the statistics as they are. What could not be measured is None, with the reason in
`not_measured`: a LoRA file without its data folder has no held-out pictures, one seed has no diversity.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from evaluation.bootstrap import METHOD
from evaluation.cmmd import StyleDistance
from evaluation.diversity import Diversity
from evaluation.interaction import Interaction
from evaluation.memorisation import Memorisation, Pair
from evaluation.paired import Paired
from evaluation.strength import StrengthSweep


@dataclass(frozen=True)
class Measured:
    """Every number of the report.

    Attributes:
        prompt_score: CLIP score (100 x cosine) of each picture with its own prompt.
        style_score: CLIP score of each picture with the style prompt.
        style_similarity: mean cosine with held-out pictures of the style.
        style_distance: CMMD to those pictures.
        memorisation: nearness to training pictures, of the LoRA's pictures.
        diversity: distance between the seeds of a prompt.
        strength: the sweep.
        enhancement: what is measured ("CLIP score with the style prompt") -> the 2x2 of prompt engineering.
        not_measured: a sentence for each part that is None or empty: what is missing and how to have it.
    """

    prompt_score: Paired
    style_score: Paired
    style_similarity: Paired | None
    style_distance: StyleDistance | None
    memorisation: Memorisation | None
    diversity: Diversity | None
    strength: StrengthSweep | None
    enhancement: dict[str, Interaction]
    not_measured: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dump`, with the method of the intervals."""
        return {**asdict(self), "intervals": METHOD}


@dataclass(frozen=True)
class SideBySide:
    """One prompt with one noise, painted by both."""

    prompt: str
    group: str
    seed: int
    base: Image.Image
    lora: Image.Image


@dataclass(frozen=True)
class NearPair:
    """A painted picture beside the training picture that it is nearest to.

    Attributes:
        pair: the distances.
        prompt: what was painted.
        sample: how the LoRA painted it.
        training: the training picture.
        name: of the training picture's file.
    """

    pair: Pair
    prompt: str
    sample: Image.Image
    training: Image.Image
    name: str


@dataclass(frozen=True)
class FourWays:
    """One noise painted by both from the plain and from the enhanced prompt."""

    plain: str
    enhanced: str
    seed: int
    base_plain: Image.Image
    base_enhanced: Image.Image
    lora_plain: Image.Image
    lora_enhanced: Image.Image


@dataclass(frozen=True)
class Strip:
    """One prompt with one noise at each strength of the sweep."""

    prompt: str
    seed: int
    pictures: Mapping[float, Image.Image]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        title: such as "Studio Ghibli LoRA, step 1500".
        base_label: name of the base everywhere, such as "Base Model".
        lora_label: name of the LoRA's side, such as "LoRA Final (Ghibli)".
        style_prompt: the words that stand for the style.
        enhancement: what the enhanced prompts add, such as "(watercolor:1.2)".
        facts: how it was made: adapter, base model, sampler, seeds, date ... name -> value.
        measured: the numbers.
        side_by_side: in the order to be shown; groups are kept apart.
        near_pairs: of `measured.memorisation`, nearest first.
        four_ways: of `measured.enhancement`.
        strips: of `measured.strength`.
    """

    title: str
    base_label: str
    lora_label: str
    style_prompt: str
    enhancement: str
    facts: Mapping[str, str]
    measured: Measured
    side_by_side: tuple[SideBySide, ...]
    near_pairs: tuple[NearPair, ...] = ()
    four_ways: tuple[FourWays, ...] = ()
    strips: tuple[Strip, ...] = ()
