"""Embeddings of captions that were encoded once, so that a training step need not run the text encoder.

The captions that are known beforehand are encoded when training starts, and with them the empty one, which
caption dropout puts in their place. A caption that varies from visit to visit is not among them: it is encoded
when a batch holds it. Each caption is encoded by itself, so that its last bits don't depend on its neighbours.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from foundation.tensor_store import Entry, TensorStore
from foundation.transfer import to_device
from lightning_modules.text.conditions import TextConditions

EncodeText = Callable[[Sequence[str]], Sequence[TextConditions]]

EMPTY = ""


def is_embedding(entry: Entry, *, pooled: bool) -> bool:
    """Whether an entry holds finite numbers of the shape [77 k, D] and, if wanted, a pooled vector [P]."""
    dims = {name: tensor.dim() for name, tensor in entry.items()}
    return dims == {"text": 2} | ({"pooled": 1} if pooled else {}) and all(
        one.is_floating_point() and bool(one.isfinite().all()) for one in entry.values()
    )


def _entry(text: TextConditions) -> Entry:
    return {"text": text.context} | ({} if text.pooled is None else {"pooled": text.pooled})


class CaptionCache:
    """Captions -> embeddings, in the text encoder's dtype."""

    def __init__(self, encode: EncodeText) -> None:
        """Start empty: every caption is encoded when it is asked for.

        Args:
            encode: captions -> what the UNet reads of each.
        """
        self._encode = encode
        self._store = TensorStore(None)
        self._encoder = ""

    def open(self, folder: Path | None, encoder: str, *, pooled: bool) -> None:
        """Keep the embeddings of one encoder in a folder from now on; those that are there are found again.

        Args:
            folder: of all encoders' embeddings; null keeps them in memory.
            encoder: fingerprint of text encoder, tokenizer and way of encoding: another one's embeddings are
                other entries.
            pooled: whether it gives pooled vectors.
        """
        if encoder != self._encoder:
            own = None if folder is None else folder / encoder[:16]
            self._store = TensorStore(own, partial(is_embedding, pooled=pooled))
            self._encoder = encoder

    def fill(
        self,
        captions: Sequence[str],
        *,
        progress: bool = True,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] = lambda: None,
    ) -> None:
        """Encode the captions, and the empty one, that aren't there yet.

        Args:
            captions: the same in all processes.
            progress: show a bar with the time left.
            rank: of this process; see `TensorStore.fill` on how several share the work.
            world_size: number of processes.
            barrier: waits until all processes have called it.
        """
        named = {self._name(caption): caption for caption in (EMPTY, *captions)}

        def encoded(names: Sequence[str]) -> Iterator[tuple[str, Entry]]:
            for name in tqdm(names, "Encoding captions", disable=not progress or not names):
                yield name, _entry(self._encode([named[name]])[0])

        self._store.fill(named, encoded, rank=rank, world_size=world_size, barrier=barrier)

    def __call__(self, captions: Sequence[str], device: torch.device) -> list[TextConditions]:
        """The embeddings of a batch, on the device.

        Raises:
            OSError: a cached embedding was in the folder when the run began, and is no more.
        """
        known: dict[str, TextConditions] = {}
        for caption in dict.fromkeys(captions):
            entry = self._store.get(self._name(caption))
            entry = _entry(self._encode([caption])[0]) if entry is None else entry
            there = {name: to_device(tensor, device) for name, tensor in entry.items()}
            known[caption] = TextConditions(there["text"], there.get("pooled"))
        return [known[caption] for caption in captions]

    def _name(self, caption: str) -> str:
        return hashlib.sha256(json.dumps({"encoder": self._encoder, "caption": caption}).encode()).hexdigest()
