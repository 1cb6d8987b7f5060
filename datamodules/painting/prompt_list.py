"""The pictures of `python train.py predict`: prompts of the command line, of a file, or of the adapter's run."""

from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt

from datamodules.painting.picture_list import PictureList
from datamodules.painting.prompt_entries import Entry, PictureJob, make_jobs, read_entries
from foundation.missing_paths import hindrance
from foundation.picture_settings import SamplerName


class PromptList(PictureList):
    """The pictures to paint.

    Taken flat, since the command line calls each option `--NAME`.

    Args:
        prompt: what to paint: one prompt; A1111 weights such as (watercolor:1.2) are honoured, and flags behind it such
            as --n or --cfg_scale read, as in kohya's and A1111's files of prompts.
        prompts: file of prompts: one a line (.txt), or with settings of their own (.jsonl, .yaml). Without either
            option, the sample prompts of the adapter's run. The options below win over what a file says.
        negative_prompt: what to move away from; default none.
        seed: of the starting noise, on which nothing else has influence; default 0.
        height: pixels; default the size that the run trained at, or else the base's own.
        width: likewise.
        steps: of the sampler; default 25.
        guidance_scale: weight of the prompt in classifier-free guidance, 1 is none; default 7.5.
        guidance_rescale: how far guidance is kept from raising the contrast, 0 to 1; default 0 (not at all). 0.7 is
            usual for v-prediction bases with zero-terminal SNR.
        sampler: the scheme that takes those steps; default ddim.
        clip_skip: layers left out at the end of the text encoder; default 0. Stable Diffusion XL leaves out one in any
            case, which its model cards call 2: there 0, 1 and 2 are the same.
        lora_scale: what the adapter's strength is multiplied with, 0 paints the base; default 1.
        batch_size: pictures painted together.
        output: folder of the pictures; default `pictures` in the adapter's run, or else here.

    Attributes:
        size: height and width where no prompt and no option says it.
    """

    def __init__(
        self,
        prompt: str | None = None,
        prompts: str | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float | None = None,
        sampler: SamplerName | None = None,
        clip_skip: int | None = None,
        lora_scale: float | None = None,
        batch_size: PositiveInt = 4,
        output: str | None = None,
    ) -> None:
        super().__init__(Path(output or "pictures"), batch_size)
        self.prompt = prompt
        self.prompts = prompts
        self.options: dict[str, Any] = {
            "negative_prompt": negative_prompt,
            "seed": seed,
            "height": height,
            "width": width,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "guidance_rescale": guidance_rescale,
            "sampler": sampler,
            "clip_skip": clip_skip,
            "lora_scale": lora_scale,
        }
        if self.output.is_file():
            raise ValueError(f"--output {output} is a file; give the folder that pictures go to.")
        if why := hindrance(self.output):
            raise ValueError(f"--output {output} can't be written: {why}. Name another folder.")
        self.size = (512, 512)

    @cached_property
    def jobs(self) -> list[PictureJob]:
        """All pictures, in the order of the prompts; equal ones once.

        Raises:
            ValueError: no prompt, two sources of prompts, or values that can't be.
        """
        height, width = self.size
        return make_jobs(self.entries, self.options, height=height, width=width)

    @cached_property
    def entries(self) -> list[Entry]:
        """Where each prompt stands, and what stands there.

        Raises:
            ValueError: no prompt, two sources of prompts, or a file that can't be read.
        """
        if self.prompt is not None and self.prompts is not None:
            raise ValueError(
                "--prompt and --prompts are both given: leave one out, or add the prompt to the file."
            )
        if self.prompt is not None:
            return [("--prompt", self.prompt)]
        if self.prompts is None:
            raise ValueError(
                'nothing to paint: give --prompt "green hills", or --prompts FILE with one a line.'
            )
        return read_entries(Path(self.prompts))
