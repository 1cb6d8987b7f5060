"""Does the LoRA repeat pictures that it was trained on? Nearest training pictures, judged by unseen ones.

Held-out pictures are of the same style and were never trained on, so how near they come to the training pictures
is how near a picture comes without being remembered. Two distances, since each sees what the other misses:

- CLIP: 1 - cosine, which sees what is shown wherever it stands;
- pixels: after Carlini et al. 2023 ("Extracting Training Data from Diffusion Models"), pictures of 64 x 64
  are cut into 16 tiles, and the distance is that of the tiles that differ most (root mean square, grey levels in
  [0, 1]), so that two flat skies are no match. A mirrored training picture counts, since training mirrors.

The threshold of a distance comes from the held-out pictures: with m and s the mean and standard deviation of the
logarithms of their n nearest distances, one more such picture lies below exp(m - t s sqrt(1 + 1/n)) with
probability 0.025 / N (Student's t with n - 1 degrees of freedom, one-sided prediction bound). N is the number of
samples, so unseen pictures in their place would raise the alarm in at most one report of 20.

What was memorised comes out when its caption is the prompt, so training captions belong among the prompts. A
faithful picture of such a caption is nearer by CLIP than a held-out one, whose caption is another: where CLIP
alone gives the alarm, look at the pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy.stats import t as student_t

from evaluation.bootstrap import Array
from evaluation.vectors import unit_vectors

SIDE = 64  # of a thumbnail, pixels
TILES = 4  # a side
FALSE_ALARMS = 0.05  # of both distances together
FEWEST_UNSEEN = 5  # with fewer the bound lies so low that nothing could fall below it
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
class Nearness:
    """One distance.

    Attributes:
        unseen: of each held-out picture to its nearest training picture.
        samples: of each sample to its nearest training picture.
        nearest: which training picture that is, an index a sample.
        threshold: samples below it are nearer than unseen pictures are.
        too_near: indices of those samples, nearest first.
        nearer_than_all_unseen: share of samples nearer than every held-out picture, for comparison with
            `chance`.
        chance: the share that unseen pictures in their place would have, 1 / (held-out + 1).
    """

    unseen: tuple[float, ...]
    samples: tuple[float, ...]
    nearest: tuple[int, ...]
    threshold: float
    too_near: tuple[int, ...]
    nearer_than_all_unseen: float
    chance: float


@dataclass(frozen=True)
class Pair:
    """A sample beside a training picture, for people to judge.

    Attributes:
        sample: its index.
        training: index of the training picture.
        clip: their CLIP distance.
        pixels: their pixel distance.
        too_near: whether either distance is below its threshold.
    """

    sample: int
    training: int
    clip: float
    pixels: float
    too_near: bool


@dataclass(frozen=True)
class Memorisation:
    """Both distances, the alarm, and what to show.

    Attributes:
        clip: nearness by CLIP.
        pixels: nearness by pixels.
        alarm: whether any sample is too near by either distance.
        words: the finding as a sentence, with its figures.
        pairs: up to 8, the nearest in proportion to the thresholds first, one a sample.
    """

    clip: Nearness
    pixels: Nearness
    alarm: bool
    words: str
    pairs: tuple[Pair, ...]


def thumbnail(image: Image.Image) -> Array:
    """A picture as [64, 64, 3] in [0, 1], squeezed to a square.

    Training pictures go in as training sees them (turned, cropped), or nothing lines up.
    """
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255


def memorisation(samples: Looks, training: Looks, unseen: Looks) -> Memorisation:
    """Judge samples by how near held-out pictures are to training ones.

    Args:
        samples: what the LoRA painted.
        training: every picture it was trained on.
        unseen: held-out pictures of the style, at least 5.

    Raises:
        ValueError: shapes that don't fit, fewer held-out pictures, or one that is among the training pictures.
    """
    by_clip = _clip_distances(samples, training, unseen)
    by_pixels = [
        pixel_distances(_thumbnails(name, looks), _thumbnails("training", training))
        for name, looks in (("samples", samples), ("unseen", unseen))
    ]
    for clips, tiles in zip(by_clip, by_pixels, strict=True):
        if clips.shape != tiles.shape:
            raise ValueError(
                f"CLIP vectors make {clips.shape} pairs, thumbnails {tiles.shape}: give both of each picture."
            )
    clip, pixels = _nearness("CLIP", *by_clip), _nearness("pixel", *by_pixels)
    return Memorisation(
        clip=clip,
        pixels=pixels,
        alarm=bool(clip.too_near or pixels.too_near),
        words=_words(clip, pixels),
        pairs=_pairs(clip, pixels, by_clip[0], by_pixels[0]),
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


def _clip_distances(samples: Looks, training: Looks, unseen: Looks) -> list[Array]:
    """1 - cosine of samples and of held-out pictures with training pictures, [N, T] and [H, T]."""
    names = {"samples": samples.clip, "training": training.clip, "unseen": unseen.clip}
    painted, trained, held_out = unit_vectors(names, ndims=dict.fromkeys(names, 2))
    return [np.maximum(1 - vectors @ trained.T, 0) for vectors in (painted, held_out)]


def _thumbnails(name: str, looks: Looks) -> Array:
    array = np.asarray(looks.thumbnails, np.float64)
    if array.ndim != 4 or array.shape[1:] != (SIDE, SIDE, 3) or not len(array):
        raise ValueError(
            f"the thumbnails of {name} have the shape {array.shape}: they need [pictures, {SIDE}, {SIDE}, 3],"
            " as `thumbnail` makes them."
        )
    return array


def _nearness(kind: str, samples: Array, unseen: Array) -> Nearness:
    """From distances [N, T] and [H, T]."""
    found, held_out = samples.min(1), unseen.min(1)
    limit = _threshold(held_out, len(found), kind)
    order = np.argsort(found, kind="stable")
    return Nearness(
        unseen=tuple(held_out.tolist()),
        samples=tuple(found.tolist()),
        nearest=tuple(samples.argmin(1).tolist()),
        threshold=limit,
        too_near=tuple(int(index) for index in order if found[index] < limit),
        nearer_than_all_unseen=float((found < held_out.min()).mean()),
        chance=1 / (len(held_out) + 1),
    )


def _threshold(unseen: Array, samples: int, kind: str) -> float:
    """The prediction bound of the module's docstring."""
    n = len(unseen)
    if n < FEWEST_UNSEEN:
        raise ValueError(
            f"{n} held-out pictures are too few to say how near unseen pictures come:"
            f" hold out {FEWEST_UNSEEN} or more."
        )
    if unseen.min() < 1e-6:
        raise ValueError(
            f"held-out picture {int(unseen.argmin())} (from 0) is among the training pictures ({kind} distance 0):"
            " take it out of one of them."
        )
    logs = np.log(unseen)
    quantile = student_t.ppf(1 - FALSE_ALARMS / 2 / samples, n - 1)
    return float(np.exp(logs.mean() - quantile * logs.std(ddof=1) * np.sqrt(1 + 1 / n)))


def _words(clip: Nearness, pixels: Nearness) -> str:
    near = set(clip.too_near) | set(pixels.too_near)
    nearest = (
        f"nearest sample to a training picture: CLIP distance {min(clip.samples):.4f} (alarm below"
        f" {clip.threshold:.4f}, unseen pictures from {min(clip.unseen):.4f}), pixel distance"
        f" {min(pixels.samples):.3f} (alarm below {pixels.threshold:.3f}, unseen from {min(pixels.unseen):.3f})"
    )
    if not near:
        return f"No sign of memorisation in {len(clip.samples)} samples; {nearest}."
    return (
        f"Memorised: {len(near)} of {len(clip.samples)} samples are nearer to a training picture than unseen"
        f" pictures are; {nearest}."
    )


def _pairs(clip: Nearness, pixels: Nearness, by_clip: Array, by_pixels: Array) -> tuple[Pair, ...]:
    """Each sample with the training picture that is nearest in proportion to the threshold; nearest first."""
    proportion = np.minimum(by_clip / clip.threshold, by_pixels / pixels.threshold)
    return tuple(
        _pair(int(sample), int(proportion[sample].argmin()), by_clip, by_pixels, bool(limit < 1))
        for sample, limit in _nearest_first(proportion.min(1))[:PAIRS]
    )


def _nearest_first(proportion: Array) -> Sequence[tuple[int, float]]:
    order = np.argsort(proportion, kind="stable")
    return [(int(index), float(proportion[index])) for index in order]


def _pair(sample: int, training: int, by_clip: Array, by_pixels: Array, too_near: bool) -> Pair:
    return Pair(
        sample, training, float(by_clip[sample, training]), float(by_pixels[sample, training]), too_near
    )
