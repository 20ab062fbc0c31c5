"""The tiles of one file as network inputs: read one by one, so that memory stays bounded."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from medcnn.data.formats import decode, in_our_words, open_slide
from medcnn.data.formats.slide import Slide
from medcnn.data.image import Array, Crop, Image, ImageSpec
from medcnn.data.prepared.crop import Marked
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.geometry import own_size, prepare, prepare_mask
from medcnn.data.prepared.intensity import percentiles
from medcnn.data.prepared.one_file import plain, prepare_image
from medcnn.data.prepared.spool import Spool
from medcnn.data.prepared.tiles import TileGrid, downsample_of, grid_over
from medcnn.data.prepared.tissue import with_tissue
from medcnn.errors import UserError

COUNTED = 2**22  # values of a picture's tiles that percentiles are of, at most
MICROMETRES = 1000.0  # in a mm


def read_tiles(
    path: Path,
    spec: ImageSpec,
    kind: str = "image",
    place: Marked | Crop | TileGrid | None = None,
    folder: Path | None = None,
) -> tuple[Spool | None, Facts]:
    """Return the tiles of a file, and facts, as of `medcnn.data.prepared.one_file.read_file`.

    Args:
        path: A picture, or with three dimensions a volume.
        spec: With `ImageSpec.tiles`.
        kind: ``image`` or ``mask``.
        place: Of a mask the grid of its image; of an image nothing.
        folder: Where tiles lie until they are taken over; None for the system's temporary one.

    Returns:
        The tiles; of a mask of another size than its image None. Facts as there, but that
        ``percentiles`` are of some of the values; and those of `TileGrid.facts`.

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    if spec.spatial_dims == 3:
        image = decode(path, allow_missing_geometry=spec.allow_missing_geometry, frame=spec.frame)
        if kind == "image":
            return windows_of(image, spec, folder)
        whole = {"shape": list(image.values.shape[1:]), "affine": plain(image.affine)}
        return _masks_of(_whole_mask(image, spec), spec, place, folder), whole
    with in_our_words(path), open_slide(path, spec.frame) as slide:
        if kind == "image":
            return tiles_of(slide, spec, folder)
        return _masks_of(slide, spec, place, folder), {"shape": list(slide.shape), "affine": None}


def tiles_of(slide: Slide, spec: ImageSpec, folder: Path | None = None) -> tuple[Spool, Facts]:
    """Return what `read_tiles` does, of a picture."""
    downsample = downsample_of(slide, spec)
    grid = grid_over(slide.shape, spec.tiles or (), spec.tile_overlap, downsample)
    if spec.tissue is not None:
        grid = with_tissue(slide, grid, spec.tissue)
    tiles = (tile_of(slide, grid, k) for k in range(len(grid.corners)))
    spool, facts = _spooled(tiles, len(grid.corners), of_tile(spec, slide.channels), folder)
    spacing = None if slide.spacing is None else [slide.spacing / MICROMETRES] * 2
    return spool, {
        **facts,
        **grid.facts,
        "shape": list(slide.shape),
        "channels": slide.channels,
        "spacing": spacing,
        "affine": None,
        "modality": slide.modality,
        "value_range": plain(slide.value_range),
        "window": plain(slide.window),
        "notes": list(slide.notes),
    }


def windows_of(image: Image, spec: ImageSpec, folder: Path | None = None) -> tuple[Spool, Facts]:
    """Return what `read_tiles` does, of a volume, resampled as a whole to `ImageSpec.spacing`."""
    (whole,), facts = prepare_image(image, _of_whole(image, spec))
    grid = grid_over(whole.shape[1:], spec.tiles or (), spec.tile_overlap)
    windows = (Image(_window(whole, grid, k)) for k in range(len(grid.corners)))
    spool, own = _spooled(windows, len(grid.corners), of_tile(spec, len(whole)), folder)
    return spool, {**own, **facts, "digests": own["digests"], **grid.facts}


def tile_of(slide: Slide, grid: TileGrid, number: int) -> Image:
    """Return one tile of a picture, in pixels of the level that it is taken from."""
    (row, column), (height, width) = grid.corners[number], grid.edge
    values = slide.region((row, column), (height, width), grid.downsample)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError("holds NaN or infinite values")
    return Image(values, value_range=slide.value_range)


def read_tile(path: Path, spec: ImageSpec, grid: TileGrid, number: int) -> Image:
    """Return one tile of a file as `prepare` gets it, in the file's own values; for pictures of it.

    Raises:
        UserError: As of `read_tiles`.
    """
    if spec.spatial_dims == 3:
        image = decode(path, allow_missing_geometry=spec.allow_missing_geometry, frame=spec.frame)
        (whole,) = prepare(image, _of_whole(image, spec))
        return Image(_window(whole, grid, number), spacing=spec.spacing)
    with in_our_words(path), open_slide(path, spec.frame) as slide:
        return tile_of(slide, grid, number)


def of_tile(spec: ImageSpec, channels: int | None = None) -> ImageSpec:
    """Return the spec by which a tile, taken by itself, becomes an input.

    It gets `channels`, those of the whole file, where the spec leaves them open.
    """
    return ImageSpec(
        size=spec.size,
        channels=spec.channels or channels,
        allow_missing_geometry=True,
        intensity=spec.intensity,
    )


def _of_whole(image: Image, spec: ImageSpec) -> ImageSpec:
    """Return the spec by which a volume is resampled as a whole, its size its own."""
    whole = replace(spec, tiles=None, tile_overlap=0.0)
    return replace(whole, size=own_size(image, whole))


def _window(whole: Array, grid: TileGrid, number: int) -> Array:
    """Return one window (C, *grid.edge) of an image (C, *grid.shape)."""
    at = zip(grid.corners[number], grid.edge, strict=True)
    return whole[(slice(None), *(slice(start, start + length) for start, length in at))]


def _spooled(
    tiles: Iterator[Image], count: int, spec: ImageSpec, folder: Path | None
) -> tuple[Spool, Facts]:
    """Return tiles as inputs, and the facts that follow from their values."""
    spool, digests, taken = Spool(folder), [], []
    low, high, dtype = np.inf, -np.inf, ""
    for tile in tiles:
        low, high = min(low, tile.values.min()), max(high, tile.values.max())
        dtype = str(tile.values.dtype)
        (made,) = prepare(tile, spec)
        spool.append(made)
        flat = np.ascontiguousarray(made)
        constant = flat.min() == flat.max()
        digests.append(None if constant else sha256(flat.data).hexdigest())
        taken.append(flat.ravel()[:: max(1, flat.size * count // COUNTED)].copy())
    return spool, {
        "dtype": dtype,
        "extremes": [float(low), float(high)],
        "percentiles": list(percentiles(np.concatenate(taken))),
        "digests": digests,
    }


def _whole_mask(mask: Image, spec: ImageSpec) -> Array:
    """Return the mask (1, D, H, W) of a volume that `windows_of` cuts."""
    return prepare_mask(mask, _of_whole(mask, spec)).astype(np.uint8)


def _masks_of(
    whole: Slide | Array,
    spec: ImageSpec,
    place: Marked | Crop | TileGrid | None,
    folder: Path | None,
) -> Spool | None:
    """Return the masks of the tiles of a grid, one for each."""
    shape = whole.shape[-spec.spatial_dims :]
    if not isinstance(place, TileGrid) or tuple(shape) != place.shape:
        return None  # it isn't that of the image, as its size tells
    spool, own = Spool(folder), replace(of_tile(spec), channels=1)
    for number in range(len(place.corners)):
        if isinstance(whole, Slide):
            tile = tile_of(whole, place, number)
        else:
            tile = Image(_window(whole, place, number))
        spool.append(prepare_mask(tile, own)[0].astype(np.uint8))
    return spool
