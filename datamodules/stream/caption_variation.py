"""The words that a draw is trained with: the picture's caption, varied as a function of (seed, draw).

A caption in full is

    trigger, prefix caption suffix

unless the trigger stands in prefix, caption or suffix already. Of several captions of a picture each draw takes
one. The caption itself may be seen as tags parted by commas: tags are left out by chance and put into another
order, after kohya's scripts (`caption_tag_dropout_rate`, `shuffle_caption`, `keep_tokens`). Trigger, prefix,
suffix and the first `keep_tags` tags stay as they are; tags that hold a trigger of the caption's own are never
left out, and a new order begins with them, behind those that are kept.

Whole captions are dropped elsewhere, by the model's `caption_dropout`: what the empty caption is, is the
model's affair.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from foundation.keyed_random import generator

CLOSING = (",", ".", ";", ":", "!", "?")  # no blank before these


@dataclass(frozen=True)
class CaptionOptions:
    """What is done to captions.

    Args:
        prefix: Words before every caption, held-out ones too, parted from it by a blank; write a comma yourself.
        suffix: Words after every caption, likewise; one that begins with a comma or stop has no blank.
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
        prefix, suffix = self._prefix(), self._suffix()
        whole = prefix + (caption.lstrip(" ,") if prefix else caption)
        if suffix.startswith(CLOSING):
            whole = whole.rstrip(" ,")
        return with_trigger(whole + suffix, self.trigger)

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
            loose = self._shuffled(loose, draw)
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

    def _shuffled(self, tags: Sequence[str], draw: int) -> list[str]:
        """The tags in another order; those that hold the trigger come first, in their own."""
        fixed = [tag for tag in tags if has_trigger(tag, self.trigger)]
        others = [tag for tag in tags if not has_trigger(tag, self.trigger)]
        dice = generator(self.seed, "tag_order", draw)
        return [*fixed, *(others[index] for index in torch.randperm(len(others), generator=dice).tolist())]

    def _parts(self, caption: str) -> tuple[str, str, str]:
        """A caption in full, taken apart: what stands before the caption as written, it, what follows."""
        prefix, tail = self._prefix(), self._suffix()
        heads = [f"{self.trigger}, {prefix}", prefix] if self.trigger else [prefix]
        head = next((text for text in heads if caption.startswith(text)), "")
        body = caption.removeprefix(head).removesuffix(tail)
        if tail and body.rstrip().endswith(","):  # the caption's own comma parts it from the suffix
            tail = f",{tail}"
        return head, body, tail

    def _prefix(self) -> str:
        """The prefix with the blank behind it, or ""."""
        prefix = self.options.prefix.strip()
        return f"{prefix} " if prefix else ""

    def _suffix(self) -> str:
        """The suffix with the blank before it, if it takes one, or ""."""
        suffix = self.options.suffix.strip()
        return f" {suffix}" if suffix and not suffix.startswith(CLOSING) else suffix


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with "trigger, " before it, unless the trigger stands in it already (in any case)."""
    return caption if not trigger or has_trigger(caption, trigger) else f"{trigger}, {caption}"


def has_trigger(caption: str, trigger: str) -> bool:
    """Whether the trigger stands in a text as a word of its own, in any case; no trigger stands nowhere."""
    return bool(trigger) and bool(re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE))
