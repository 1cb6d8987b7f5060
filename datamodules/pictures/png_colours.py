"""The colour profile of a PNG that has none, but says its gamma (gAMA) or its primaries (cHRM).

The file's value v stands for the light v^(1/gAMA) of primaries whose places in the xy diagram cHRM gives. Both as an
ICC profile (a matrix and one curve) go the way of any other profile. As the PNG specification orders it, an embedded
profile or the mark of sRGB goes before both.
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

SRGB_GAMMA = 1 / 2.2  # what files say that mean sRGB's curve
SRGB_PLACES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x, y of white, red, green, blue
NEAR_GAMMA = 0.05  # part of it: what libpng takes for the same
NEAR_PLACE = 0.001
D50 = np.array([0.9642, 1.0, 0.8249])  # XYZ of the white that ICC profiles are relative to
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_of(info: Mapping[Any, Any]) -> bytes | None:
    """An RGB profile in ICC format; None where the file says sRGB, nothing, or what can't be.

    Args:
        info: of a PNG that Pillow opened, `gamma` and `chromaticity` among it.
    """
    if info.get("icc_profile") or "srgb" in info:
        return None
    gamma = info.get("gamma") or SRGB_GAMMA
    places = info.get("chromaticity") or SRGB_PLACES
    same_curve = abs(gamma / SRGB_GAMMA - 1) <= NEAR_GAMMA
    same_places = bool(np.allclose(places, SRGB_PLACES, rtol=0, atol=NEAR_PLACE))
    if same_curve and same_places:
        return None
    colorants = _colorants(np.array(SRGB_PLACES if same_places else places))
    return None if colorants is None else _icc(colorants, 1 / gamma)


def _colorants(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """XYZ of red, green and blue under D50's white, as columns [3, 3]; None of places that span no colours."""
    x, y = places[0::2], places[1::2]
    if not np.all(y > 0):
        return None
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # of Y = 1, columns white, red, green, blue
    white, primaries = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(primaries)) < 1e-6:
        return None
    scaled = primaries * np.linalg.solve(primaries, white)
    cones = BRADFORD @ white
    adapted = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / cones) @ BRADFORD
    return np.asarray(adapted @ scaled)


def _icc(colorants: np.ndarray[Any, Any], exponent: float) -> bytes:
    """A display profile of colorants [3, 3] and one curve, light = value ^ exponent."""
    curve = b"para" + bytes(8) + _fixed(exponent)
    columns = [b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in column) for column in colorants.T]
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
    tags = [*columns, curve, curve, curve]
    table, data = struct.pack(">I", len(tags)), b""
    for name, tag in zip(names, tags, strict=True):
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(data), len(tag))
        data += tag
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4xI4s4s4s12x4s28x", size, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    illuminant = b"".join(_fixed(value) for value in D50)
    return header + illuminant + bytes(128 - len(header) - len(illuminant)) + table + data


def _fixed(value: float) -> bytes:
    """A number as ICC writes it, in 65536ths."""
    return struct.pack(">i", round(value * 65536))
