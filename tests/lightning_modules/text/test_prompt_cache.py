"""Each prompt is read once, and comes back as it was read."""

from collections.abc import Sequence

import pytest
import torch

from lightning_modules.text import prompt_cache as prompt_memory
from lightning_modules.text.conditions import TextConditions
from lightning_modules.text.prompt_cache import PromptCache

CPU = torch.device("cpu")


class Reader:
    """A text encoder whose embedding of a prompt is its length; it notes what it reads."""

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> list[TextConditions]:
        self.read.append(list(prompts))
        return [
            TextConditions(torch.full((77, 2), float(len(prompt))), torch.tensor([-float(len(prompt))]))
            for prompt in prompts
        ]


def values(embeddings: Sequence[TextConditions]) -> list[float]:
    for context, pooled in embeddings:
        assert pooled is not None
        assert pooled[0] == -context[0, 0]
    return [float(context[0, 0]) for context, _ in embeddings]


def test_each_prompt_is_read_once_and_answers_stand_in_order() -> None:
    memory, reader = PromptCache(), Reader()
    assert values(memory(["", "", "a girl", "sea"], 0, reader, CPU)) == [0, 0, 6, 3]
    assert values(memory(["sea", "a boy", ""], 0, reader, CPU)) == [3, 5, 0]
    assert values(memory(["a boy"], 0, reader, CPU)) == [5]
    assert reader.read == [["", "a girl", "sea"], ["a boy"]]


def test_another_clip_skip_is_another_reading() -> None:
    memory, reader = PromptCache(), Reader()
    memory(["sea"], 0, reader, CPU)
    memory(["sea"], 1, reader, CPU)
    memory(["sea"], 1, reader, CPU)
    assert reader.read == [["sea"], ["sea"]]


def test_what_has_no_room_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_memory, "MOST", 2)
    memory, reader = PromptCache(), Reader()
    for _ in range(2):
        assert values(memory(["a", "bb", "ccc"], 0, reader, CPU)) == [1, 2, 3]
    assert reader.read == [["a", "bb", "ccc"], ["ccc"]]
