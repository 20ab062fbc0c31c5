"""TIFF files: their layout, and the values of those that Pillow would misread.

Pillow reads unsigned values of 32 bits as signed ones, values of −128 … 127 as 0 … 255, two bands
as grey with transparency, and of a stack that ImageJ wrote behind one directory the first picture.
"""

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcnn.data.formats.values import check_kind, check_shape, pick, to_stored, type_range
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # with + those above 4 GB
ORIENTATION = 274  # tag
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8  # photometric
COLOURS = {RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}  # values a pixel, at least
UNSIGNED, SIGNED, FLOATING = 1, 2, 3  # formats of a value
COLOURS_STACKED = "holds several colour pictures: dataset.frame=0, 1, … or centre takes one"
IN_TILES = "dataset.tiles=224 cuts a large picture into tiles, of one of its levels"
IN_PLANES = 2  # planar configuration
PLAIN = (1, 8, 32946, 32773)  # compression: none, deflate, PackBits
ALPHA = (1, 2)  # what a further value of a pixel may mean


class Layout(NamedTuple):
    """Layout of a TIFF file."""

    shape: tuple[int, int, int]  # (pages, rows, columns)
    samples: int  # values of a pixel
    directories: int  # pictures that the file describes singly; of ImageJ's stacks only one
    bits: int  # of a value
    kind: int  # `UNSIGNED`, `SIGNED` or `FLOATING`
    photometric: int  # TIFF's code of what the values mean
    planes: bool  # whether the values of a pixel lie apart
    plain: bool  # whether tifffile can inflate it by itself

    @property
    def is_pillows(self) -> bool:
        """True where Pillow reads these values right."""
        if self.directories != self.shape[0]:
            return False
        single, unsigned = self.samples == 1, self.kind == UNSIGNED
        if self.bits == 16 and not single:  # of which Pillow gives the upper 8
            return unsigned and not self.planes and not self.plain
        return {
            8: unsigned,
            16: self.kind != FLOATING,
            32: single and not unsigned,
        }.get(self.bits, self.bits < 16 and unsigned and single)


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as a TIFF does."""
    with path.open("rb") as file:
        return file.read(4) in MARKS


def layout(path: Path) -> Layout:
    """Return the layout of a TIFF file, without reading its values.

    Raises:
        UserError: Too large, or of a kind that isn't supported.
        Exception: Damaged (whatever tifffile raises).
    """
    with opened(path) as file:
        series, page = _only_series(file), file.pages.first
        size = dict(zip(series.axes, series.shape, strict=True))
        shape = (math.prod(size[axis] for axis in _pages(series)), size["Y"], size["X"])
        samples = size.get("S", 1)
        try:
            check_shape((*shape, samples) if samples > 1 else shape, series.dtype.itemsize)
        except UserError as error:
            raise UserError(f"{error}; {IN_TILES}") from None
        photometric = int(page.photometric)
        extra = [int(one) for one in page.extrasamples]
        if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
            known = samples == 1 or (samples == 2 and extra[:1] and extra[0] in ALPHA)
        else:
            known = photometric in COLOURS and samples >= COLOURS[photometric]
        if not known:
            raise UserError(
                f"is unsupported: {samples} values a pixel that are neither grey nor red, green "
                "and blue"
            )
        kind = int(page.sampleformat or UNSIGNED)
        kind = UNSIGNED if kind == 4 else kind  # 4 is undefined, which means unsigned
        bits, planes = int(page.bitspersample), int(page.planarconfig or 1) == IN_PLANES
        plain = int(page.compression) in PLAIN
        return Layout(shape, samples, len(file.pages), bits, kind, photometric, planes, plain)


def decode_tiff(path: Path, found: Layout, frame: int | str | None = None) -> Image:
    """Read a TIFF file of this layout with tifffile; `frame` as of `medcnn.data.formats.decode`."""
    if found.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise UserError(f"is unsupported: a TIFF of {found.bits} bits in a colour space of its own")
    with opened(path) as file:
        series = _only_series(file)
        compression, turn = file.pages.first.compression, file.pages.first.tags.get(ORIENTATION)
        try:
            values = series.asarray()
        except MemoryError:
            raise
        except Exception as error:  # imagecodecs, which tifffile wants for some, is large
            if "imagecodecs" not in str(error):
                raise
            name = getattr(compression, "name", compression)
            raise UserError(
                f"is unsupported: a TIFF of {found.bits} bits compressed by {name}; save it "
                "uncompressed, or pip install 'medcnn[slides]'"
            ) from None
    check_kind(values.dtype)
    axes = [
        series.axes.index(axis) for axis in ("S", *_pages(series), "Y", "X") if axis in series.axes
    ]
    values = values.transpose(axes).reshape(found.samples, *found.shape)
    values = values[: 3 if found.photometric == RGB else 1]  # without transparency
    if len(values) == 3 and found.shape[0] > 1 and frame is None:
        raise UserError(COLOURS_STACKED)
    if frame is not None and found.shape[0] > 1:
        page = pick(found.shape[0], frame, "pictures")
        values = values[:, page : page + 1]
    values = _upright(values, int(turn.value) if turn else 1)
    known = type_range(values)
    if known and found.photometric == WHITE_IS_ZERO:
        known = known[::-1]
    return Image(to_stored(values if values.shape[1] > 1 else values[:, 0]), value_range=known)


def opened(path: Path) -> Any:
    """Open a file, without the others that its notes may name."""
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    return TiffFile(path, is_ome=False, is_mmstack=False, is_ndtiff=False)


def _only_series(file: Any) -> Any:
    """Return the one series that the pages are."""
    if len(file.series) > 1:
        raise UserError(
            f"holds pictures of different sizes: save each in a file of its own; {IN_TILES}"
        )
    return file.series[0]


def _pages(series: Any) -> str:
    """Return the axes along which pages lie; at most one is longer than 1."""
    size = dict(zip(series.axes, series.shape, strict=True))
    pages = "".join(axis for axis in series.axes if axis not in "SYX")
    wide = [str(size[axis]) for axis in pages if size[axis] > 1]
    if len(wide) > 1:
        raise UserError(f"is unsupported: a stack of {' × '.join(wide)} pictures, of several axes")
    return pages


def _upright(values: Array, orientation: int) -> Array:
    """Return values (C, pages, H, W) turned as TIFF's tag says (TIFF 6.0, Orientation)."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(2, 3)
    if orientation in (3, 4, 7, 8):
        values = values[:, :, ::-1]
    if orientation in (2, 3, 6, 7):
        values = values[..., ::-1]
    return np.ascontiguousarray(values)
