"""Tensors kept by a key of their content: in memory while there is room, and in a folder that runs share.

The folder holds shards: safetensors files with some entries each, named at random, written beside and renamed,
never changed afterwards. So two runs can write at once (at worst an entry is stored twice), and a run that is
killed loses what it had not written yet: one shard.

Entry `k` with tensors `a` and `b` is stored as `k/a` and `k/b`; the header's metadata holds for `k` a CRC-32 and
the names: "1c291ca3 a b". A shard that can't be read, whose bytes changed, or that holds what is no entry is deleted
with a warning, and its entries count as absent.
"""

import logging
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foundation.atomic_file import atomic_file, remove_leftovers

log = logging.getLogger(__name__)

Entry = dict[str, Tensor]

SHARD_BYTES = 16 * 2**20  # 128 pictures of 512x512: mean and std of 4x64x64 float32 are 128 KB
SHARD_SECONDS = 60.0  # a slow encoder loses a minute at most when it is killed
MEMORY_BYTES = 2**30  # a process; 150 pictures of 512x512, mirrored too, take 38 MB


class _Slab:
    """Room for the copies of many small tensors in one piece of memory.

    Allocated one by one, between pictures that come and go, they would leave the C library's heap full of holes:
    measured, 5 MB for every picture of 512x512 whose latents of 128 KB stay.
    """

    def __init__(self) -> None:
        self._room = torch.empty(0, dtype=torch.uint8)

    def copy(self, tensor: Tensor) -> Tensor:
        """A contiguous copy on the CPU."""
        size = tensor.numel() * tensor.element_size()
        if size > len(self._room):
            self._room = torch.empty(max(SHARD_BYTES, size), dtype=torch.uint8)
        own = self._room[:size].view(tensor.dtype).view(tensor.shape)
        self._room = self._room[size + -size % 64 :]  # the next one is aligned as torch's own are
        return own.copy_(tensor)


def _is_any(entry: Entry) -> bool:
    return True


class TensorStore:
    """Entries (tensors by name) by key. Can be pickled, so loader processes read from the folder too."""

    def __init__(
        self,
        folder: Path | None,
        is_entry: Callable[[Entry], bool] = _is_any,
        *,
        memory: int = MEMORY_BYTES,
    ) -> None:
        """Look what the folder holds.

        Args:
            folder: made when the first shard is written; null keeps everything in memory, whatever its size.
            is_entry: whether what was read can be an entry of this store; whoever can write into the folder can make
                files with the right checksum.
            memory: bytes to hold in memory, of the entries loaded or put first; the others are read when asked.
        """
        self._is_entry = is_entry
        self.folder = folder
        self._room = memory
        self._memory: dict[str, Entry] = {}
        self._shards: dict[str, str] = {}  # key -> the shard's file name
        self._indexed: set[str] = set()
        self._slab = _Slab()
        self._pending: dict[str, Entry] = {}  # not in a shard yet
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._writable = True
        if folder is not None:
            remove_leftovers(folder)
            self.refresh()

    def __contains__(self, key: str) -> bool:
        """Whether an entry is there; a damaged one counts until `load` or `get` finds it out."""
        return key in self._memory or key in self._pending or key in self._shards

    def __len__(self) -> int:
        """Number of entries, of this store and of all that wrote into its folder before the last look."""
        return len(self._memory.keys() | self._pending.keys() | self._shards.keys())

    def refresh(self) -> None:
        """Look for shards that others have written since the last look."""
        if self.folder is None:
            return
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            if path.name not in self._indexed:
                self._indexed.add(path.name)
                self._index(path)

    def load(self, keys: Iterable[str]) -> set[str]:
        """Read and check entries, one shard after the other, and hold them in memory while there is room.

        Returns:
            The keys that are there and sound.
        """
        by_shard: dict[str, list[str]] = {}
        sound = set()
        for key in dict.fromkeys(keys):
            if key in self._memory or key in self._pending:
                sound.add(key)
            elif key in self._shards:
                by_shard.setdefault(self._shards[key], []).append(key)
        for shard, wanted in by_shard.items():
            for key, entry in self._read(shard, wanted):
                self._hold(key, entry)
                sound.add(key)
        return sound & (self._memory.keys() | self._pending.keys() | self._shards.keys())

    def get(self, key: str) -> Entry | None:
        """An entry, or nothing if it isn't there.

        Raises:
            OSError: it was there, but its shard has been deleted or damaged since, or can't be read.
        """
        entry = self._memory.get(key, self._pending.get(key))
        if entry is not None or key not in self._shards:
            return entry
        shard = self._shards[key]
        for _, found in self._read(shard, [key]):
            return found
        raise OSError(
            f"{shard} in the cache folder {self.folder} was deleted or damaged while this run used it, or can't be"
            " read. Go on with --ckpt_path last: what is missing is encoded anew."
        )

    def put(self, key: str, entry: Mapping[str, Tensor]) -> None:
        """Add an entry (any dtype and device; copied), and write a shard when there is enough for one.

        A folder that can't be written to is said once; from then on new entries stay in memory.
        """
        own = {name: self._slab.copy(tensor.detach()) for name, tensor in entry.items()}
        if self.folder is None:
            self._memory[key] = own
            return
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending[key] = own
        self._pending_bytes += _size(own)
        waited = time.monotonic() - self._pending_since
        if self._pending_bytes >= SHARD_BYTES or waited >= SHARD_SECONDS:
            self.flush()

    def fill(
        self,
        keys: Iterable[str],
        encode: Callable[[Sequence[str]], Iterable[tuple[str, Entry]]],
        *,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] = lambda: None,
    ) -> None:
        """Work out the entries that aren't there.

        With a folder each of several processes works out its part, writes it, and reads the others'. What is
        not found then (the folder is on another machine, or full) each works out for itself. Without a folder
        each works out everything.

        Args:
            keys: what has to be there afterwards; the same in all processes.
            encode: works out the entries of these keys, one by one.
            rank: of this process.
            world_size: number of processes.
            barrier: waits until all processes have called it.
        """
        wanted = list(dict.fromkeys(keys))
        missing = self._missing(wanted)
        if world_size > 1 and self.folder is not None:
            barrier()  # all have seen what is missing before the first one writes
            self._put_all(encode(missing[rank::world_size]))
            barrier()
            self.refresh()
            missing = self._missing(wanted)
        self._put_all(encode(missing))

    def _missing(self, keys: Iterable[str]) -> list[str]:
        keys = list(keys)
        there = self.load(keys)
        return [key for key in keys if key not in there]

    def _put_all(self, entries: Iterable[tuple[str, Entry]]) -> None:
        try:
            for key, entry in entries:
                self.put(key, entry)
        finally:
            self.flush()  # an error or an interrupt, too, keeps what was worked out

    def flush(self) -> None:
        """Write what is not written yet."""
        if self.folder is None or not self._pending or not self._writable:
            return
        try:
            name = _write_shard(self.folder, self._pending)
        except (OSError, SafetensorError) as error:
            self._writable = False
            log.warning(
                f"The cache folder {self.folder} can't be written to ({error}): this run keeps what it encodes in"
                " memory, and the next one encodes it again. Free some space, or set data.cache_folder."
            )
            return
        self._indexed.add(name)
        for key, entry in self._pending.items():
            self._shards[key] = name
            self._hold(key, entry)
        self._pending, self._pending_bytes = {}, 0

    def _hold(self, key: str, entry: Entry) -> None:
        size = _size(entry)
        if key not in self._memory and size <= self._room:
            self._room -= size
            self._memory[key] = entry

    def _index(self, path: Path) -> None:
        """Note the entries of a shard, from its header."""
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.metadata() or {}:
                    self._shards.setdefault(key, path.name)
        except OSError:  # another run deleted it in this moment, or it is not ours to read
            return
        except SafetensorError as error:
            self._drop(path, str(error))

    def _read(self, shard: str, keys: Iterable[str]) -> Iterator[tuple[str, Entry]]:
        """The entries that are sound; at the first that isn't the shard is dropped."""
        assert self.folder is not None
        path = self.folder / shard
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata()
                for key in keys:
                    checksum, *names = header[key].split() or [""]
                    # clone: a tensor of the file would be read, and could fail, when it is used
                    entry = {name: file.get_tensor(f"{key}/{name}").clone() for name in names}
                    if checksum != _checksum(entry):
                        self._drop(path, "its bytes are not what was written")
                        return
                    if not self._is_entry(entry):
                        self._drop(path, "it holds what is no entry of this cache")
                        return
                    yield key, entry
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # another run deleted it: nothing to tell
                log.warning(f"{path} can't be read ({error}): what it held is encoded anew.")
            self._forget(shard)
        except (
            SafetensorError,
            KeyError,
            TypeError,
        ) as error:  # the last two: its header is another than before
            self._drop(path, str(error) or type(error).__name__)

    def _drop(self, path: Path, reason: str) -> None:
        log.warning(f"{path} is damaged ({reason}): it is deleted, and what it held is encoded anew.")
        self._forget(path.name)
        try:
            path.unlink(missing_ok=True)
        except OSError:  # a read-only folder: the shard is passed over at each start
            return

    def _forget(self, shard: str) -> None:
        self._shards = {key: name for key, name in self._shards.items() if name != shard}


def _write_shard(folder: Path, entries: Mapping[str, Entry]) -> str:
    """Write beside and rename; returns the file's name."""
    path = folder / f"shard-{uuid.uuid4().hex}.safetensors"
    tensors = {f"{key}/{name}": tensor for key, entry in entries.items() for name, tensor in entry.items()}
    header = {key: " ".join([_checksum(entry), *entry]) for key, entry in entries.items()}
    with atomic_file(path) as partial:
        save_file(tensors, partial, header)
    return path.name


def _checksum(entry: Mapping[str, Tensor]) -> str:
    """CRC-32 of names, types, shapes and bytes."""
    total = 0
    for name, tensor in sorted(entry.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


def _size(entry: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in entry.values())
