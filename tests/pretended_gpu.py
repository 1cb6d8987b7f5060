"""A pretended GPU: CPU tensors that say they are on `cuda:0`, and complain as CUDA would.

    with PretendedGpu() as gpu:
        train.main(["fit", ...])
    print(gpu.report())

Storages are remembered as being there, or as pinned. A function mode answers `.device`, `.to`, `.cpu`, `device=` as a
GPU would. A dispatch mode sees every operator, also in the backward pass and inside of libraries: it raises where
tensors of two devices meet or a CPU generator draws for the GPU, and notes each *wait*, with the line of this project
that asked: a value that is read, a copy to the host, a copy from memory that isn't pinned (`non_blocking` or not), a
shape that depends on values.

float16 operators are computed in float32 and rounded, as tensor cores do: beyond 65504 there is infinity.

It knows nothing of kernels, streams and real memory: what passes here may still fail on a card; what fails here fails
there.
"""

import os
import re
import sys
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import torch
import torch._dynamo  # before its functions are replaced: it keeps a list of them
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from foundation import transfer

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent

COPIES = {"copy_", "_to_copy", "set_", "resize_as_", "_has_compatible_shallow_copy_type"}
"""Operators that may have tensors of two devices."""

INDEXING = {"index", "index_put", "index_put_", "_unsafe_index", "_unsafe_index_put", "_index_put_impl_"}
"""A GPU's tensor may be indexed by the CPU's: the index is copied, and waited for."""

READS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"}
"""Operators whose result, or its shape, the CPU has to know."""

COMPUTES_NOTHING = re.compile(
    "_?(unsafe_|reshape_)?view|_?reshape_alias|as_strided|alias|detach|expand|t|transpose|permute|slice|select|"
    "(un)?squeeze|split(_with_sizes)?|unbind|chunk|cat|clone|_to_copy|lift_fresh|(zeros|ones|empty)_like|"
    "new_(empty|zeros)|constant_pad_nd|isfinite|_local_scalar_dense"
)
"""Operators that move or make numbers: those of float16 stay as they are."""

COUNTING_MEMORY = ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved")
"""Functions of `torch.cuda` that all say what is allocated now."""

DOING_NOTHING = (
    *("_lazy_init", "init", "set_device", "empty_cache", "ipc_collect", "reset_peak_memory_stats"),
    *("manual_seed", "manual_seed_all", "seed_all", "set_rng_state", "set_rng_state_all"),
)
"""Functions of `torch.cuda` that a pretended card has no use for."""


class MixedDevicesError(RuntimeError):
    """What CUDA raises where tensors of two devices meet."""


class UnfinishedCopyError(RuntimeError):
    """A copy to the host is read before it is done: a real card would give whatever lies there."""


class PretendedGpu(AbstractContextManager["PretendedGpu"]):
    """One card; inside, PyTorch finds it.

    Args:
        name: as the card calls itself.
        capability: compute capability; from (8, 0) on a card has bf16 and TF32.
        total_memory: bytes.

    Attributes:
        waits: how often the card was waited for, by (phase, what, the line that asked).
        phase: what goes on, for `waits`; tests set it.
    """

    def __init__(
        self,
        name: str = "Tesla T4",
        capability: tuple[int, int] = (7, 5),
        total_memory: int = 15_828_320_256,
    ) -> None:
        self.name, self.capability, self.total_memory = name, capability, total_memory
        self.waits: Counter[tuple[str, str, str]] = Counter()
        self.phase = ""
        self._there: dict[int, int] = {}  # storage -> bytes
        self._pinned: dict[int, int] = {}
        self._unfinished: dict[int, int] = {}  # copies to the host that nobody waited for
        self._places = [False]  # whether what is made without a device, deep inside of a call, is there
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for owner, attribute, value in self._what_pytorch_says():
            _patch(self._stack, owner, attribute, value)
        self._stack.enter_context(_Operators(self))
        self._stack.enter_context(_Calls(self))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has(self, tensor: Tensor) -> bool:
        """Whether a tensor is on the card."""
        return tensor.untyped_storage()._cdata in self._there

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether a tensor is in memory that the card can read by itself."""
        return tensor.untyped_storage()._cdata in self._pinned

    def put(self, result: Any) -> Any:
        """Have every tensor in a result on the card."""
        for leaf in _tensors(result):
            _remember(self._there, leaf)
        return result

    def _on_its_way(self, copy: Tensor) -> Tensor:
        """A copy to the host that nobody has waited for: PyTorch makes it in pinned memory."""
        _remember(self._pinned, copy)
        _remember(self._unfinished, copy)
        return copy

    def synchronize(self, device: Any = None) -> None:
        """Wait for all copies to the host."""
        self.wait("synchronize")
        self._unfinished.clear()

    def is_unfinished(self, tensor: Tensor) -> bool:
        """Whether a tensor's copy to the host isn't known to be done."""
        return tensor.untyped_storage()._cdata in self._unfinished

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy of a CPU tensor in pinned memory."""
        if self.is_pinned(tensor):
            return tensor
        with unwatched():  # of the same strides, as PyTorch makes it: it refuses rows that share memory
            copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(tensor)
        _remember(self._pinned, copy)
        return copy

    def allocated(self) -> int:
        """Bytes of all tensors on the card."""
        return sum(self._there.values())

    def waited(self, phase: str) -> int:
        """How often the card was waited for in a phase."""
        return sum(count for (when, _, _), count in self.waits.items() if when == phase)

    def report(self, most: int = 60) -> str:
        """The waits as a table, the most frequent first."""
        rows = self.waits.most_common(most)
        return "\n".join(f"{count:7d}  {phase:<14} {what}: {line}" for (phase, what, line), count in rows)

    def wait(self, what: str) -> None:
        """Note that the card is waited for."""
        self.waits[self.phase, what, _line_that_asked()] += 1

    @contextmanager
    def making(self, there: bool) -> Iterator[None]:
        """Inside, tensors that are made from nothing are there or not."""
        self._places.append(there)
        try:
            yield
        finally:
            self._places.pop()

    @property
    def makes_there(self) -> bool:
        """Where tensors that are made from nothing are, in the innermost call."""
        return self._places[-1]

    def moved(self, tensor: Tensor, device: torch.device, *, non_blocking: bool) -> Tensor:
        """What `.to(device)` gives."""
        if self.has(tensor) == (device.type == "cuda"):
            return tensor
        if device.type == "cpu" and not non_blocking:
            self.wait("copy to the host")
        elif device.type == "cpu":
            with self.making(False), unwatched():
                return self._on_its_way(tensor.detach().clone())
        elif not self.is_pinned(tensor):
            self.wait("copy from unpinned memory")
        elif not non_blocking:
            self.wait("copy from pinned memory without non_blocking")
        with self.making(False), unwatched():
            copy = tensor + 0 if torch.is_grad_enabled() and tensor.requires_grad else tensor.clone()
        return self.put(copy) if device.type == "cuda" else copy

    def _pinned_batch(self, batch: Any, device: Any = None) -> Any:
        """A loader's batch in pinned memory; loaders with workers do it in a thread, where no mode is on."""
        return tree_map(lambda value: self.pin(value) if isinstance(value, Tensor) else value, batch)

    def _grouped(self, lists: Any, with_indices: bool = False) -> dict[tuple[torch.device, Any], Any]:
        """The optimizer's and clipping's tensors by device; PyTorch's C++ sees the CPU's."""
        groups: Any = _group_tensors(lists, with_indices)
        there = {key: self.has(group[0][0][0]) for key, group in groups.items()}
        return {(GPU if there[key] else key[0], key[1]): group for key, group in groups.items()}

    def _what_pytorch_says(self) -> Iterator[tuple[Any, str, Any]]:
        """What is replaced: owner, attribute, value."""
        yield from ((torch.cuda, attribute, value) for attribute, value in self._what_cuda_says().items())
        stream = types.SimpleNamespace(is_capturing=lambda: False)
        accelerator: dict[str, Callable[..., Any]] = {
            "is_available": lambda: True,
            "current_accelerator": lambda check_available=False: GPU,
            "current_device_index": lambda: 0,
            "current_stream": lambda device=None: stream,
            "set_device_index": _nothing,
        }
        yield from ((torch.accelerator, attribute, value) for attribute, value in accelerator.items())
        yield torch.utils.data._utils.pin_memory, "pin_memory", self._pinned_batch
        yield torch._C, "_group_tensors_by_device_and_dtype", self._grouped
        yield torch.cuda.amp.common, "amp_definitely_not_available", lambda: False
        yield from _autocast_of_the_cpu()

    def _what_cuda_says(self) -> dict[str, Callable[..., Any]]:
        """Functions of `torch.cuda`."""
        properties = types.SimpleNamespace(
            name=self.name,
            major=self.capability[0],
            minor=self.capability[1],
            total_memory=self.total_memory,
            multi_processor_count=40,
        )
        state = torch.zeros(16, dtype=torch.uint8)
        has_bf16 = self.capability >= (8, 0)
        return {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "get_device_properties": lambda device=None: properties,
            "get_device_capability": lambda device=None: self.capability,
            "get_device_name": lambda device=None: self.name,
            "is_bf16_supported": lambda including_emulation=True: including_emulation or has_bf16,
            "mem_get_info": lambda device=None: (self.total_memory - self.allocated(), self.total_memory),
            "synchronize": self.synchronize,
            "get_rng_state": lambda device=None: state,
            "get_rng_state_all": lambda: [state],
            **dict.fromkeys(COUNTING_MEMORY, lambda device=None: self.allocated()),
            **dict.fromkeys(DOING_NOTHING, _nothing),
        }


class _Operators(TorchDispatchMode):
    """Sees every operator."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        gpu, name = self.gpu, func._schema.name.split("::")[1]
        tensors = _tensors((args, kwargs))
        there = [tensor for tensor in tensors if gpu.has(tensor)]
        here = [tensor for tensor in tensors if not gpu.has(tensor)]
        on_gpu = bool(there) or (not tensors and gpu.makes_there)
        if any(map(gpu.is_unfinished, here)):
            raise UnfinishedCopyError(f"{name} of a copy to the host before torch.cuda.synchronize()")
        if there and here and name not in COPIES:
            self._meet(name, args[0], there, here)
        if on_gpu:
            for value in _leaves((args, kwargs)):
                _check_generator(value)
        if there and name in READS:
            gpu.wait(name)
        if name == "copy_" and gpu.has(args[0]) != gpu.has(args[1]):
            self._copy(args[0], args[1], non_blocking=bool((*args, False)[2]))
        result = (
            _as_tensor_cores(func, args, kwargs, name)
            if _in_float16(tensors, func, name)
            else func(*args, **kwargs)
        )
        return gpu.put(result) if on_gpu and name not in COPIES - {"_to_copy"} else result

    def _meet(self, name: str, first: Any, there: list[Tensor], here: list[Tensor]) -> None:
        """Tensors of both devices: numbers may join the GPU's, and indices are copied there."""
        in_place = name.endswith("_") and isinstance(first, Tensor) and not self.gpu.has(first)
        if all(tensor.dim() == 0 for tensor in here) and not in_place:
            return
        if name in INDEXING and self.gpu.has(first):
            self.gpu.wait("copy of an index from the host")
            return
        shapes = f"cuda:0 {[list(t.shape) for t in there]}, cpu {[list(t.shape) for t in here]}"
        raise MixedDevicesError(
            f"Expected all tensors to be on the same device, but found at least two devices ({name}: {shapes})"
        )

    def _copy(self, target: Tensor, source: Tensor, *, non_blocking: bool) -> None:
        host = source if self.gpu.has(target) else target
        if not (self.gpu.is_pinned(host) and non_blocking):
            way = "from" if self.gpu.has(target) else "to"
            self.gpu.wait(f"copy {way} the host, copy_")


class _Calls(TorchFunctionMode):
    """Answers what Python code asks of tensors and of devices."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor):
            known, answer = self._of_tensor(func, name, args, kwargs)
            if known:
                return answer
        if not _is_cuda(kwargs.get("device")):
            beside_gpu = kwargs.get("device") is None and any(map(self.gpu.has, _tensors((args, kwargs))))
            with self.gpu.making(beside_gpu):
                return func(*args, **kwargs)
        _check_generator(kwargs.get("generator"))
        if name in ("tensor", "as_tensor", "asarray"):
            self.gpu.wait(f"copy from the host, torch.{name}")
        before = _tensors((args, kwargs))
        with self.gpu.making(True):
            made = func(*args, **{**kwargs, "device": CPU})
        return self.gpu.put([t for t in _tensors(made) if all(t is not b for b in before)]) and made

    def _of_tensor(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """Whether it is for this to answer, and the answer."""
        tensor, gpu = args[0], self.gpu
        if name == "__get__":
            match getattr(func.__self__, "__name__", ""):
                case "device":
                    return True, GPU if gpu.has(tensor) else func(*args)
                case "is_cuda":
                    return True, gpu.has(tensor)
                case "is_cpu":
                    return True, not gpu.has(tensor)
            return True, func(*args)
        match name:
            case "to":
                return True, self._to(func, *args, **kwargs)
            case "cuda":
                return True, gpu.moved(tensor, GPU, non_blocking=bool(kwargs.get("non_blocking")))
            case "cpu":
                return True, gpu.moved(tensor, CPU, non_blocking=False)
            case "pin_memory":
                if gpu.has(tensor):
                    raise RuntimeError(
                        "cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned"
                    )
                return True, gpu.pin(tensor)
            case "is_pinned":
                return True, gpu.is_pinned(tensor)
            case "tolist" if gpu.has(tensor):
                gpu.wait("tolist")
            case "tolist" | "numpy" | "item" if gpu.is_unfinished(tensor):
                raise UnfinishedCopyError(f"{name}() before torch.cuda.synchronize()")
            case "numpy" if gpu.has(tensor):
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return False, None

    def _to(self, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            other, args = args[0], args[1:]
            kwargs |= {"device": GPU if self.gpu.has(other) else CPU, "dtype": other.dtype}
        copy = bool(kwargs.pop("copy", False))
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "meta":
            return func(tensor, device)  # type: ignore[no-any-return]
        options: dict[str, Any] = {"memory_format": layout} if layout is not None else {}
        if copy and (device is None or _is_cuda(device) == self.gpu.has(tensor)):
            options["copy"] = True
        if dtype is not None or options:
            tensor = func(tensor, dtype or tensor.dtype, **options)
        return tensor if device is None else self.gpu.moved(tensor, device, non_blocking=non_blocking)


_group_tensors = torch._C._group_tensors_by_device_and_dtype


@contextmanager
def unwatched() -> Iterator[None]:
    """Inside, this is the CPU's PyTorch."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _nothing(*_: Any, **__: Any) -> None:
    """What the calls do that set a real card up."""


def _is_cuda(device: Any) -> bool:
    return device is not None and (isinstance(device, int) or torch.device(device).type == "cuda")


def _leaves(values: Any) -> list[Any]:
    """What tuples, lists and dictionaries hold; asked at each operator, so quicker than PyTorch's `tree_leaves`."""
    waiting, found = [values], []
    while waiting:
        value = waiting.pop()
        if isinstance(value, (tuple, list)):
            waiting += reversed(value)
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        else:
            found.append(value)
    return found


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in _leaves(values) if isinstance(leaf, Tensor)]


def _remember(storages: dict[int, int], tensor: Tensor) -> None:
    storage = tensor.untyped_storage()
    if storage._cdata not in storages:
        storages[storage._cdata] = storage.nbytes()
        weakref.finalize(storage, storages.pop, storage._cdata, None).atexit = False


def _check_generator(value: Any) -> None:
    if isinstance(value, torch.Generator) and value.device.type != "cuda":
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found '{value.device.type}'")


def _in_float16(tensors: list[Tensor], func: Any, name: str) -> bool:
    computes = not COMPUTES_NOTHING.fullmatch(name) and not func._schema.is_mutable
    return computes and any(tensor.dtype == torch.float16 for tensor in tensors)


def _as_tensor_cores(func: Any, args: Any, kwargs: Any, name: str) -> Any:
    """The operator on float16 numbers, computed in float32 and rounded once."""
    if kwargs.get("dtype") == torch.float16:
        kwargs = {**kwargs, "dtype": torch.float32}
    elif kwargs.get("dtype") is not None:
        return func(*args, **kwargs)
    result = func(
        *_in_dtype(args, torch.float16, torch.float32), **_in_dtype(kwargs, torch.float16, torch.float32)
    )
    return _in_dtype(result, torch.float32, torch.float16)


def _in_dtype(values: Any, old: torch.dtype, new: torch.dtype) -> Any:
    return tree_map(lambda x: x.to(new) if isinstance(x, Tensor) and x.dtype == old else x, values)


def _line_that_asked() -> str:
    """The innermost line of this project that isn't there to copy for others, and of the library that it called."""
    frame, library = sys._getframe(1), ""
    while frame is not None and (file := frame.f_code.co_filename):
        if file.startswith(f"{ROOT}{os.sep}") and file not in (__file__, transfer.__file__):
            line = f"{Path(file).relative_to(ROOT).as_posix()}:{frame.f_lineno} {frame.f_code.co_name}"
            return f"{line} via {library}" if library else line
        if not library and "site-packages" in file and f"{os.sep}torch{os.sep}" not in file:
            library = f"{file.split('site-packages' + os.sep)[1]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return library or "?"


def _autocast_of_the_cpu() -> Iterator[tuple[Any, str, Any]]:
    """Autocast for the GPU is done by the CPU's."""
    autocast = torch.amp.autocast_mode.autocast
    begin, enabled, dtype_of = autocast.__init__, torch.is_autocast_enabled, torch.get_autocast_dtype

    def begin_on_cpu(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        begin(self, "cpu" if device_type.startswith("cuda") else device_type, *args, **kwargs)

    def on_cpu(device_type: str) -> str:
        return "cpu" if device_type == "cuda" else device_type

    yield autocast, "__init__", begin_on_cpu
    yield torch, "is_autocast_enabled", lambda device_type="cuda": enabled(on_cpu(device_type))
    yield torch, "get_autocast_dtype", lambda device_type="cuda": dtype_of(on_cpu(device_type))


def _patch(stack: ExitStack, owner: Any, attribute: str, value: Any) -> None:
    before = owner.__dict__[attribute] if isinstance(owner, type) else getattr(owner, attribute)
    setattr(owner, attribute, value)
    stack.callback(setattr, owner, attribute, before)
