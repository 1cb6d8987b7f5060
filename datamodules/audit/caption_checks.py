"""What can be wrong with captions that are there: shared, too long, without the trigger word, naming the style.

Captions are judged as they were written, before the trigger word is put in front.
"""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from datamodules.audit.result import CaptionStatistics
from datamodules.folder.dataset_facts import tag_counts
from datamodules.problems import (
    ESCAPED,
    NO_TRIGGER,
    ONE_TAG,
    SAME_CAPTION,
    STYLE_WORDS,
    TOO_LONG,
    Problem,
)
from datamodules.stream.caption_variation import has_trigger
from evaluation.prompts import ESCAPE

TOKEN_LIMIT = 77  # what CLIP text encoders read, begin and end included
MOST_TAGS = 20  # listed

# CLIP's own first step: what it parts here never becomes one token
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)

# Words that say how a picture is made, not what it shows
STYLE = re.compile(
    r"\b(?:water[ -]?colou?rs?|oil paintings?|acrylics?|gouache|pastels?|paintings?|hand[ -](?:painted|drawn)"
    r"|illustrations?|drawings?|sketch(?:es)?|line ?art|digital art|concept art|cel[ -]shad(?:ed|ing)"
    r"|art ?styles?|(?:anime|manga|comic|cartoon|ghibli|painterly|traditional) style|in the style of [^,.]+"
    r"|style of [^,.]+|(?:studio )?ghibli|miyazaki|anime screencaps?|screencaps?|screenshots?"
    r"|traditional media|masterpiece|best quality|high quality|aesthetic)\b",
    re.IGNORECASE,
)

OTHER_PARTS = re.compile("[，、]")

Captions = Mapping[str, str]  # name of the picture -> caption


def shared_captions(captions: Captions) -> list[Problem]:
    """Captions that two or more pictures have, one finding a caption."""
    names: dict[str, list[str]] = {}
    for name, caption in captions.items():
        names.setdefault(caption.casefold(), []).append(name)
    return [
        Problem(SAME_CAPTION, " = ".join(same), f"{captions[same[0]]!r}", tuple(same))
        for same in names.values()
        if len(same) > 1
    ]


def missing_trigger(captions: Captions, trigger: str) -> list[Problem]:
    """Captions without the trigger word, if others have it; in none of them it is `data.trigger`'s alone."""
    word = trigger or _likely_trigger(captions)
    absent = [name for name, caption in captions.items() if not has_trigger(caption, word)]
    if len(absent) == len(captions):
        return []
    return [Problem(NO_TRIGGER, name, f"{word!r} is missing", (name,)) for name in absent]


def style_words(captions: Captions, trigger: str) -> list[Problem]:
    """Captions that say how a picture is made."""
    problems = []
    for name, caption in captions.items():
        rest = re.sub(re.escape(trigger), " ", caption, flags=re.IGNORECASE) if trigger else caption
        words = list(dict.fromkeys(match[0].lower() for match in STYLE.finditer(rest)))
        if words:
            problems.append(Problem(STYLE_WORDS, name, ", ".join(words), (name,)))
    return problems


def too_long(
    captions: Captions, count_tokens: Callable[[str], int], lost_words: Callable[[str], str]
) -> list[Problem]:
    """Captions that the text encoder doesn't read to their end, with the words that are lost."""
    problems = []
    for name, caption in captions.items():
        number = count_tokens(caption)
        if number > TOKEN_LIMIT:
            lost = lost_words(caption)
            detail = f"{number} tokens, {TOKEN_LIMIT} are read" + (f"; lost: {lost!r}" if lost else "")
            problems.append(Problem(TOO_LONG, name, detail, (name,)))
    return problems


def escaped_signs(captions: Captions) -> list[Problem]:
    """Captions written as prompts, with backslashes before brackets and the like: training has no escapes."""
    found = {name: re.findall(ESCAPE, caption) for name, caption in captions.items()}
    return [Problem(ESCAPED, name, " ".join(dict.fromkeys(f)), (name,)) for name, f in found.items() if f]


def without_commas(captions: Captions) -> list[Problem]:
    """Captions whose tags are parted by something else than commas, or that are no tags."""
    return [
        Problem(ONE_TAG, name, f"{caption[:40]!r}", (name,))
        for name, caption in captions.items()
        if OTHER_PARTS.search(caption) or ("," not in caption and " " in caption)
    ]


def fewest_tokens(caption: str) -> int:
    """A lower bound of the token count, without a tokenizer: each word, digit and run of signs is one or more."""
    return len(WORDS.findall(caption)) + 2


def surely_lost(caption: str) -> str:
    """What is lost even if each word were one token; "" if that would fit."""
    for number, match in enumerate(WORDS.finditer(caption)):
        if number == TOKEN_LIMIT - 2:
            return caption[match.start() :]
    return ""


def statistics_of(
    written: Captions,
    trained: Captions,
    *,
    count_tokens: Callable[[str], int],
    token_note: str,
    trigger: str,
) -> CaptionStatistics:
    """The captions as a whole.

    Args:
        written: captions as they are in the folder.
        trained: with the trigger word put in front.
        count_tokens: of a caption, begin and end included.
        token_note: whose tokens these are, or why only words are counted.
        trigger: of data.trigger.
    """
    tokens = None
    if trained:
        counts = [count_tokens(caption) for caption in trained.values()]
        tokens = (min(counts), round(statistics.median(counts)), max(counts))
    return CaptionStatistics(
        tokens=tokens,
        token_note=token_note,
        trigger=trigger,
        captions=len(written),
        with_trigger=sum(has_trigger(caption, trigger) for caption in written.values()),
        tags=tuple(tag_frequency(list(written.values()))),
    )


def tag_frequency(captions: Sequence[str]) -> list[tuple[str, int]]:
    """The most frequent comma-separated tags that more than one caption has, with their number of captions."""
    return [(tag, number) for tag, number in tag_counts(captions).most_common(MOST_TAGS) if number > 1]


def _likely_trigger(captions: Captions) -> str:
    """The made-up first tag (`ghibli_style`) of at least four in five captions, or ""."""
    firsts = Counter(caption.split(",")[0].strip().lower() for caption in captions.values())
    for tag, number in firsts.most_common(1):
        made_up = re.fullmatch(r"\S*_\S*|[\w ]*\bstyle", tag) is not None
        if made_up and number >= 5 and 0.8 * len(captions) <= number:
            return tag
    return ""
