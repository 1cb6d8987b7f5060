"""The 2 x 2 by hand arithmetic."""

import numpy as np
import pytest

from evaluation.interaction import interact

PLAIN = np.array([[10.0, 12.0], [20.0, 22.0], [30.0, 32.0]])


def test_effects_and_interaction_by_hand() -> None:
    found = interact(PLAIN, PLAIN + 1, PLAIN + 5, PLAIN + 9, seed=0)
    assert (found.prompts, found.seeds) == (3, 2)
    cells = (found.base_plain, found.base_enhanced, found.lora_plain, found.lora_enhanced)
    assert [cell.value for cell in cells] == [21, 22, 26, 30]
    assert (found.enhancement_on_base.value, found.enhancement_on_lora.value) == (1, 4)
    assert (found.lora_on_plain.value, found.lora_on_enhanced.value) == (5, 8)
    assert (found.interaction.value, found.interaction.low, found.interaction.high) == (3, 3, 3)
    assert found.verdict == "the enhancement does more with the LoRA"


def test_two_effects_that_add_up_do_not_interact() -> None:
    assert interact(PLAIN, PLAIN + 1, PLAIN + 5, PLAIN + 6, seed=0).verdict == "no difference shown"


def test_less_with_the_lora_is_said() -> None:
    found = interact(PLAIN, PLAIN + 4, PLAIN + 5, PLAIN + 6, seed=0)
    assert found.interaction.value == -3
    assert found.verdict == "the enhancement does less with the LoRA"


def test_the_interval_is_of_the_differences_of_differences() -> None:
    gain = np.array([[1.0], [2.0], [6.0]])
    found = interact(PLAIN, PLAIN, PLAIN, PLAIN + gain, seed=0)
    assert found.interaction.value == 3
    assert (found.interaction.low, found.interaction.high) == (1, 6)  # 1 in 27 resamples is a prompt thrice


def test_cells_of_other_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"'LoRA, enhanced': \(2, 2\)"):
        interact(PLAIN, PLAIN, PLAIN, PLAIN[:2], seed=0)
