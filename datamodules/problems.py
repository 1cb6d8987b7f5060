"""What can be wrong with a folder of pictures, and how all of it is said in one message.

Each kind of problem has a title, a remedy and a verdict: it stops the run, or it is said and the run goes on.
Nothing is left out in silence, so everything that reading a folder skips or changes has its kind here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAMES_SHOWN = 20  # names printed of one kind; its count is always the full one


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    Attributes:
        title: what is wrong, to be followed by a count and names.
        remedy: what the user can do.
        stops: training can't start before it is solved.
    """

    title: str
    remedy: str
    stops: bool = True


NOTHING = Kind(
    "no pictures", "Put pictures there, with captions in metadata.jsonl or in .txt files beside them."
)
MALFORMED = Kind(
    "lines or files that can't be read",
    "Each says what is wrong. A metadata line needs a file_name and a text; all text is UTF-8.",
)
LEAVES = Kind(
    "paths that leave the folder",
    "Copy the pictures into the folder, or link each, and name them relative to it.",
)
ABSENT = Kind("listed but absent", "Put the pictures there, or mend their lines.")
DUPLICATE = Kind("listed more than once", "Keep one line a picture.")
NO_CAPTION = Kind(
    "missing or empty captions", "Write one for each (column `text`, or a .txt file of the same name)."
)
EMPTY_FILE = Kind("empty files (0 bytes)", "Copy them again from their source, or take them out.")
NOT_A_PICTURE = Kind(
    "not a picture this program can read", "Convert them to PNG, JPEG or WebP, or take them out."
)
BROKEN = Kind("broken or cut short", "Copy or save them again from their source, or take them out.")
TOO_MANY_PIXELS = Kind("too many pixels", "Scale them down, or take them out.")
FAR_TOO_SMALL = Kind(
    "far too small", "They would be enlarged more than 2 times: take them out, or lower data.resolution."
)
STRADDLES = Kind(
    "pictures both in data.folder and in data.holdout_folder",
    "A hold-out must not be trained on: keep one of the two.",
)

SMALL = Kind(
    "small, so they are enlarged and look soft", "Use larger ones, or lower data.resolution.", stops=False
)
UNLISTED = Kind(
    "pictures that the metadata doesn't list, not used", "Add lines for them if they belong.", stops=False
)
IDENTICAL = Kind(
    "byte-identical pictures, each used",
    "Take copies out, or they are seen that much more often.",
    stops=False,
)
UNREAD_METADATA = Kind(
    "files that may be metadata, not read",
    "Read are metadata.jsonl (an object a line) and metadata.csv (with commas), spelt so.",
    stops=False,
)
UNKNOWN_COLUMN = Kind("unknown columns, not used", "Known are file_name, text and group.", stops=False)
SPLIT_FOLDERS = Kind(
    "split folders, all of them trained on",
    "To validate on one, name the two folders in data.folder and data.holdout_folder.",
    stops=False,
)
LINKED_FOLDER = Kind(
    "links to folders, not followed",
    "Nothing is lost if the folder itself is read; else move the pictures here.",
    stops=False,
)
WRONG_SUFFIX = Kind(
    "suffixes of another format, read by their content",
    "Rename them if other programs shall read them.",
    stops=False,
)
HIDDEN_BY_NAME = Kind(
    "pictures that aren't named as pictures, not used",
    "Give them their suffix (.png, .jpg ...) if they belong.",
    stops=False,
)
IGNORED_SIDECAR = Kind(
    ".txt captions beside a metadata file, not used", "The metadata file decides.", stops=False
)
LONELY_SIDECAR = Kind("caption files without a picture, not used", "Check their names.", stops=False)
SHARED_SIDECAR = Kind("pictures that share one .txt caption", "Rename one, if that isn't meant.", stops=False)
SOME_WITHOUT_GROUP = Kind(
    "pictures without a group, put into group `all`", "Name a group for each.", stops=False
)
SAME_BUT_CASE = Kind(
    "groups whose names differ by capital letters alone, kept apart",
    "Spell them alike if they are one group.",
    stops=False,
)
TWO_SIDECARS = Kind(
    "second caption files of a picture, not used",
    "Keep one: a.png.txt goes before a.txt, and .txt before .caption.",
    stops=False,
)
SEVERAL_LINES = Kind(
    "caption files of several lines, joined into one caption",
    "If each line is a caption of its own, list them in metadata.jsonl, where `text` may be a list.",
    stops=False,
)
ESCAPED = Kind(
    "captions with backslashes before brackets or other signs, trained as characters",
    "Take the backslashes out (of data.trigger and data.captions too): the \\( of a prompt means the bracket alone, and"
    " \\_ the line alone, so the same prompt would say something else.",
    stops=False,
)
ONE_TAG = Kind(
    "captions whose tags no comma parts, so data.captions.shuffle_tags and tag_dropout leave them whole",
    "Part tags by commas (,), or leave these options out.",
    stops=False,
)
MASK = Kind(
    "masks of other trainers, not used", "Nothing is lost: the whole picture is trained on.", stops=False
)
FOREIGN_FOLDER = Kind(
    "folders that a system or disk station made, not read",
    "Rename them if the pictures in them belong.",
    stops=False,
)
FOLDER_NAME_AS_CAPTION = Kind(
    "folders without captions, captioned by their name as kohya does",
    "Write a .txt beside each picture: captions that tell pictures apart teach more.",
    stops=False,
)
ZERO_REPEATS = Kind(
    "folders with 0 repeats, left out as kohya does", "Give them another number to use them.", stops=False
)
REPEATS = Kind(
    "repeat numbers of folder names, kept as shares", "Set data.shares for another mix.", stops=False
)
REPEATS_UNUSED = Kind(
    "repeat numbers of folder names, not used",
    "data.shares or data.group_by says otherwise: leave both out to use them.",
    stops=False,
)
ANIMATED = Kind(
    "animations and files of several pages, only the first is used", "Save the one you want.", stops=False
)
BAD_PROFILE = Kind("unusable colour profiles, colours taken as sRGB", "Save them as sRGB.", stops=False)
TOO_LONG = Kind(
    "captions longer than the text encoder reads, their end is lost",
    "Shorten them, the important words first.",
    stops=False,
)

# What `python train.py audit` finds on top
UNUSABLE_MIX = Kind("the mix can't be drawn", "Mend this option, then look again.")
NEAR_DUPLICATE = Kind(
    "near-duplicates, seen that much more often than the others",
    "Keep the best one of each, or mean it.",
    stops=False,
)
NEAR_STRADDLES = Kind(
    "near-duplicates on both sides of the hold-out, so that validation flatters",
    "Keep one of each, or hold out a folder of your own with data.holdout_folder.",
    stops=False,
)
MUCH_CUT = Kind(
    "more than a third is cut off by the crop",
    "Crop them yourself, so that what matters stays, or set data.buckets true.",
    stops=False,
)
BLURRED = Kind("blurred at the trained size", "Use sharper ones, or take them out.", stops=False)
FLAT = Kind("hardly any contrast", "Raise their contrast, or take them out.", stops=False)
BADLY_EXPOSED = Kind(
    "too dark, too bright or clipped", "Correct their exposure, or take them out.", stops=False
)
BORDERED = Kind(
    "borders or letterbox bars, which would be learned as part of the style",
    "Cut them off.",
    stops=False,
)
SAME_CAPTION = Kind(
    "captions that several pictures share",
    "Say in each what makes it different from the others.",
    stops=False,
)
NO_TRIGGER = Kind(
    "captions without the trigger word that others have",
    "Write it into all, or into none and give it as data.trigger, which puts it where it is missing.",
    stops=False,
)
STYLE_WORDS = Kind(
    "captions that name the style",
    "Take these words out and let data.trigger stand for the style: words that say it keep it to themselves.",
    stops=False,
)
POOR_AGREEMENT = Kind(
    "captions that fit their pictures far worse than the others do",
    "Read them beside their pictures.",
    stops=False,
)


@dataclass(frozen=True)
class Problem:
    """One problem of one file, line or folder.

    Attributes:
        kind: see the constants of this file.
        where: the file, line or folder, relative to the folder that was read.
        detail: what exactly, or "".
        files: names of the pictures that it is about, relative to the folder; a full path if they are elsewhere.
    """

    kind: Kind
    where: str
    detail: str = ""
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.where} ({self.detail})" if self.detail else self.where
        return printable(text)


def printable(text: str) -> str:
    """The text on one line that any terminal takes: file names may hold line ends and bytes that are no text."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def by_kind(problems: Iterable[Problem]) -> dict[Kind, list[Problem]]:
    """The problems of each kind, in the order in which kinds first appear."""
    kinds: dict[Kind, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return kinds


def describe(problems: Iterable[Problem]) -> str:
    """One line a kind, in the order in which kinds first appear: title, full count, names, remedy."""
    return "\n".join(_line(kind, found) for kind, found in by_kind(problems).items())


def _line(kind: Kind, found: Sequence[Problem]) -> str:
    names = ", ".join(str(problem) for problem in found[:NAMES_SHOWN])
    more = f" and {len(found) - NAMES_SHOWN} more" if len(found) > NAMES_SHOWN else ""
    return f"- {kind.title} ({len(found)}): {names}{more}. {kind.remedy}"


class DatasetError(ValueError):
    """Pictures that can't be trained on; its text is the whole list."""
