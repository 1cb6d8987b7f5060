"""The settings of `python train.py test`, which a fit config may hold under `test:` beside the run that they judge."""

from dataclasses import dataclass, field
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from evaluation.foreign_syntax import foreign_syntax
from foundation.picture_settings import SHARED, SamplerName

SECTION = "test"
"""Where they stand in a fit config."""

JOB_SETTINGS = ("negative_prompt", *SHARED)
"""Options that are settings of every picture."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How base and LoRA are compared.

    Args:
        prompts: what both paint: a list, or a file (.txt with one a line, .jsonl, .yaml), each with a `group` and
            settings of its own if wanted; default the run's sample prompts. 8 a group or more give intervals that
            say something.
        seeds: repetitions of each prompt; repetition r has the prompt's own seed + 1000 r.
        lora_scale: strength of the LoRA that is compared with the base.
        strengths: of the sweep, rising from 0, painted in the first repetition; [] leaves it out.
        enhancement: words to add to each prompt for the 2x2 of prompt engineering; null leaves it out.
        training_captions: pictures painted from captions that were trained on, to see whether they are copies.
        held_out: folder of pictures of the style that were not trained on; default the run's own hold-out.
        labels: names of the two sides.
        clip: folder or hub id of the CLIP that judges; default that of the run's clip_score.
        style_prompt: the style in words; default that of the run's clip_score.
        negative_prompt: what to move away from, for all prompts.
        height: pixels; default the size that the run trained at.
        width: likewise.
        steps: of the sampler; default 25.
        guidance_scale: of classifier-free guidance; default 7.5.
        guidance_rescale: how far guidance is kept from raising the contrast, 0 to 1; default 0 (not at all).
        sampler: the scheme that takes those steps; default ddim.
        clip_skip: layers left out at the end of the text encoder; default 0.
        batch_size: pictures painted together.
    """

    prompts: str | list[str | dict[str, Any]] | None = None
    seeds: list[NonNegativeInt] = field(default_factory=lambda: [0, 1, 2])
    lora_scale: float = 1.0
    strengths: list[float] = field(default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
    enhancement: str | None = "(watercolor:1.2)"
    training_captions: NonNegativeInt = 8
    held_out: str | None = None
    labels: tuple[str, str] = ("Base Model", "LoRA")
    clip: str | None = None
    style_prompt: str | None = None
    negative_prompt: str | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    sampler: SamplerName | None = None
    clip_skip: int | None = None
    batch_size: PositiveInt = 4

    def __post_init__(self) -> None:
        """Refuse what can't be compared.

        Raises:
            ValueError: no seed or the same twice, a sweep that doesn't rise from 0, a strength of 0, or words that hold
                other programs' syntax.
        """
        for name in ("enhancement", "style_prompt"):
            for said in foreign_syntax(getattr(self, name) or ""):
                raise ValueError(f"--{name}: {said}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds is {self.seeds}: give one or more, each once, e.g. [0, 1, 2].")
        rising = sorted(set(self.strengths))
        if self.strengths and (self.strengths != rising or len(rising) < 2 or rising[0] != 0):
            raise ValueError(
                f"--strengths is {self.strengths}: give two or more, rising from 0 (the base), or [] for no sweep."
            )
        if self.lora_scale == 0:
            raise ValueError(
                "--lora_scale is 0, which is the base: give the strength to compare with it, e.g. 1."
            )

    def of_pictures(self) -> dict[str, Any]:
        """The options that are settings of every picture, by their names in `PictureJob`."""
        return {name: getattr(self, name) for name in JOB_SETTINGS}
