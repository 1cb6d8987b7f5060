"""What is measured from which vectors, and what is said of what can't be."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.bootstrap import Array
from evaluation.measure import LIKENESS, PROMPT_SCORE, STYLE_SCORE, Copies, Vectors, measure, text_score
from evaluation.memorisation import Looks

RANDOM = np.random.default_rng(0)


def unit(*shape: int) -> Array:
    vectors = RANDOM.normal(size=shape)
    found: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def vectors() -> Vectors:
    """Four prompts, two seeds, eight numbers."""
    base, lora = unit(4, 2, 8), unit(4, 2, 8)
    return Vectors(
        groups=["portrait", "portrait", "landscape", "landscape"],
        base=base,
        lora=lora,
        own_prompts=unit(4, 8),
        style_prompt=unit(8),
        strengths={1.0: lora[:, :1], 0.0: base[:, :1]},
        enhanced=[0, 2, 3],
        base_enhanced=unit(3, 2, 8),
        lora_enhanced=unit(3, 2, 8),
        style=unit(6, 8),
    )


def test_a_text_score_is_a_hundred_cosines() -> None:
    pictures = np.array([[[1.0, 0.0], [0.6, 0.8]]])
    np.testing.assert_allclose(text_score(pictures, np.array([[0.0, 1.0]])), [[0, 80]])
    np.testing.assert_allclose(text_score(pictures, np.array([1.0, 0.0])), [[100, 60]])


def test_each_number_comes_from_its_own_vectors() -> None:
    given = vectors()
    found = measure(given, None, seed=0)
    own = np.einsum("psd,pd->ps", given.lora - given.base, given.own_prompts) * 100
    assert found.prompt_score.overall.difference.value == pytest.approx(own.mean())
    assert found.prompt_score.groups["landscape"].difference.value == pytest.approx(own[2:].mean())
    style = (given.lora - given.base) @ given.style_prompt * 100
    assert found.style_score.overall.difference.value == pytest.approx(style.mean())
    likeness = (given.lora @ given.style.T).mean()
    assert found.style_similarity is not None
    assert found.style_similarity.overall.lora.value == pytest.approx(likeness)
    assert found.strength is not None
    assert [point.strength for point in found.strength.overall.points] == [0.0, 1.0]
    assert found.strength.overall.points[1].style.value == pytest.approx(
        (given.lora[:, 0] @ given.style.T).mean()
    )
    assert list(found.enhancement) == [STYLE_SCORE, LIKENESS, PROMPT_SCORE]
    cells = [given.lora_enhanced, -given.lora[[0, 2, 3]], -given.base_enhanced, given.base[[0, 2, 3]]]
    interaction = sum((100 * cell @ given.style_prompt).mean() for cell in cells)
    assert found.enhancement[STYLE_SCORE].interaction.value == pytest.approx(interaction)
    assert found.memorisation is None
    assert found.not_measured == ()


def test_what_is_missing_is_left_out_with_its_reason() -> None:
    one_seed = replace(
        vectors(), base=unit(4, 1, 8), lora=unit(4, 1, 8), style=np.zeros((0, 1)), enhanced=[], strengths={}
    )
    found = measure(one_seed, None, seed=0, reasons=["there is no run."])
    assert (found.style_similarity, found.style_distance, found.diversity, found.strength) == (None,) * 4
    assert found.enhancement == {}
    assert found.not_measured[0] == "there is no run."
    assert found.not_measured[1].startswith("Variety: diversity compares pictures of one prompt, and 1 seed")


def test_too_few_held_out_pictures_cost_memorisation_alone() -> None:
    few = replace(vectors(), style=unit(4, 8))
    samples, training, unseen = (Looks(unit(n, 8), RANDOM.random((n, 64, 64, 3))) for n in (8, 5, 4))
    found = measure(few, Copies(samples, training, unseen, None, None), seed=0)
    assert found.memorisation is None
    assert found.style_similarity is not None
    assert [reason.split(";")[0][:45] for reason in found.not_measured] == [
        "Memorisation: 4 held-out pictures are too few"
    ]
