"""The words that a draw is trained with: the picture's caption, varied as a function of (seed, draw).

A caption in full is

    trigger, prefix caption suffix

Of several captions of a picture each draw takes one. The caption itself may be seen as tags parted by commas:
tags are left out by chance and put into another order, after kohya's scripts (`caption_tag_dropout_rate`,
`shuffle_caption`, `keep_tokens`). Trigger, prefix, suffix and the first `keep_tags` tags stay as they are.

Whole captions are dropped elsewhere, by the model's `caption_dropout`: what the empty caption is, is the
model's affair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from datamodules.trigger import has_trigger, with_trigger
from keyed_random import generator


@dataclass(frozen=True)
class CaptionOptions:
    """What is done to captions.

    Args:
        prefix: Words before every caption, held-out ones too, parted from it by a blank; write a comma yourself.
        suffix: Words after every caption, likewise.
        shuffle_tags: Put the tags of a caption (its parts between commas) into another order at each draw.
        keep_tags: So many tags at the front keep their place and are never left out.
        tag_dropout: Probability that a draw leaves out a tag. The trigger stays, and one tag at least.
    """

    prefix: str = ""
    suffix: str = ""
    shuffle_tags: bool = False
    keep_tags: int = 0
    tag_dropout: float = 0.0


@dataclass(frozen=True)
class Wording:
    """Captions as the text encoder gets them.

    Attributes:
        options: see `CaptionOptions`.
        trigger: word that each caption has, or "".
        seed: of everything that a draw decides.
    """

    options: CaptionOptions
    trigger: str = ""
    seed: int = 0

    def in_full(self, caption: str) -> str:
        """A caption as written, with prefix, suffix and trigger; nothing left out or moved.

        An empty caption stays empty: it is a defect, which prefix and trigger must not hide.
        """
        if not caption:
            return caption
        parts = (self.options.prefix.strip(), caption, self.options.suffix.strip())
        return with_trigger(" ".join(part for part in parts if part), self.trigger)

    def at_draw(self, captions: Sequence[str], draw: int) -> str:
        """The words of one draw.

        Args:
            captions: those of the picture, in full.
            draw: number in the training stream.
        """
        caption = captions[self._choice(len(captions), draw)]
        options = self.options
        if not (options.shuffle_tags or options.tag_dropout):
            return caption
        head, body, tail = self._parts(caption)
        tags = [tag for tag in (part.strip() for part in body.split(",")) if tag]
        kept, loose = tags[: options.keep_tags], tags[options.keep_tags :]
        loose = self._thinned(loose, draw, may_be_none=bool(kept))
        if options.shuffle_tags:
            dice = generator(self.seed, "tag_order", draw)
            loose = [loose[index] for index in torch.randperm(len(loose), generator=dice).tolist()]
        return head + ", ".join([*kept, *loose]) + tail

    def _choice(self, number: int, draw: int) -> int:
        if number == 1:
            return 0
        return int(torch.randint(number, (), generator=generator(self.seed, "caption_choice", draw)))

    def _thinned(self, tags: Sequence[str], draw: int, *, may_be_none: bool) -> list[str]:
        """The tags that a draw keeps, in order."""
        if not (tags and self.options.tag_dropout):
            return list(tags)
        luck = torch.rand(len(tags), generator=generator(self.seed, "tag_dropout", draw)).tolist()
        stays = [
            value >= self.options.tag_dropout or has_trigger(tag, self.trigger)
            for tag, value in zip(tags, luck, strict=True)
        ]
        if not (any(stays) or may_be_none):
            stays[luck.index(max(luck))] = True
        return [tag for tag, stay in zip(tags, stays, strict=True) if stay]

    def _parts(self, caption: str) -> tuple[str, str, str]:
        """A caption in full, taken apart: what stands before the caption as written, it, what follows."""
        head = f"{self.trigger}, " if self.trigger and caption.startswith(f"{self.trigger}, ") else ""
        body = caption.removeprefix(head)
        prefix, suffix = self.options.prefix.strip(), self.options.suffix.strip()
        if prefix:
            body = body.removeprefix(f"{prefix} ")
            head += f"{prefix} "
        tail = f" {suffix}" if suffix else ""
        return head, body.removesuffix(tail), tail
