"""The audit's questions to CLIP (`--clip`): pictures are read as training reads them, once, then judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from datamodules.pictures.decoding import decode
from evaluation.caption_agreement import agreements, check_prompts, picture_vectors, zero_shot
from evaluation.clip import Clip

OPTION = "--clip"


@dataclass(frozen=True)
class ClipCheck:
    """What CLIP says of one picture.

    Attributes:
        caption: that fits it worst of its own.
        similarity: of that caption, 100 x cosine.
        group: that CLIP would put it into.
        confidence: in that group, in (0, 1].
    """

    caption: str
    similarity: float
    group: str
    confidence: float


def check_with_clip(
    clip: str, paths: Sequence[Path], captions: Sequence[Sequence[str]], prompts: Mapping[str, str]
) -> list[ClipCheck]:
    """Ask CLIP about each picture, in order.

    Args:
        clip: a folder with a CLIP, or a hub id.
        paths: pictures that can be read, at least one.
        captions: of each picture, at least one, as they were written.
        prompts: name of each group -> what its pictures show, in words.

    Raises:
        ValueError: CLIP can't be loaded, or there are fewer than two groups.
    """
    check_prompts(prompts)  # before minutes go into the pictures
    loaded = Clip(clip, OPTION)
    pictures = picture_vectors(loaded, _read(paths))
    worst, groups = agreements(loaded, pictures, captions), zero_shot(loaded, pictures, prompts)
    return [ClipCheck(*agreement, *group) for agreement, group in zip(worst, groups, strict=True)]


def _read(paths: Sequence[Path]) -> Iterator[Image.Image]:
    for path in tqdm(paths, "Showing pictures to CLIP", leave=False):
        yield decode(path)[0]
