"""Near-duplicates: copies of a picture are found, other pictures are not."""

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from datamodules.audit.near_duplicates import Appearance, appearance, clusters


def scene(number: int) -> Image.Image:
    """Soft random shapes, others for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)


def compressed(image: Image.Image) -> Image.Image:
    """The picture as a poor JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB")


def test_copies_are_found_and_others_are_not() -> None:
    first, second = scene(1), scene(2)
    pictures = [
        first,
        scene(3),
        second,
        compressed(first),
        first.resize((70, 70)),
        ImageOps.mirror(second),
        ImageEnhance.Brightness(first).enhance(1.15),
        *[scene(number) for number in range(4, 30)],
    ]
    assert clusters([appearance(picture) for picture in pictures]) == [[0, 3, 4, 6], [2, 5]]


def test_pictures_alike_but_for_their_colours_are_no_duplicates() -> None:
    grey = scene(1).convert("L")
    red = ImageOps.colorize(grey, "black", "red").convert("RGB")
    blue = ImageOps.colorize(grey, "black", "blue").convert("RGB")
    assert clusters([appearance(red), appearance(blue)]) == []


def test_clusters_join_over_block_borders() -> None:
    other = [appearance(scene(number)) for number in range(2, 8)]
    many = [appearance(scene(1)), *(other * 200), appearance(compressed(scene(1)))]
    found = clusters(many)
    assert [0, len(many) - 1] in found
    assert sorted(len(cluster) for cluster in found) == [2, *[200] * 6]


def test_few_pictures_have_no_clusters() -> None:
    assert clusters([]) == []
    assert clusters([appearance(scene(1))]) == []


def test_a_hash_has_256_bits_and_a_thumbnail_16_colours() -> None:
    look: Appearance = appearance(scene(1))
    assert (len(look.upright), len(look.mirrored), len(look.thumbnail)) == (64, 64, 48)
