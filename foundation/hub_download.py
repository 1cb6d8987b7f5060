"""How files are fetched from the Hugging Face hub, and what a user can do when that fails.

A model's few kilobytes of settings come first, its weights when they are wanted: what will come, from where and to
where, is said before, and each file has a bar with its size and speed. What is in the hub's cache is used, and the hub
isn't asked, not even for a newer revision: `hf cache rm model/OWNER/NAME` makes the next start fetch that.

A connection that breaks is taken up where it broke, a few times; then files that are whole stay, and the next start
fetches the others. Of several forms of the same weights one is taken: `weight_files.py`.
"""

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import getproxies

from huggingface_hub import HfApi, constants, get_cached_repo_tree, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

LOG_IN = "log in here (`hf auth login`, or set HF_TOKEN)"

# It would name our patterns to whoever gives a model without a single settings file; our refusal says it in words.
logging.getLogger("huggingface_hub._snapshot_download").setLevel(logging.ERROR)


@dataclass(frozen=True)
class HubModel:
    """A model on the hub.

    Attributes:
        id: `owner/name`.
        option: that names it, e.g. `--model.base_model`.
        files: patterns of what is wanted of it, for whoever fetches it elsewhere.
    """

    id: str
    option: str
    files: Sequence[str]

    @property
    def page(self) -> str:
        """Where its owner's conditions stand."""
        return f"{constants.ENDPOINT}/{self.id}"

    @property
    def elsewhere(self) -> str:
        """How to bring it here from a machine that reaches the hub."""
        folder = f"models/{self.id.rpartition('/')[2]}"
        patterns = " ".join(f'--include "{pattern}"' for pattern in self.files)
        return (
            f"Or, on a machine that reaches the hub, run\n  hf download {self.id} --local-dir {folder} {patterns}\n"
            f"put the folder here as {folder}, and set\n  {self.option} {folder}"
        )


def is_hub_id(text: str) -> bool:
    """`owner/name`, unless the owner is a folder here or the name a file's: then a path was meant, not the network."""
    path = Path(text)
    is_file_name = path.suffix in (".safetensors", ".ckpt", ".pt", ".bin")
    return (
        re.fullmatch(r"[\w.-]+/[\w.-]+", text) is not None and not is_file_name and not path.parent.exists()
    )


def fetch_settings(model: HubModel, patterns: Sequence[str]) -> Path:
    """The folder in the hub's cache with a model's small files; they are fetched unless they are all there.

    Args:
        model: of the hub.
        patterns: of the files that are wanted.

    Raises:
        ValueError: the hub doesn't give them; with what to do.
    """
    with _failures_in_words(model), disable_progress_bars():
        if folder := in_cache(model.id, patterns):
            return folder
        try:
            # Unlike the other requests for lists of files, this one can be told how long to wait.
            HfApi().model_info(model.id, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except Exception:
            if folder := _unlisted(model.id, patterns):
                return folder
            raise
        return Path(snapshot_download(model.id, allow_patterns=list(patterns)))


def in_cache(model_id: str, patterns: Sequence[str]) -> Path | None:
    """The folder in the hub's cache, if all files that match are known to be in it; asks the hub for nothing."""
    try:
        get_cached_repo_tree(model_id)
    except CachedRepoTreeNotFoundError:
        return None
    return _unlisted(model_id, patterns)


def _unlisted(model_id: str, patterns: Sequence[str]) -> Path | None:
    """The same, but where no list of a model's files is in the cache, any folder of it passes for whole.

    Older versions of huggingface_hub kept none, and one of those may have filled the cache.
    """
    try:
        return Path(snapshot_download(model_id, allow_patterns=list(patterns), local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def listed(model_id: str, settings: Path) -> dict[str, int]:
    """Sizes in bytes of all files of a model, by name; empty if the cache doesn't know (see `_unlisted`).

    Args:
        model_id: on the hub.
        settings: from `fetch_settings`; its name is the commit.
    """
    try:
        return {file.path: file.size for file in get_cached_repo_tree(model_id, revision=settings.name)}
    except CachedRepoTreeNotFoundError:
        return {}


def fetch_header(
    model: HubModel, settings: Path, file: str
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of a `.safetensors` file's tensors, and its words; its weights stay on the hub.

    Args:
        model: of the hub.
        settings: from `fetch_settings`; the file is that of the same commit.
        file: its name there.

    Raises:
        ValueError: the hub doesn't give it; with what to do.
    """
    with _failures_in_words(model, f"the header of {file}"):
        found = HfApi().parse_safetensors_file_metadata(
            model.id, file, revision=settings.name, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
    return {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}, dict(found.metadata)


def fetch_weights(model: HubModel, settings: Path, choose: Callable[[Sequence[str]], Sequence[str]]) -> None:
    """Fetch the chosen files of a model into the folder of its settings, unless they are there.

    Args:
        model: of the hub.
        settings: from `fetch_settings`; the weights are those of the same commit.
        choose: of the names of all files those that are wanted; of none, where the cache has no list of them.

    Raises:
        ValueError: the hub doesn't give them, or there is no room; with what to do.
    """
    sizes = listed(model.id, settings)
    missing = [name for name in choose(list(sizes)) if not (settings / name).is_file()]
    if not missing:
        return
    if (
        sizes and os.environ.get("LOCAL_RANK", "0") == "0"
    ):  # of several processes one fetches, the others wait for it
        _announce(model, {name: sizes[name] for name in missing})
    for name in missing:
        size = f" ({_amount(sizes[name])})" if sizes else ""
        with _failures_in_words(model, f"{name}{size}"), _bars():
            hf_hub_download(model.id, name, revision=settings.name)


def _announce(model: HubModel, sizes: dict[str, int]) -> None:
    """Say what will come; refuse what there is no room for before hours are spent on it."""
    total, cache = sum(sizes.values()), Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(cache).free
    if total > free:
        raise ValueError(
            f"{model.option} {model.id}: its weights take {_amount(total)}, and {cache} has {_amount(free)} free. "
            f"{_ROOM}"
        )
    files = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
    print(
        f"Fetching {_amount(total)} ({files}) of {model.id} from {constants.ENDPOINT} into {cache}, which has "
        f"{_amount(free)} free.",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def _bars() -> Iterator[None]:
    """The hub's bars, which transformers hides with its own; a user's HF_HUB_DISABLE_PROGRESS_BARS stands."""
    hidden = are_progress_bars_disabled() and not constants.HF_HUB_DISABLE_PROGRESS_BARS
    if hidden:
        enable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            disable_progress_bars()


def get_again(folder: Path) -> str:
    """How to get a damaged model anew. What is in the hub's cache is never fetched twice: it has to go first."""
    stored = next((above for above in [folder, *folder.parents] if above.name.startswith("models--")), None)
    if stored is None:
        return "Download or copy the model again."
    name = stored.name.replace("models--", "model/", 1).replace("--", "/")
    return f"Where {constants.ENDPOINT} can be reached, run `hf cache rm {name}`: the next start fetches it anew."


# ---------------------------------------------------------------------- failures

_OF_OTHER_ANSWERS = {"JSONDecodeError", "FileMetadataError", "UnsupportedProtocol", "KeyError", "TypeError"}
_PROXY = "Correct HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or unset them."
_ROOM = "Make room, or set HF_HOME to a folder on a larger disk."
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@contextmanager
def _failures_in_words(model: HubModel, file: str = "") -> Iterator[None]:
    """Turn what the hub, its HTTP client and the system raise into one sentence; they have no common class."""
    try:
        yield
    except Exception as error:
        chain = causes(error)
        reason = (
            _of_the_disk(chain, file)
            or _of_the_answer(model, chain, file)
            or _of_the_network(model, chain, file)
        )
        raise ValueError(f"{model.option} {model.id}: {reason}") from error


def causes(error: BaseException | None) -> list[BaseException]:
    """An error and those that led to it."""
    return [] if error is None else [error, *causes(error.__cause__ or error.__context__)]


def _of_the_disk(chain: Sequence[BaseException], file: str) -> str:
    cache = constants.HF_HUB_CACHE
    for cause in chain:
        number = cause.errno if isinstance(cause, OSError) else None
        if number in _FULL or "No space left on device" in str(cause):
            return f"the disk of {cache} is full, {file or 'its settings'} can't be kept. {_ROOM}"
        if isinstance(cause, OSError) and number in _CLOSED and cause.filename is not None:
            return (
                f"{cause.filename} can't be written ({cause.strerror}). Set HF_HOME to a folder of your own."
            )
    return ""


def _of_the_answer(model: HubModel, chain: Sequence[BaseException], file: str) -> str:
    """What the hub itself has answered."""
    error = next((cause for cause in chain if isinstance(cause, HfHubHTTPError)), None)
    if error is None:
        return ""
    status = error.response.status_code
    said = f"{status}; {error.server_message}" if error.server_message else f"{status}"
    if isinstance(error, GatedRepoError):
        return (
            f"the hub gives it only to those who have accepted its licence ({status}). Accept it on {model.page}, then "
            f"{LOG_IN}."
        )
    if isinstance(error, EntryNotFoundError) or (file and status == 404):
        return (
            f"the hub lists {file or 'its settings'} and doesn't give all of it ({status}). Try again in a few "
            f"minutes; if that doesn't help, look at {model.page}."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return (
            f"there is no such folder here, and the hub has no model of that name, or a private one ({status}). Is it "
            f"spelt as on {model.page}? If it is private, {LOG_IN}."
        )
    if status == 401:
        return f"the hub doesn't accept this machine's token ({status}). Take a new one, and {LOG_IN}."
    if status in (403, 451):
        return f"the hub refuses it ({said}). Look at {model.page}, and {LOG_IN} as somebody who may have it."
    if status == 429:
        return (
            f"the hub has had too many requests from this address ({status}). Wait a few minutes, or {LOG_IN}: who is "
            "logged in may ask more often."
        )
    if status == 407:
        return f"a proxy asks for a name and a password ({status}). {_PROXY}"
    if status >= 500 or status == 408:
        return f"the hub is out of order at the moment ({status}). Try again in a few minutes."
    return f"the hub refuses the request ({said})."


def _of_the_network(model: HubModel, chain: Sequence[BaseException], file: str) -> str:
    """What came between here and the hub. The HTTP client's classes go by their names: it was renamed once."""
    kinds = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    last, hub = _line(chain[-1]), constants.ENDPOINT
    kept = " Files that came whole are kept." if file else ""
    if "HFValidationError" in kinds:
        return f"no model has such an id ({last})."
    if "OfflineModeIsEnabled" in kinds:
        offline = next((name for name in _OFFLINE if os.environ.get(name)), _OFFLINE[0])
        return (
            f"there is no such folder here, not all of the model is in the hub's cache, and {offline} forbids to "
            f"ask the hub. Unset it.\n{model.elsewhere}"
        )
    if kinds & _OF_OTHER_ANSWERS:
        return (
            f"what answers at {hub} isn't the Hugging Face hub. Does the network want a log-in in the browser first, "
            f"is there a proxy, or is HF_ENDPOINT another than was meant?\n{model.elsewhere}"
        )
    if "ProxyError" in kinds or any("proxy" in str(cause).lower() for cause in chain):
        return f"the proxy on the way to {hub} fails ({last}). {_PROXY}"
    if "TimeoutException" in kinds:
        return (
            f"{hub} doesn't answer in time. Try again; on a slow line set HF_HUB_ETAG_TIMEOUT=60 and "
            f"HF_HUB_DOWNLOAD_TIMEOUT=60.{kept}\n{model.elsewhere}"
        )
    if "ConnectError" in kinds:
        doubt = f"A proxy is set. {_PROXY}" if getproxies().keys() - {"no"} else "Is there a network?"
        return f"there is no such folder here, and {hub} can't be reached ({last}). {doubt}{kept}\n{model.elsewhere}"
    if file:
        return f"{file} didn't come whole ({_line(chain[0])}). Start again.{kept}"
    return f"the hub didn't give it ({_line(chain[0])}). Try again.\n{model.elsewhere}"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _amount(size: int) -> str:
    if size >= 10**8:
        return f"{size / 10**9:.1f} GB"
    return f"{size / 10**6:.1f} MB" if size >= 10**5 else f"{size / 10**3:.1f} kB"
