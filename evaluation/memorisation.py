"""Does the LoRA repeat pictures that it was trained on? Judged by pictures of the same style that it never saw.

Two distances, since each sees what the other misses:

- CLIP: the distance of unit vectors, sqrt(2 - 2 cosine), which sees what is shown wherever it stands;
- pixels: after Carlini et al. 2023 ("Extracting Training Data from Diffusion Models"), pictures of 64 x 64
  are cut into 16 tiles, and the distance is that of the tiles that differ most (root mean square, grey levels in
  [0, 1]), so that two flat skies are no match. A mirrored training picture counts, since training mirrors.

A plain picture is near to many. So, after the same paper, a distance is divided by a typical one of the same picture:
the mean distance to the 4 nearest other pictures of the style, trained on or held out. A ratio near 1 is one motif
among its like; a copy is far below. Two questions:

- of pictures of the prompts: the ratio of the nearest training picture. The control are the held-out pictures
  themselves.
- of pictures painted from training captions (what was memorised comes out when its caption is the prompt): the ratio
  of the caption's own picture. A faithful picture is near to it without any copying, so the control are pictures that
  the same LoRA painted from held-out captions, and the held-out pictures that those belong to.

The threshold comes from the control: with m and s the mean and standard deviation of the logarithms of its n ratios,
one more lies below exp(m - t s sqrt(1 + 1/n)) with a chosen probability (Student's t with n - 1 degrees of freedom,
one-sided prediction bound). For prompts, whose control was not painted, it is never above 1/2, the paper's limit. A
picture is too near when it lies below by both distances: CLIP alone also sees the same motif, pixels alone the same
flat colours. The probability is
sqrt(0.05 / (2 N)), N being the number of samples: were the distances independent, pictures like the control's would
raise the alarm in one report of 20. They aren't quite, nor are painted pictures quite like held-out ones; so look at
the pairs. A LoRA that paints its training pictures softly stays above the limit of CLIP; so the alarm is given too when
half of the training captions' pictures or more lie below by one distance, where chance would put one in ten or fewer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.stats import t as student_t

from evaluation.bootstrap import Array
from evaluation.vectors import unit_vectors

SIDE = 64  # of a thumbnail, pixels
TILES = 4  # a side
NEIGHBOURS = 4  # other pictures that make a distance typical
FEWEST_UNSEEN = NEIGHBOURS + 1  # of one training picture, a held-out one needs four others
FALSE_ALARMS = 0.05  # reports, were the distances independent and painted pictures like held-out ones
HALF = 0.5  # of the typical distance: farther is no copy, whatever unseen pictures reach
PAIRS = 8  # shown


@dataclass(frozen=True)
class Looks:
    """What both distances need of some pictures.

    Attributes:
        clip: CLIP vectors [N, D].
        thumbnails: [N, 64, 64, 3] in [0, 1], made by `thumbnail`.
    """

    clip: ArrayLike
    thumbnails: ArrayLike


@dataclass(frozen=True)
class Captioned:
    """Pictures that the LoRA painted from the captions of known pictures.

    Attributes:
        painted: N pictures.
        own: of each the index of the picture whose caption it was.
    """

    painted: Looks
    own: Sequence[int]


@dataclass(frozen=True)
class Nearness:
    """One question by one distance.

    Attributes:
        what: such as "prompts, by CLIP".
        control: ratios of unseen pictures.
        samples: of each sample its ratio.
        nearest: which training picture that is, an index a sample.
        threshold: below it a sample is nearer than unseen pictures are.
        below: places of those samples, nearest first.
        nearer_than_all_unseen: share of samples with a ratio below all of the control, for comparison with `chance`.
        chance: the share that unseen pictures in their place would have, 1 / (control + 1).
    """

    what: str
    control: tuple[float, ...]
    samples: tuple[float, ...]
    nearest: tuple[int, ...]
    threshold: float
    below: tuple[int, ...]
    nearer_than_all_unseen: float
    chance: float


@dataclass(frozen=True)
class Pair:
    """A sample beside a training picture, for people to judge.

    Attributes:
        sample: its place among the pictures of prompts, followed by those of training captions.
        training: index of the training picture.
        clip: ratio by CLIP.
        pixels: ratio by pixels.
        too_near: whether both are below their thresholds.
    """

    sample: int
    training: int
    clip: float
    pixels: float
    too_near: bool


@dataclass(frozen=True)
class Memorisation:
    """All questions by both distances, the alarm, and what to show.

    Attributes:
        nearness: by CLIP and by pixels: of the prompts, then (where captions were painted) of training captions.
        too_near: samples that are too near, by their places among the pictures of prompts, followed by those of
            training captions.
        alarm: whether there are any, or half of the training captions' pictures lie below by one distance.
        words: the finding as a sentence, with its figures.
        pairs: up to 8, the nearest in proportion to the thresholds first, one a sample.
    """

    nearness: tuple[Nearness, ...]
    too_near: tuple[int, ...]
    alarm: bool
    words: str
    pairs: tuple[Pair, ...]


def thumbnail(image: Image.Image) -> Array:
    """A picture as [64, 64, 3] in [0, 1], squeezed to a square.

    Training pictures go in as training sees them (turned, cropped), or nothing lines up.
    """
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255


def memorisation(
    samples: Looks,
    training: Looks,
    unseen: Looks,
    of_training: Captioned | None = None,
    of_unseen: Captioned | None = None,
) -> Memorisation:
    """Judge what the LoRA painted by pictures that it never saw.

    Args:
        samples: painted from prompts.
        training: every picture it was trained on.
        unseen: held-out pictures of the style, at least 5.
        of_training: painted from training captions; None leaves that question out.
        of_unseen: painted from held-out captions, at least 5, its control.

    Raises:
        ValueError: shapes that don't fit, fewer held-out pictures, or one that is among the training pictures.
    """
    prompts = [_of_prompts(name, distance, samples, training, unseen) for name, distance in DISTANCES.items()]
    captions = [
        _of_captions(name, distance, of_training, training, unseen, of_unseen)
        for name, distance in DISTANCES.items()
        if of_training is not None and of_unseen is not None
    ]
    if len({len(nearness.samples) for nearness in prompts}) > 1:
        raise ValueError(
            f"there are {len(prompts[0].samples)} CLIP vectors of samples and {len(prompts[1].samples)} thumbnails:"
            " give both of each picture."
        )
    pairs = _pairs(prompts, captions)
    too_near = tuple(pair.sample for pair in pairs if pair.too_near)
    mostly = [one for one in captions if 2 * len(one.below) >= len(one.samples)]
    return Memorisation(
        nearness=(*prompts, *captions),
        too_near=too_near,
        alarm=bool(too_near or mostly),
        words=_words((*prompts, *captions), len(too_near), len(pairs), mostly),
        pairs=pairs[:PAIRS],
    )


def pixel_distances(pictures: Array, training: Array) -> Array:
    """The smaller distance of upright and mirrored, in [0, 1].

    Args:
        pictures: thumbnails [N, 64, 64, 3].
        training: thumbnails [T, 64, 64, 3].

    Returns:
        [N, T].
    """
    return np.minimum(_tile_distances(pictures, training), _tile_distances(pictures, training[:, :, ::-1]))


def _tile_distances(a: Array, b: Array) -> Array:
    """Root mean square of the tiles that differ most, [N, T]."""
    most = np.zeros((len(a), len(b)))
    for x, y in zip(_tiles(a), _tiles(b), strict=True):
        squares = (x**2).mean(1)[:, None] + (y**2).mean(1) - 2 * x @ y.T / x.shape[1]
        most = np.maximum(most, squares)
    distance: Array = np.sqrt(most)
    return distance


def _tiles(pictures: Array) -> Array:
    """[N, 64, 64, 3] -> [16, N, values of a tile]."""
    edge = SIDE // TILES
    cut = pictures.reshape(len(pictures), TILES, edge, TILES, edge, 3)
    return cut.transpose(1, 3, 0, 2, 4, 5).reshape(TILES**2, len(pictures), -1)


def _by_clip(a: Looks, b: Looks) -> Array:
    """Distance of unit vectors, [N, M]."""
    left, right = unit_vectors({"samples": a.clip, "pictures": b.clip}, ndims={"samples": 2, "pictures": 2})
    return np.sqrt(np.maximum(2 - 2 * left @ right.T, 0))


def _by_pixels(a: Looks, b: Looks) -> Array:
    """`pixel_distances`, [N, M]."""
    return pixel_distances(_thumbnails(a), _thumbnails(b))


Distance = Callable[[Looks, Looks], Array]
DISTANCES: dict[str, Distance] = {"CLIP": _by_clip, "pixels": _by_pixels}


def _thumbnails(looks: Looks) -> Array:
    array = np.asarray(looks.thumbnails, np.float64)
    if array.ndim != 4 or array.shape[1:] != (SIDE, SIDE, 3) or not len(array):
        raise ValueError(
            f"thumbnails have the shape {array.shape}: they need [pictures, {SIDE}, {SIDE}, 3],"
            " as `thumbnail` makes them."
        )
    return array


def _of_prompts(name: str, distance: Distance, samples: Looks, training: Looks, unseen: Looks) -> Nearness:
    """Nearest training pictures, of samples and of the held-out pictures."""
    found, held_out = distance(samples, training), distance(unseen, training)
    if len(held_out) < FEWEST_UNSEEN:
        raise ValueError(
            f"{len(held_out)} held-out pictures are too few to say how near unseen pictures come:"
            f" hold out {FEWEST_UNSEEN} or more."
        )
    if held_out.min() < 1e-6:
        raise ValueError(
            f"held-out picture {int(held_out.min(1).argmin())} (from 0) is among the training pictures ({name}"
            " distance 0): take it out of one of them."
        )
    control = _ratios(held_out, distance(unseen, unseen), held_out.argmin(1), alike=True)
    ratios = _ratios(found, distance(samples, unseen), found.argmin(1))
    return _nearness(f"prompts, by {name}", ratios, found.argmin(1), control, HALF)


def _of_captions(
    name: str,
    distance: Distance,
    trained: Captioned,
    training: Looks,
    unseen: Looks,
    control: Captioned,
) -> Nearness:
    """Each caption's own picture, of training captions and of held-out ones."""
    if len(control.own) < FEWEST_UNSEEN:
        raise ValueError(
            f"{len(control.own)} pictures of held-out captions are too few to say how near a picture comes to that of"
            f" its caption: paint {FEWEST_UNSEEN} or more."
        )
    own, others = np.asarray(trained.own), np.asarray(control.own)
    ratios = _ratios(distance(trained.painted, training), distance(trained.painted, unseen), own)
    beside = _ratios(distance(control.painted, unseen), distance(control.painted, training), others)
    return _nearness(f"training captions, by {name}", ratios, own, beside, 1.0)


def _ratios(distances: Array, further: Array, places: NDArray[np.intp], *, alike: bool = False) -> Array:
    """Distance to one picture over the mean distance to the four nearest others.

    Args:
        distances: [N, T], among them the one that counts.
        further: to other pictures, [N, H].
        places: of the one that counts, N indices into T.
        alike: whether `further` has on its diagonal each picture beside itself.
    """
    rows = np.arange(len(places))
    others = np.concatenate([distances, further], 1)
    others[rows, places] = np.inf
    if alike:
        others[rows, distances.shape[1] + rows] = np.inf
    typical = np.sort(others, axis=1)[:, :NEIGHBOURS].mean(1)
    ratios: Array = distances[rows, places] / np.maximum(typical, 1e-9)
    return ratios


def _nearness(what: str, ratios: Array, nearest: NDArray[np.intp], control: Array, most: float) -> Nearness:
    """From the ratios of samples and of the control; the threshold is `most` at most."""
    limit = min(_threshold(control, math.sqrt(FALSE_ALARMS / 2 / len(ratios))), most)
    order = np.argsort(ratios, kind="stable")
    return Nearness(
        what=what,
        control=tuple(control.tolist()),
        samples=tuple(ratios.tolist()),
        nearest=tuple(nearest.tolist()),
        threshold=limit,
        below=tuple(int(index) for index in order if ratios[index] < limit),
        nearer_than_all_unseen=float((ratios < control.min()).mean()),
        chance=1 / (len(control) + 1),
    )


def _threshold(control: Array, probability: float) -> float:
    """The prediction bound of the module's docstring."""
    n = len(control)
    logs = np.log(np.maximum(control, 1e-9))
    quantile = student_t.ppf(1 - probability, n - 1)
    return float(np.exp(logs.mean() - quantile * logs.std(ddof=1) * np.sqrt(1 + 1 / n)))


def _words(nearness: Sequence[Nearness], near: int, total: int, mostly: Sequence[Nearness]) -> str:
    said = (
        f"Memorised: {near} of {total} samples are nearer to a training picture than unseen pictures are,"
        if near or mostly
        else f"No sign of memorisation in {total} samples: none is nearer to a training picture than unseen ones are,"
    )
    alone = "; ".join(f"{one.what}: {len(one.below)} of {len(one.samples)}" for one in nearness)
    half = " At half of the training captions or more, that is no chance." if mostly else ""
    return f"{said} by CLIP and by pixels both. Below the limit of one alone are, of {alone}.{half}"


def _pairs(prompts: Sequence[Nearness], captions: Sequence[Nearness]) -> tuple[Pair, ...]:
    """Each sample with a training picture; those first that lie lowest by both distances, beside the thresholds."""
    ranked: list[tuple[float, Pair]] = []
    for question in (prompts, captions) if captions else (prompts,):
        clip, pixels = question
        for place, ratios in enumerate(zip(clip.samples, pixels.samples, strict=True)):
            proportions = (ratios[0] / clip.threshold, ratios[1] / pixels.threshold)
            training = (clip if proportions[0] <= proportions[1] else pixels).nearest[place]
            sample = place + (len(prompts[0].samples) if question is captions else 0)
            ranked.append((max(proportions), Pair(sample, training, *ratios, max(proportions) < 1)))
    return tuple(pair for _, pair in sorted(ranked, key=lambda one: one[0]))
