"""Which pictures a folder holds, what they are called in words, and to which group they belong.

Two ways to caption, both in wide use:

- a `metadata.jsonl` or `metadata.csv` (see metadata.py), at the top of the folder or in sub-folders: it speaks
  for the pictures of its folder and below, and a `.txt` file there that says the same is passed over;
- else a `.txt` file beside each picture (see sidecars.py). Where a kohya folder (`10_portrait`) holds no such file
  at all, its name without the number is the caption, as in kohya's scripts.

The group is the metadata's, or else the name of the first-level sub-folder (kohya's `10_portrait` is
`portrait`), or else `all`. A kohya folder's repeats hold whatever the group is called. Where all sub-folders are
splits (`train`, `validation`, `test`), those are no groups and the level below decides. Hidden files and folders
(leading dot) are not read, nor are folders that disk stations put beside pictures, or masks of other trainers.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.folder.file_kinds import format_of, is_picture_name, misnamed_as
from datamodules.folder.group_names import as_group
from datamodules.folder.listed_names import ListedNames
from datamodules.folder.metadata import METADATA_NAMES, OTHER_METADATA, Row, even, read_metadata
from datamodules.folder.sidecars import is_sidecar, odd_sidecars, pair, read_caption, stem, stems_of
from datamodules.problems import (
    FOLDER_NAME_AS_CAPTION,
    FOREIGN_FOLDER,
    HIDDEN_BY_NAME,
    IGNORED_SIDECAR,
    LEAVES,
    LINKED_FOLDER,
    MALFORMED,
    MASK,
    SAME_BUT_CASE,
    SOME_WITHOUT_GROUP,
    SPLIT_FOLDERS,
    UNLISTED,
    UNREAD_METADATA,
    WRONG_SUFFIX,
    ZERO_REPEATS,
    Problem,
)

DEFAULT_GROUP = "all"
FOREIGN = {
    "@eaDir",
    "@Recycle",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "__MACOSX",
    "lost+found",
}
"""Folders that disk stations and systems put beside pictures, with copies of them."""
MASK_ENDS = ("-masklabel", "-condlabel")
TRAINING_SPLITS = {"train", "training"}
SPLITS = TRAINING_SPLITS | {"validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation"}


_KOHYA_NAME = re.compile(r"(\d{1,6})_.+", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A picture as it was listed, before anybody looked whether it is there.

    Attributes:
        name: path relative to the folder, as written.
        caption: with white space evened out; "" if missing.
        group: see the module's text.
        source: where it was listed, for messages.
        other_captions: of the same picture, if it has several.
        repeats: kohya's number of its folder; 1 without.
        caption_is_said: what is wrong with its caption is among the listing's problems already.
    """

    name: str
    caption: str
    group: str
    source: str
    other_captions: tuple[str, ...] = ()
    repeats: int = 1
    caption_is_said: bool = False


@dataclass(frozen=True)
class Listing:
    """All entries of a folder and what was wrong on the way."""

    entries: list[Entry]
    problems: list[Problem]


@dataclass(frozen=True)
class _Found:
    """A picture with its words, before its group is known."""

    row: Row
    caption_is_said: bool = False


def list_captions(folder: Path) -> Listing:
    """Read the metadata files of the folder and, where there is none, its `.txt` files."""
    files, problems = _files(folder)
    tables = [path for path in files if path.name in METADATA_NAMES]
    problems += [Problem(UNREAD_METADATA, _name(folder, path)) for path in files if _may_be_metadata(path)]
    homes = Counter(path.parent for path in tables)
    doubled = [_name(folder, home / METADATA_NAMES[0]) for home, count in homes.items() if count > 1]
    if doubled:
        both = " and ".join(METADATA_NAMES)
        names = [both if name == METADATA_NAMES[0] else f"{both} beside {name}" for name in doubled]
        return Listing([], [Problem(MALFORMED, name, "two metadata files, keep one") for name in names])
    governed = [path for path in files if any(home in homes for home in path.parents)]
    masks = set(_masks(files)) - set(governed)
    free = [path for path in files if path not in set(governed) | masks]
    problems += [Problem(MASK, _name(folder, path)) for path in sorted(masks)]
    found, said = _from_metadata(folder, tables, governed)
    beside, said_beside = _from_sidecars(folder, free)
    entries, said_of_groups = _grouped([*found, *beside])
    problems += said + said_beside + said_of_groups
    problems += _odd_names(folder, entries, files)
    return Listing(entries, problems)


def _may_be_metadata(path: Path) -> bool:
    return path.name not in METADATA_NAMES and OTHER_METADATA.fullmatch(path.name) is not None


def _files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Visible files below the folder, sorted; never through a link to a folder."""
    problems: list[Problem] = []
    files: list[Path] = []

    def unreadable(error: OSError) -> None:
        problems.append(Problem(MALFORMED, _name(folder, Path(error.filename)), error.strerror or ""))

    for top, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(top)
        problems += [
            Problem(FOREIGN_FOLDER, _name(folder, here / name)) for name in sorted(FOREIGN & set(folders))
        ]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in FOREIGN)
        problems += [_linked(folder, here / name) for name in folders if (here / name).is_symlink()]
        files += [here / name for name in names if not name.startswith(".")]
    return sorted(files), problems


def _linked(folder: Path, link: Path) -> Problem:
    target = os.path.realpath(link)
    inside = Path(target).is_relative_to(os.path.realpath(folder))
    return Problem(LINKED_FOLDER if inside else LEAVES, _name(folder, link), f"a link to {target}")


# ------------------------------------------------------------------ metadata


def _from_metadata(
    folder: Path, tables: Sequence[Path], files: Sequence[Path]
) -> tuple[list[_Found], list[Problem]]:
    """What the metadata files list, and what they leave out of the files that they speak for."""
    found: list[_Found] = []
    problems: list[Problem] = []
    on_disk = ListedNames(_name(folder, path) for path in files)
    for table in tables:
        rows, said = read_metadata(table, _name(folder, table))
        problems += said
        for row in rows:
            name = _from_top(folder, table.parent, row.name)
            if not os.path.lexists(folder / name):
                name = on_disk.meant(name)
            near = "" if os.path.lexists(folder / name) else on_disk.near(name)
            source = f"{row.source}; {near} is there" if near else row.source
            found.append(_Found(Row(name, row.captions, row.group, source)))
    named = {own_path(folder / each.row.name) for each in found}
    pictures = [path for path in files if is_picture_name(path)]
    unlisted = [path for path in pictures if own_path(path) not in named]
    problems.extend(Problem(UNLISTED, _name(folder, path)) for path in unlisted)
    problems.extend(_ignored(folder, files, found))
    return found, problems


def _ignored(folder: Path, files: Sequence[Path], found: Sequence[_Found]) -> list[Problem]:
    """Files beside pictures that say something else than the metadata."""
    stems = {one for path in files if is_picture_name(path) for one in stems_of(path)}
    captions: dict[Path, list[tuple[str, ...]]] = {}
    for each in found:
        for one in stems_of(_absolute(folder / each.row.name)):
            captions.setdefault(one, []).append(each.row.captions or ("",))
    beside = [path for path in files if is_sidecar(path) and stem(path) in stems]
    ignored = [path for path in beside if not _agrees(path, captions.get(stem(_absolute(path)), []))]
    return [Problem(IGNORED_SIDECAR, _name(folder, path)) for path in ignored]


def _agrees(sidecar: Path, captions: Sequence[tuple[str, ...]]) -> bool:
    """Whether a file repeats what the metadata says of each picture beside it, as after `audit --write`."""
    text, said = read_caption(sidecar, "")
    unreadable = any(problem.kind.stops for problem in said)
    return bool(captions) and not unreadable and all(text in those for those in captions)


def _from_top(folder: Path, home: Path, name: str) -> str:
    """A metadata line's name, relative to the folder; at the top (and if it is absolute) as written."""
    return name if home == folder else str(Path(_name(folder, home)) / name)


# ------------------------------------------------------------------ files beside the pictures


def _from_sidecars(folder: Path, files: Sequence[Path]) -> tuple[list[_Found], list[Problem]]:
    pictures = [path for path in files if is_picture_name(path)]
    captioned = pair(pictures, files)
    names, problems = _captions_of_folders(folder, pictures, captioned)
    found = []
    for path in pictures:
        name, own = _name(folder, path), captioned.get(path)
        caption, said = read_caption(own, _name(folder, own)) if own else (names.get(_top(name), ""), [])
        problems += said
        wrong = any(problem.kind.stops for problem in said)
        found.append(_Found(Row(name, (caption,) if caption else (), "", name), wrong))
    return found, list(dict.fromkeys(problems)) + odd_sidecars(folder, files, captioned)


def _captions_of_folders(
    folder: Path, pictures: Sequence[Path], captioned: Mapping[Path, Path]
) -> tuple[dict[str, str], list[Problem]]:
    """Kohya folders in which no picture has a file beside it: folder name -> caption."""
    tops: dict[str, list[bool]] = {}
    for path in pictures:
        name = _name(folder, path)
        if repeats_of(_top(name)):
            tops.setdefault(_top(name), []).append(path in captioned)
    captions = {top: even(top.partition("_")[2]) for top, has_file in tops.items() if not any(has_file)}
    problems = [
        Problem(FOLDER_NAME_AS_CAPTION, top, f"{len(tops[top])} pictures: {caption!r}")
        for top, caption in captions.items()
    ]
    return captions, problems


def _masks(files: Sequence[Path]) -> list[Path]:
    """OneTrainer's masks of pictures that lie beside them."""
    stems = {stem(path) for path in files if is_picture_name(path)}
    return [path for path in files if is_picture_name(path) and _masked(path) in stems]


def _masked(mask: Path) -> Path | None:
    """The stem of the picture that a file is a mask of, by its name."""
    own = str(stem(mask))
    end = next((end for end in MASK_ENDS if own.endswith(end)), None)
    return None if end is None else Path(own.removesuffix(end))


# ------------------------------------------------------------------ groups


def _grouped(found: Sequence[_Found]) -> tuple[list[Entry], list[Problem]]:
    """Entries with their groups; pictures of kohya folders with 0 repeats are left out, and said."""
    problems = []
    splits = _splits([each.row.name for each in found])
    if len(splits) > 1:
        problems.append(Problem(SPLIT_FOLDERS, ", ".join(sorted(splits))))
    entries = []
    skipped: Counter[str] = Counter()
    for each in found:
        entry, top = _entry(each, bool(splits))
        if entry.repeats:
            entries.append(entry)
        else:
            skipped[top] += 1
    problems += [Problem(ZERO_REPEATS, top, f"{count} pictures") for top, count in skipped.items()]
    groupless = [entry for entry in entries if entry.group == DEFAULT_GROUP]
    if len(groupless) < len(entries):
        problems += [Problem(SOME_WITHOUT_GROUP, entry.name) for entry in groupless]
    return entries, problems + _same_but_case({entry.group for entry in entries})


def _same_but_case(groups: set[str]) -> list[Problem]:
    """`Portrait` and `portrait` are two groups, which is seldom meant."""
    alike: dict[str, list[str]] = {}
    for group in sorted(groups):
        alike.setdefault(group.casefold(), []).append(group)
    return [Problem(SAME_BUT_CASE, " and ".join(names)) for names in alike.values() if len(names) > 1]


def _entry(found: _Found, in_splits: bool) -> tuple[Entry, str]:
    """An entry, and the sub-folder that its group may come from."""
    row = found.row
    name = os.path.normpath(row.name)
    top = _top(name.partition("/")[2] if in_splits else name)
    repeats = repeats_of(top)
    written = row.group or (top.partition("_")[2] if repeats is not None else top)
    group = as_group(written) or DEFAULT_GROUP
    caption, *others = row.captions or ("",)
    entry = Entry(
        row.name,
        caption,
        group,
        row.source,
        other_captions=tuple(others),
        repeats=1 if repeats is None else repeats,
        caption_is_said=found.caption_is_said,
    )
    return entry, top


def _splits(names: Sequence[str]) -> set[str]:
    """The first-level folders, if all pictures lie in folders named as splits, one of them for training."""
    tops = {_top(os.path.normpath(name)) for name in names}
    return tops if tops <= SPLITS and tops & TRAINING_SPLITS else set()


# ------------------------------------------------------------------ names


def _odd_names(folder: Path, entries: Sequence[Entry], files: Sequence[Path]) -> list[Problem]:
    """Pictures whose name says another format, or hides that they are pictures."""
    problems = []
    for entry in entries:
        found = misnamed_as(folder / entry.name) if _can_be_looked_at(folder, entry.name) else ""
        if found:
            problems.append(Problem(WRONG_SUFFIX, entry.name, f"it is {found}"))
    listed = {own_path(folder / entry.name) for entry in entries}
    for path in files:
        found = "" if is_picture_name(path) or own_path(path) in listed else format_of(path)
        if found and found != "PPM":  # whose two letters may begin a caption
            problems.append(Problem(HIDDEN_BY_NAME, _name(folder, path), f"it is {found}"))
    return problems


def lies_in(folder: Path, name: str) -> bool:
    """Whether a listed file is in the folder; it may be a link to a file elsewhere, but no folder on its way may.

    Who linked a file meant this one (the hub's cache is links alone); a line of a downloaded table may name any.
    """
    home = own_path(folder / name).parent  # an absolute name replaces the folder
    return home.is_relative_to(os.path.realpath(folder)) and not Path(name).is_absolute()


def own_path(path: Path) -> Path:
    """Where a file lies, by the one name of its folder; a link beside its target is a second picture."""
    return Path(os.path.realpath(path.parent)) / path.name


def _can_be_looked_at(folder: Path, name: str) -> bool:
    """Whether a listed file is there; what leaves the folder is not opened."""
    try:
        return lies_in(folder, name) and (folder / name).is_file()
    except OSError:  # a name longer than the file system takes
        return False


def _absolute(path: Path) -> Path:
    """The path by which a metadata line and a file are compared, however the line writes it."""
    return Path(os.path.normpath(path.absolute()))


def repeats_of(folder_name: str) -> int | None:
    """The number of a kohya folder such as `10_portrait`, or nothing."""
    match = _KOHYA_NAME.fullmatch(folder_name)
    return int(match[1]) if match else None


def _top(name: str) -> str:
    """The first-level sub-folder of a relative path, or ""."""
    top, slash, _ = name.partition("/")
    return top if slash and top != ".." else ""


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
