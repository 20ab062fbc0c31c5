"""Small pictures as slide scanners write them: of several levels, cut into blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

EDGE = 16  # of a block, which TIFF wants to be a multiple of 16
CM = 20_000  # pixels a cm: 0.5 µm a pixel


def pyramid(
    path: Path, picture: np.ndarray, steps: tuple[int, ...] = (2, 4), **options: Any
) -> str:
    """Writes every first, second and fourth pixel of a picture as levels; gives the file's name."""
    kind = {"photometric": "rgb" if picture.ndim == 3 else "minisblack", "metadata": None}
    kind |= {"tile": (EDGE, EDGE), **options}
    with tifffile.TiffWriter(path) as file:
        file.write(picture, resolution=(CM, CM), resolutionunit="CENTIMETER", **kind)
        for step in steps:
            file.write(picture[::step, ::step], subfiletype=1, **kind)
    return path.name


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Gives colours (height, width, 3), none of them grey."""
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)


def stained(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Gives glass with tissue, pink of some noise, in boxes of top, left, bottom, right."""
    glass = np.full((height, width, 3), 240, np.uint8)
    for top, left, bottom, right in boxes:
        grain = np.random.default_rng(top).integers(-20, 20, (bottom - top, right - left, 1))
        glass[top:bottom, left:right] = np.array([190, 110, 170]) + grain
    return glass
