"""How colourful a picture is, after Hasler & Süsstrunk 2003, "Measuring colourfulness in natural images"."""

import numpy as np
from PIL import Image


def colourfulness(picture: Image.Image) -> float:
    """About 0 for grey, 15 for pale, 60 and more for vivid pictures (RGB in 0..255)."""
    red, green, blue = np.asarray(picture.convert("RGB"), np.float64).transpose(2, 0, 1)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))
