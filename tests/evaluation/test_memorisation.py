"""Copies raise the alarm by either distance, unseen pictures do not, and the bound is scipy's and hand arithmetic."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t

from evaluation.bootstrap import Array
from evaluation.memorisation import Looks, memorisation, pixel_distances, thumbnail

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
    assert found.clip.chance == 1 / 13
    assert len(found.pairs) == 8
    assert not any(pair.too_near for pair in found.pairs)


def test_unseen_pictures_raise_the_alarm_as_seldom_as_is_said() -> None:
    """Distances drawn log-normal: 20 samples like 10 unseen pictures, one training picture on a line."""
    random = np.random.default_rng(4)
    alarms = 0
    for _ in range(400):
        angles = np.exp(random.normal(-2, 0.2, 30))
        vectors = np.stack([np.cos(angles), np.sin(angles)], -1)
        grey = np.broadcast_to(np.exp(random.normal(-2, 0.2, 30))[:, None, None, None], (30, 64, 64, 3))
        found = memorisation(
            Looks(vectors[:20], grey[:20]),
            Looks([[1.0, 0.0]], np.zeros((1, 64, 64, 3))),
            Looks(vectors[20:], grey[20:]),
        )
        alarms += found.alarm
    assert 0.01 < alarms / 400 < 0.07  # 0.05 is the bound for independent samples; they share one threshold


def test_a_copy_is_caught_by_both_distances_and_shown_first(training: Looks, unseen: Looks) -> None:
    samples = looks(20, np.random.default_rng(5))
    clip, thumbnails = arrays(samples)
    clip[7], thumbnails[7] = arrays(training)[0][3] * 2 + 0.01, np.clip(arrays(training)[1][3] + 0.02, 0, 1)
    found = memorisation(Looks(clip, thumbnails), training, unseen)
    assert found.alarm
    assert found.words.startswith("Memorised: 1 of 20 samples")
    assert (found.clip.too_near, found.pixels.too_near) == ((7,), (7,))
    assert (found.clip.nearest[7], found.pixels.nearest[7]) == (3, 3)
    first = found.pairs[0]
    assert (first.sample, first.training, first.too_near) == (7, 3, True)
    assert first.clip == pytest.approx(found.clip.samples[7])
    assert first.pixels == pytest.approx(found.pixels.samples[7])
    assert [pair.too_near for pair in found.pairs[1:]] == [False] * 7


@pytest.mark.parametrize("kind", ["clip", "pixels"])
def test_either_distance_is_enough(kind: str, training: Looks, unseen: Looks) -> None:
    clip, thumbnails = arrays(looks(10, np.random.default_rng(6)))
    if kind == "clip":
        clip[4] = arrays(training)[0][9]
    else:
        thumbnails[4] = arrays(training)[1][9]
    found = memorisation(Looks(clip, thumbnails), training, unseen)
    near = {"clip": found.clip.too_near, "pixels": found.pixels.too_near}
    assert near.pop(kind) == (4,)
    assert near.popitem()[1] == ()
    assert found.alarm
    assert (found.pairs[0].sample, found.pairs[0].training) == (4, 9)


def test_a_mirrored_copy_is_a_copy() -> None:
    picture = RANDOM.random((1, 64, 64, 3))
    assert pixel_distances(picture[:, :, ::-1], picture)[0, 0] == pytest.approx(0, abs=1e-6)


def test_the_tile_that_differs_most_counts() -> None:
    black, spotted = np.zeros((1, 64, 64, 3)), np.zeros((1, 64, 64, 3))
    spotted[0, 16:32, 48:64, 0] = 0.6  # one whole tile, one of three channels
    spotted[0, 0, 0] = 0.5  # one pixel of another: less
    assert pixel_distances(spotted, black)[0, 0] == pytest.approx(0.6 / np.sqrt(3))


def test_the_threshold_is_the_prediction_bound(training: Looks, unseen: Looks) -> None:
    found = memorisation(looks(20, np.random.default_rng(3)), training, unseen).clip
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (arrays(unseen)[0], arrays(training)[0]))
    nearest = (1 - a @ b.T).min(1)
    logs = np.log(nearest)
    bound = logs.mean() - t.ppf(1 - 0.025 / 20, 11) * logs.std(ddof=1) * np.sqrt(13 / 12)
    assert found.unseen == pytest.approx(tuple(nearest))
    assert found.threshold == pytest.approx(np.exp(bound))


def test_the_share_nearer_than_every_unseen_picture() -> None:
    def at(angles: list[float]) -> Looks:
        vectors = [[np.cos(angle), np.sin(angle)] for angle in angles]
        greys = np.array(angles)[:, None, None, None] * np.ones((1, 64, 64, 3))
        return Looks(vectors, greys)

    found = memorisation(at([0.1, 0.2, 0.5, 0.9]), at([0.0]), at([0.3, 0.4, 0.5, 0.6, 0.7]))
    assert found.clip.nearer_than_all_unseen == 0.5
    assert found.pixels.nearer_than_all_unseen == 0.5
    assert found.pixels.samples == pytest.approx((0.1, 0.2, 0.5, 0.9))


def test_it_goes_to_json(training: Looks, unseen: Looks) -> None:
    text = json.dumps(asdict(memorisation(unseen, training, looks(8, RANDOM))), allow_nan=False)
    assert len(json.loads(text)["clip"]["samples"]) == 12


def test_a_thumbnail_is_a_square_of_means() -> None:
    picture = Image.new("RGB", (256, 128), (255, 0, 51))
    found = thumbnail(picture)
    assert found.shape == (64, 64, 3)
    np.testing.assert_allclose(found[10, 20], [1, 0, 0.2])


def test_few_held_out_pictures_are_refused(training: Looks) -> None:
    with pytest.raises(ValueError, match=r"4 held-out pictures are too few .*: hold out 5 or more"):
        memorisation(looks(3, RANDOM), training, looks(4, RANDOM))


def test_a_held_out_picture_that_was_trained_on_is_found(training: Looks, unseen: Looks) -> None:
    clip, thumbnails = arrays(unseen)
    clip[5] = arrays(training)[0][2]
    with pytest.raises(ValueError, match=r"held-out picture 5 \(from 0\) is among .*\(CLIP distance 0\)"):
        memorisation(looks(3, RANDOM), training, Looks(clip, thumbnails))


def test_thumbnails_of_another_size_are_named(training: Looks, unseen: Looks) -> None:
    with pytest.raises(ValueError, match=r"thumbnails of samples have the shape \(3, 32, 32, 3\)"):
        memorisation(Looks(RANDOM.random((3, 16)), np.zeros((3, 32, 32, 3))), training, unseen)


def test_vectors_and_thumbnails_are_of_the_same_pictures(training: Looks, unseen: Looks) -> None:
    with pytest.raises(ValueError, match=r"CLIP vectors make \(2, 30\) pairs, thumbnails \(3, 30\)"):
        memorisation(Looks(RANDOM.random((2, 16)), np.zeros((3, 64, 64, 3))), training, unseen)
