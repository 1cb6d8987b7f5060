import numpy as np
import pytest
from PIL import Image

from demo.colourfulness import colourfulness
from demo.scenes import GROUPS, Group, calm_places, paint, random_scene
from demo.watercolor import watercolor


def test_a_seed_gives_the_same_bytes() -> None:
    flat = paint(random_scene(1), 96)
    assert watercolor(flat, 7).tobytes() == watercolor(flat, 7).tobytes()
    assert watercolor(flat, 7).tobytes() != watercolor(flat, 8).tobytes()


@pytest.mark.parametrize("group", GROUPS)
def test_far_less_colourful_than_the_flat_picture(group: Group) -> None:
    scenes = [random_scene(seed, group) for seed in range(12)]
    flat = [paint(scene, 128) for scene in scenes]
    wet = [
        watercolor(picture, k, calm_places(scene))
        for k, (scene, picture) in enumerate(zip(scenes, flat, strict=True))
    ]
    assert np.mean([*map(colourfulness, wet)]) < 0.5 * np.mean([*map(colourfulness, flat)])


def test_the_border_is_paper() -> None:
    wet = np.asarray(watercolor(paint(random_scene(2, "portrait"), 128), 0), np.float64)
    border = np.concatenate([wet[:2].reshape(-1, 3), wet[-2:].reshape(-1, 3)])
    assert border.mean() > 235


def test_calm_places_wobble_less() -> None:
    scene = random_scene(4, "portrait")
    flat = paint(scene, 256)
    x, y, r = (round(256 * value) for value in calm_places(scene)[0])
    eye = np.s_[y - r // 2 : y + r // 2, x - r // 2 : x + r // 2]

    def lines(calm: list[tuple[float, float, float]]) -> float:
        """Contrast that is left in the eye."""
        return float(np.asarray(watercolor(flat, 1, calm), np.float64)[eye].std())

    assert lines(calm_places(scene)) > 1.1 * lines([])


def test_colourfulness_of_known_pictures() -> None:
    assert colourfulness(Image.new("RGB", (8, 8), (90, 90, 90))) == 0
    # one red colour: rg = 255, yb = 127.5, no spread, so 0.3 * sqrt(255^2 + 127.5^2)
    assert colourfulness(Image.new("RGB", (8, 8), (255, 0, 0))) == pytest.approx(85.53, abs=0.01)
