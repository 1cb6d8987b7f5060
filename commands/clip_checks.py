"""The audit's questions to CLIP (`--clip`): pictures are read as training reads them, then judged."""

from collections.abc import Iterator, Mapping, Sequence

from PIL import Image
from tqdm import tqdm

from datamodules.decoding import decode
from datamodules.records import Record
from evaluation.caption_agreement import agreements, zero_shot
from evaluation.clip import Clip

OPTION = "--clip"
# What the zero-shot groups are called, and the words that describe them; the audit's options may say otherwise.
GROUP_PROMPTS = {"portrait": "close-up portrait", "landscape": "landscape or wide shot"}


def caption_agreement(clip: str, records: Sequence[Record]) -> list[float]:
    """How well each picture agrees with its own caption: 100 x cosine by CLIP, in the records' order.

    Args:
        clip: a folder with a CLIP, or a hub id.
        records: pictures that can be read.

    Raises:
        ValueError: CLIP can't be loaded.
    """
    captions = [record.caption for record in records]
    return agreements(Clip(clip, OPTION), _read(records, "Comparing captions"), captions)


def suggest_groups(
    clip: str, records: Sequence[Record], prompts: Mapping[str, str] = GROUP_PROMPTS
) -> list[tuple[str, float]]:
    """The group that CLIP would put each picture into, with its confidence in (0, 1], in the records' order.

    Args:
        clip: a folder with a CLIP, or a hub id.
        records: pictures that can be read.
        prompts: name of each group -> what its pictures show, in words.

    Raises:
        ValueError: CLIP can't be loaded, or there are fewer than two groups.
    """
    return zero_shot(Clip(clip, OPTION), _read(records, "Suggesting groups"), prompts)


def _read(records: Sequence[Record], what: str) -> Iterator[Image.Image]:
    for record in tqdm(records, what, leave=False):
        yield decode(record.path)[0]
