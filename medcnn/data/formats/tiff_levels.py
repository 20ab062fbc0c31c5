"""TIFF files as large pictures: their pages are levels, of which single blocks are decoded."""

import math
import re
from collections import OrderedDict
from html import unescape
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from medcnn.data.formats import tiff
from medcnn.data.formats.slide import NEEDS, Level, Slide
from medcnn.data.formats.values import to_stored, type_range
from medcnn.data.image import Array
from medcnn.errors import UserError

ALIKE = 0.02  # relative difference in shape up to which a smaller page is the same picture
HELD = 2**26  # values of blocks that were decoded last and are kept
BLOCK = 2**27  # values that one block may have, as it is decoded as a whole
TYPES = ("uint8", "int8", "uint16", "int16", "float32")
LARGEST = 50.0  # µm a pixel: a TIFF that tells more was made for paper or a screen
MICROMETRES = {2: 25_400.0, 3: 10_000.0}  # in TIFF's units of resolution: inch, cm
OME = re.compile(r'PhysicalSizeX="([\d.eE+-]+)"')
OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')  # µm where it isn't given
OME_UNITS = {"nm": 1e-3, "\N{GREEK SMALL LETTER MU}m": 1.0, "mm": 1e3, "cm": 1e4}
APERIO = re.compile(r"\bMPP\s*=\s*([\d.]+)")


class TiffSlide(Slide):
    """A TIFF file whose pages are one picture at several resolutions, by tifffile."""

    def __init__(self, file: Any, pages: list[Any]) -> None:
        self.file, self.pages = file, pages
        first = pages[0]
        height, width = first.shape[:2]
        self.levels = [
            Level(high, wide, (height / high + width / wide) / 2)
            for high, wide in (page.shape[:2] for page in pages)
        ]
        self.channels = 3 if first.samplesperpixel >= 3 else 1
        self.spacing = _spacing(first)
        known = type_range(np.full(1, 2, first.dtype))  # of floating-point numbers none
        white_first = int(first.photometric) == tiff.WHITE_IS_ZERO
        self.value_range = known[::-1] if known and white_first else known
        self._blocks: OrderedDict[tuple[int, int], Array] = OrderedDict()

    @classmethod
    def of(cls, path: Path) -> "TiffSlide | None":
        """Open a file; None for one of a kind that has to be decoded as a whole."""
        file = tiff.opened(path)
        first, *rest = file.pages
        rest += first.pages or []
        smaller = [page for page in rest if _is_same(page, first)]
        if not _has_blocks(first) or any(page.shape == first.shape for page in smaller):
            file.close()
            return None
        return cls(file, [first, *sorted(smaller, key=lambda page: -page.shape[1])])

    def read(self, level: int, row: int, column: int, height: int, width: int) -> Array:
        """Return (C, height, width) of the type of the file, decoding only what it touches."""
        page = self.pages[level]
        high, wide = page.chunks[:2]
        across = math.ceil(page.shape[1] / wide)
        found = np.empty((height, width, self.channels), page.dtype)
        for down in range(row // high, (row + height - 1) // high + 1):
            for along in range(column // wide, (column + width - 1) // wide + 1):
                block = self._block(level, down * across + along)
                top, left = down * high - row, along * wide - column  # in what is found
                rows = slice(max(0, top), min(height, top + high))
                columns = slice(max(0, left), min(width, left + wide))
                found[rows, columns] = block[
                    rows.start - top : rows.stop - top,
                    columns.start - left : columns.stop - left,
                    : self.channels,
                ]
        return to_stored(np.moveaxis(found, 2, 0))

    def _block(self, level: int, number: int) -> Array:
        """Return a block (h, w, samples) of a page, one that was decoded lately without reading."""
        key = level, number
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        page = self.pages[level]
        self.file.filehandle.seek(page.dataoffsets[number])
        stored = self.file.filehandle.read(page.databytecounts[number])
        if len(stored) < page.databytecounts[number]:
            raise UserError("is cut short")
        try:
            block = page.decode(stored, number, jpegtables=page.jpegtables)[0]
        except Exception as error:
            if "imagecodecs" not in str(error):
                raise
            raise UserError(f"is compressed by {page.compression.name}: {NEEDS}") from None
        if block is None:  # left out by a writer where all is background
            block = np.full((*page.chunks[:2], self.channels), page.nodata, page.dtype)
        block = block.reshape(block.shape[-3:])
        self._blocks[key] = block
        while sum(one.size for one in self._blocks.values()) > max(HELD, 4 * block.size):
            self._blocks.popitem(last=False)
        return block

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self.file.close()


def _is_same(page: Any, first: Any) -> bool:
    """Return whether a page is the first one again, no larger."""
    kinds = [(one.axes, one.dtype, one.shape[2:], one.is_tiled) for one in (page, first)]
    if kinds[0] != kinds[1]:
        return False
    down, across = (a / b for a, b in zip(first.shape[:2], page.shape[:2], strict=True))
    alike = abs(down / across - 1) < max(ALIKE, 1 / min(page.shape[:2]))
    return alike and min(down, across) >= 1


def _has_blocks(page: Any) -> bool:
    """Return whether a page can be read block by block as it is."""
    if page.axes not in ("YX", "YXS") or page.dtype is None:
        return False
    grey = int(page.photometric) in (tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO)
    colour = int(page.photometric) in (tiff.RGB, tiff.YCBCR) and page.samplesperpixel >= 3
    upright = int(page.tags.valueof(tiff.ORIENTATION, default=1)) == 1
    stored_so = page.dtype in TYPES and page.bitspersample == 8 * page.dtype.itemsize
    return (grey or colour) and upright and stored_so and math.prod(page.chunks) <= BLOCK


def _spacing(page: Any) -> float | None:
    """Return µm a pixel, as OME, Aperio or the resolution tags say; None where they don't."""
    text, factor = str(page.description or ""), 1.0
    ome = text.lstrip().startswith("<")
    if ome and (said := OME_UNIT.search(text)):
        factor = OME_UNITS.get(normalize("NFKC", unescape(said[1])), 0.0)  # 0: not known
    if factor and (match := (OME if ome else APERIO).search(text)):
        return float(match[1]) * factor
    unit = int(page.resolutionunit or 1)
    across = page.resolution[0] if page.resolution else 0
    if unit not in MICROMETRES or not across:
        return None
    told = MICROMETRES[unit] / float(across)
    return told if told <= LARGEST else None
