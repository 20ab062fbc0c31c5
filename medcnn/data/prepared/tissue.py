"""Tissue on a slide, told from glass by its colour."""

import math
from dataclasses import replace

import numpy as np

from medcnn.data.formats.slide import Slide
from medcnn.data.image import Array
from medcnn.data.prepared.crop import otsu
from medcnn.data.prepared.resample import block_means
from medcnn.data.prepared.tiles import TileGrid
from medcnn.errors import UserError

THUMBNAIL = 2048  # pixels of its longer edge, at most
BAND = 2**21  # pixels of a level that are read at a time
SATURATION = (0.05, 0.2)  # what is below the first is grey, above the second tissue in any case
DARK = 0.2  # of the brightest value: ink, the edge of a coverslip, a fold
FULL = 255


def thumbnail(slide: Slide) -> tuple[Array, float]:
    """Return a small picture (C, h, w) of a whole slide, and the pixels that one of it is.

    The means of blocks of the coarsest level that is as large as `THUMBNAIL`, or of the finest;
    read in bands, so that memory stays bounded.
    """
    large = [k for k, level in enumerate(slide.levels) if max(level[:2]) >= THUMBNAIL]
    number = large[-1] if large else 0
    height, width, downsample = slide.levels[number]
    step = math.ceil(max(height, width) / THUMBNAIL)
    high = step * max(1, BAND // (step * width))
    bands = []
    for row in range(0, height, high):
        band = slide.read(number, row, 0, min(high, height - row), width)
        bands.append(block_means(block_means(band, 1, step), 2, step) if step > 1 else band)
    return np.concatenate(bands, 1), downsample * step


def tissue_mask(picture: Array) -> Array:
    """Return where a picture (3, h, w) in 0 … 255 shows tissue, (h, w) bool.

    What is coloured: the saturation in HSV lies above the threshold of N. Otsu ("A threshold
    selection method from gray-level histograms", 1979), kept within `SATURATION` so that neither a
    slide without tissue nor one without glass is parted. Dark places are none.
    """
    high, low = picture.max(0).astype(np.float32), picture.min(0).astype(np.float32)
    saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    threshold = np.clip(otsu(saturation), *SATURATION)
    found: Array = (saturation > threshold) & (high >= DARK * FULL)
    return found


def with_tissue(slide: Slide, grid: TileGrid, least: float) -> TileGrid:
    """Return the tiles of which a share of at least `least` is tissue.

    Raises:
        UserError: There is none, or the picture has no colour.
    """
    if slide.channels != 3 or slide.value_range != (0, FULL):
        raise UserError(
            "is no colour picture of 8 bits, and dataset.tissue tells tissue by its colour: "
            "dataset.tissue=null takes all tiles"
        )
    small, step = thumbnail(slide)
    shares = _shares(tissue_mask(small), grid, step)
    if shares.max() < least:
        raise UserError(
            f"shows no tissue: of {len(shares)} tiles the best has a share of "
            f"{shares.max():.2g}, and dataset.tissue asks for {least:g}"
        )
    kept = tuple(grid.corners[k] for k in np.flatnonzero(shares >= least))
    return replace(grid, corners=kept)


def _shares(mask: Array, grid: TileGrid, step: float) -> Array:
    """Return the share (S,) of each tile that is in a mask, one pixel of which is `step` wide."""
    from scipy.ndimage import map_coordinates

    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(0).cumsum(1)
    first = np.array(grid.corners) / step
    (top, left), (bottom, right) = first.T, (first + np.array(grid.edge) / step).T

    def before(row: Array, column: Array) -> Array:  # linear within a pixel, so exact
        found: Array = map_coordinates(sums, (row, column), order=1, mode="nearest")
        return found

    inside = before(bottom, right) - before(top, right) - before(bottom, left) + before(top, left)
    return inside / ((bottom - top) * (right - left))
