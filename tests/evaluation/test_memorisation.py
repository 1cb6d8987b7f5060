"""Copies raise the alarm by either distance, unseen pictures do not, and the bound is scipy's and hand arithmetic."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t

from evaluation.bootstrap import Array
from evaluation.memorisation import Captioned, Looks, memorisation, pixel_distances, thumbnail

RANDOM = np.random.default_rng(0)


def looks(number: int, random: np.random.Generator) -> Looks:
    """Pictures that have nothing to do with each other."""
    return Looks(random.normal(size=(number, 16)), random.random((number, 64, 64, 3)))


@pytest.fixture(scope="module")
def training() -> Looks:
    return looks(30, np.random.default_rng(1))


@pytest.fixture(scope="module")
def unseen() -> Looks:
    return looks(12, np.random.default_rng(2))


def arrays(of: Looks) -> tuple[Array, Array]:
    return np.array(of.clip, np.float64), np.array(of.thumbnails, np.float64)


def test_unseen_pictures_raise_no_alarm(training: Looks, unseen: Looks) -> None:
    found = memorisation(looks(20, np.random.default_rng(3)), training, unseen)
    assert not found.alarm
    assert found.words.startswith("No sign of memorisation in 20 samples")
    assert [one.what for one in found.nearness] == ["prompts, by CLIP", "prompts, by pixels"]
    assert found.nearness[0].chance == 1 / 13
    assert len(found.pairs) == 8
    assert not any(pair.too_near for pair in found.pairs)


def test_a_copy_is_caught_and_shown_first(training: Looks, unseen: Looks) -> None:
    samples = looks(20, np.random.default_rng(5))
    clip, thumbnails = arrays(samples)
    clip[7], thumbnails[7] = arrays(training)[0][3] * 2 + 0.01, np.clip(arrays(training)[1][3] + 0.02, 0, 1)
    found = memorisation(Looks(clip, thumbnails), training, unseen)
    assert (found.alarm, found.too_near) == (True, (7,))
    assert found.words.startswith("Memorised: 1 of 20 samples")
    assert [(one.below, one.nearest[7]) for one in found.nearness] == [((7,), 3), ((7,), 3)]
    first = found.pairs[0]
    assert (first.sample, first.training, first.too_near) == (7, 3, True)
    assert (first.clip, first.pixels) == tuple(one.samples[7] for one in found.nearness)
    assert [pair.too_near for pair in found.pairs[1:]] == [False] * 7


@pytest.mark.parametrize("kind", [0, 1])
def test_one_distance_alone_is_no_copy(kind: int, training: Looks, unseen: Looks) -> None:
    """The same motif, or the same flat colours."""
    clip, thumbnails = arrays(looks(10, np.random.default_rng(6)))
    if kind == 0:
        clip[4] = arrays(training)[0][9]
    else:
        thumbnails[4] = arrays(training)[1][9]
    found = memorisation(Looks(clip, thumbnails), training, unseen)
    assert [one.below for one in found.nearness] == [(4,), ()][:: -1 if kind else 1]
    assert not found.alarm


def test_a_lora_of_one_picture_is_caught(unseen: Looks) -> None:
    """No other training picture says what a typical distance is; the held-out ones do."""
    training = looks(1, np.random.default_rng(8))
    clip, thumbnails = arrays(looks(6, np.random.default_rng(9)))
    clip[2], thumbnails[2] = arrays(training)[0][0] + 0.05, np.clip(arrays(training)[1][0] + 0.05, 0, 1)
    assert memorisation(Looks(clip, thumbnails), training, unseen).too_near == (2,)


def test_training_captions_are_judged_by_held_out_captions(training: Looks, unseen: Looks) -> None:
    """Each caption's picture is half-way to its own; one of the training captions' is all the way."""

    def half_way(of: Looks, number: int, seed: int) -> Captioned:
        clip, thumbnails = arrays(looks(number, np.random.default_rng(seed)))
        own = list(range(number))
        return Captioned(Looks(clip + arrays(of)[0][own], (thumbnails + arrays(of)[1][own]) / 2), own)

    trained, control = half_way(training, 8, 10), half_way(unseen, 8, 11)
    calm = memorisation(looks(5, np.random.default_rng(3)), training, unseen, trained, control)
    assert not calm.alarm
    assert [one.what for one in calm.nearness[2:]] == [
        "training captions, by CLIP",
        "training captions, by pixels",
    ]
    clip, thumbnails = arrays(trained.painted)
    clip[6], thumbnails[6] = arrays(training)[0][6], arrays(training)[1][6]
    copied = Captioned(Looks(clip, thumbnails), trained.own)
    found = memorisation(looks(5, np.random.default_rng(3)), training, unseen, copied, control)
    assert found.too_near == (5 + 6,)
    assert found.nearness[2].nearest == tuple(range(8))
    assert found.words.startswith("Memorised: 1 of 13 samples")


def test_most_captions_near_by_one_distance_are_an_alarm(training: Looks, unseen: Looks) -> None:
    """Softly painted training pictures: by pixels near to their own, by CLIP like anything."""

    def beside_own(of: Looks, share: float, seed: int) -> Captioned:
        clip, thumbnails = arrays(looks(8, np.random.default_rng(seed)))
        own = list(range(8))
        return Captioned(Looks(clip, (1 - share) * thumbnails + share * arrays(of)[1][own]), own)

    control = beside_own(unseen, 0.1, 21)
    samples = looks(5, np.random.default_rng(3))
    soft = memorisation(samples, training, unseen, beside_own(training, 0.9, 20), control)
    assert (soft.alarm, soft.too_near) == (True, ())
    assert len(soft.nearness[3].below) == 8
    assert "training captions, by pixels: 8 of 8. At half of the training captions or more" in soft.words
    assert not memorisation(samples, training, unseen, beside_own(training, 0.1, 20), control).alarm


def test_a_mirrored_copy_is_a_copy() -> None:
    picture = RANDOM.random((1, 64, 64, 3))
    assert pixel_distances(picture[:, :, ::-1], picture)[0, 0] == pytest.approx(0, abs=1e-6)


def test_the_tile_that_differs_most_counts() -> None:
    black, spotted = np.zeros((1, 64, 64, 3)), np.zeros((1, 64, 64, 3))
    spotted[0, 16:32, 48:64, 0] = 0.6  # one whole tile, one of three channels
    spotted[0, 0, 0] = 0.5  # one pixel of another: less
    assert pixel_distances(spotted, black)[0, 0] == pytest.approx(0.6 / np.sqrt(3))


def lengths(a: Array, b: Array) -> Array:
    """Euclidean distances of unit vectors, [N, M]."""
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    found: Array = np.linalg.norm(left[:, None] - right, axis=-1)
    return found


def test_ratio_and_threshold_by_hand(training: Looks, unseen: Looks) -> None:
    """The nearest training picture over the mean of the four nearest others; the bound on the logarithms."""
    found = memorisation(looks(20, np.random.default_rng(3)), training, unseen).nearness[0]
    held_out, trained = arrays(unseen)[0], arrays(training)[0]
    control = []
    for place, picture in enumerate(held_out):
        to_training = sorted(lengths(picture[None], trained)[0])
        to_others = np.delete(lengths(picture[None], held_out)[0], place)
        control.append(to_training[0] / np.mean(sorted([*to_training[1:], *to_others])[:4]))
    logs = np.log(control)
    bound = logs.mean() - t.ppf(1 - np.sqrt(0.025 / 20), 11) * logs.std(ddof=1) * np.sqrt(13 / 12)
    assert found.control == pytest.approx(tuple(control))
    assert found.threshold == pytest.approx(min(np.exp(bound), 0.5))


def test_a_threshold_is_never_above_half() -> None:
    """Unseen pictures that are all as near to training pictures as to others leave room for no doubt."""
    alike = Looks(np.eye(24)[:12] + 1, np.zeros((12, 64, 64, 3)) + 0.5)
    trained = Looks(np.eye(24)[12:] + 1, np.zeros((12, 64, 64, 3)))
    found = memorisation(alike, trained, alike)
    assert found.nearness[0].threshold == 0.5


def test_the_share_nearer_than_every_unseen_picture() -> None:
    def at(angles: list[float]) -> Looks:
        vectors = [[np.cos(angle), np.sin(angle)] for angle in angles]
        greys = np.array(angles)[:, None, None, None] * np.ones((1, 64, 64, 3))
        return Looks(vectors, greys)

    found = memorisation(at([0.001, 0.6]), at([0.0]), at([0.3, 0.4, 0.5, 0.6, 0.7])).nearness[1]
    assert found.samples == pytest.approx((0.001 / 0.449, 0.6 / 0.1), rel=1e-6)
    assert found.control[0] == pytest.approx(0.3 / 0.25)
    assert found.nearer_than_all_unseen == 0.5


def test_it_goes_to_json(training: Looks, unseen: Looks) -> None:
    text = json.dumps(asdict(memorisation(unseen, training, looks(8, RANDOM))), allow_nan=False)
    assert len(json.loads(text)["nearness"][0]["samples"]) == 12


def test_a_thumbnail_is_a_square_of_means() -> None:
    picture = Image.new("RGB", (256, 128), (255, 0, 51))
    found = thumbnail(picture)
    assert found.shape == (64, 64, 3)
    np.testing.assert_allclose(found[10, 20], [1, 0, 0.2])


def test_few_pictures_of_held_out_captions_are_refused(training: Looks, unseen: Looks) -> None:
    few = Captioned(looks(4, RANDOM), [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"4 pictures of held-out captions are too few .*: paint 5 or more"):
        memorisation(looks(3, RANDOM), training, unseen, few, few)


def test_few_held_out_pictures_are_refused(training: Looks) -> None:
    with pytest.raises(ValueError, match=r"4 held-out pictures are too few .*: hold out 5 or more"):
        memorisation(looks(3, RANDOM), training, looks(4, RANDOM))


def test_a_held_out_picture_that_was_trained_on_is_found(training: Looks, unseen: Looks) -> None:
    clip, thumbnails = arrays(unseen)
    clip[5] = arrays(training)[0][2]
    with pytest.raises(ValueError, match=r"held-out picture 5 \(from 0\) is among .*\(CLIP distance 0\)"):
        memorisation(looks(3, RANDOM), training, Looks(clip, thumbnails))


def test_thumbnails_of_another_size_are_named(training: Looks, unseen: Looks) -> None:
    with pytest.raises(ValueError, match=r"thumbnails have the shape \(3, 32, 32, 3\)"):
        memorisation(Looks(RANDOM.random((3, 16)), np.zeros((3, 32, 32, 3))), training, unseen)


def test_vectors_and_thumbnails_are_of_the_same_pictures(training: Looks, unseen: Looks) -> None:
    with pytest.raises(ValueError, match="2 CLIP vectors of samples and 3 thumbnails"):
        memorisation(Looks(RANDOM.random((2, 16)), np.zeros((3, 64, 64, 3))), training, unseen)
