"""What a base can't paint, told before; what is painted, `test_sampling.py` compares with the stock pipeline."""

from pathlib import Path

import pytest

from lightning_modules.base.loading import load_components
from lightning_modules.painting.painter import Painter


@pytest.fixture(scope="module")
def painter(tiny_base: Path) -> Painter:
    return Painter(load_components(str(tiny_base)), zero_terminal_snr=None, long_captions="truncate")


@pytest.mark.parametrize(
    ("height", "width", "clip_skip", "said"),
    [
        (64, 96, 1, ""),
        (64, 97, 0, "97x64 (width x height) are not multiples of 8"),
        (4104, 64, 0, "64x4104 (width x height) are above 4096"),
        (4096, 64, 0, ""),
        (64, 64, 2, "clip_skip 2, valid are 0 to 1"),
    ],
)
def test_what_cannot_be_painted_is_told(
    painter: Painter, height: int, width: int, clip_skip: int, said: str
) -> None:
    layers = painter.parts.text_encoders.most_clip_skip + 1
    assert layers == 2
    assert painter.unpaintable(height, width, clip_skip) == said
