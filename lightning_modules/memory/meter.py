"""How many bytes of tensors live at once: what training holds, without the allocator that it comes from.

A tensor's memory is its storage, which views share. Each operator's new storages are counted when they come and when
they go, so the peak is that of *live tensor bytes*. Process memory and the allocator's reserve are other, larger
figures. What a kernel allocates for itself, inside one operator, isn't seen.

It counts real tensors and those on the meta device alike: these have sizes and lifetimes, and no memory.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts inside a `with`.

    Attributes:
        live: bytes now.
        peak: the most so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: dict[int, int] = {}

    def __enter__(self) -> "LiveBytes":
        """Start counting."""
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def watch(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors that were there before; returns how many bytes they added."""
        before = self.live
        for tensor in tensors:
            self._count(tensor)
        return self.live - before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count what it made."""
        out = func(*args, **(kwargs or {}))
        self.watch(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        if key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.live += self._known[key]
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key).atexit = False

    def _gone(self, key: int) -> None:
        self.live -= self._known.pop(key)


def byte_count(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, shared storages once; of meta tensors, what real ones would take."""
    storages: dict[int, torch.UntypedStorage] = {}
    for tensor in tensors:
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
    return sum(storage.nbytes() for storage in storages.values())
