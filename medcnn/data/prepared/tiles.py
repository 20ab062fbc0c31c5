"""Where tiles lie: on a grid over a picture, and windows over a volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from medcnn.data.formats.slide import NEAR, Slide
from medcnn.data.image import ImageSpec
from medcnn.data.listing import TILES
from medcnn.errors import UserError, check_whole_number

KEYS = ("tiles", "tile_level", "tile_spacing", "tile_overlap", "tissue")  # of `ImageSpec`
AS_LEVEL = 0.1  # relative difference up to which a level's resolution is the one asked for


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one picture or volume, in its pixels at full resolution (a volume's: as resampled).

    Args:
        shape: (H, W) or (D, H, W) of the whole.
        edge: Of a tile, along the same axes.
        corners: The first pixel of each tile.
        downsample: Such pixels that one of a tile is.
    """

    shape: tuple[int, ...]
    edge: tuple[int, ...]
    corners: tuple[tuple[int, ...], ...]
    downsample: float = 1.0

    def __str__(self) -> str:
        """Return a digest, as there may be thousands of tiles."""
        return f"tiles {sha256(repr(self).encode()).hexdigest()}"

    @property
    def facts(self) -> dict[str, Any]:
        """What `grid_in` makes the grid of again."""
        axes = zip(*self.corners, strict=True)
        return {
            "tile_grid": [*self.shape, *self.edge],
            "tile_downsample": self.downsample,
            **{name: list(axis) for name, axis in zip(names_of(self.shape), axes, strict=True)},
        }


def names_of(shape: Sequence[int]) -> tuple[str, ...]:
    """Return the columns of corners in a picture or a volume."""
    return TILES[-len(shape) :]


FACTS = ("tile_grid", "tile_downsample", *TILES)


def grid_in(facts: Mapping[str, Any]) -> TileGrid | None:
    """Return the grid in the facts of a file; None of one that isn't cut into tiles."""
    if "tile_grid" not in facts:
        return None
    numbers = facts["tile_grid"]
    shape, edge = tuple(numbers[: len(numbers) // 2]), tuple(numbers[len(numbers) // 2 :])
    corners = zip(*(facts[name] for name in names_of(shape)), strict=True)
    return TileGrid(shape, edge, tuple(corners), facts["tile_downsample"])


class Tile(NamedTuple):
    """One tile of a grid, in pixels at full resolution; see `TileGrid`."""

    corner: tuple[int, ...]
    edge: tuple[int, ...]
    downsample: float


def tile_in(facts: Mapping[str, Any], number: int) -> Tile | None:
    """Return one tile in the facts of a file, without those of all others; None as `grid_in`."""
    if "tile_grid" not in facts:
        return None
    numbers = facts["tile_grid"]
    shape, edge = numbers[: len(numbers) // 2], tuple(numbers[len(numbers) // 2 :])
    corner = tuple(facts[name][number] for name in names_of(shape))
    return Tile(corner, edge, facts["tile_downsample"])


def check_tiles(spec: ImageSpec) -> None:
    """Raise UserError unless the keys of a spec that have to do with tiles can be."""
    given = {key: value for key in KEYS[1:] if (value := getattr(spec, key)) not in (None, 0)}
    if spec.tiles is None:
        if given:
            key, value = next(iter(given.items()))
            raise UserError(f"dataset.{key}={value} goes with dataset.tiles, such as 224")
        return
    for length in spec.tiles:
        check_whole_number("dataset.tiles", length, least=1)
    check_whole_number("dataset.tile_level", spec.tile_level, least=0)
    _check_share("tile_overlap", spec.tile_overlap, "below 1", 0 <= _number(spec.tile_overlap) < 1)
    if spec.tissue is not None:
        _check_share("tissue", spec.tissue, "above 0, or null", 0 < _number(spec.tissue) <= 1)
    spacing = spec.tile_spacing
    if spacing is not None and not 0 < _number(spacing) < np.inf:
        raise UserError(f"dataset.tile_spacing={spacing}: give µm a pixel, such as 0.5, or null")
    if spacing is not None and spec.tile_level:
        raise UserError("dataset.tile_spacing and dataset.tile_level choose a level each: give one")
    if spec.crop != "none" or spec.slices is not None:
        other = f"slices={spec.slices}" if spec.crop == "none" else f"crop={spec.crop}"
        raise UserError(f"dataset.{other} goes without dataset.tiles, which cut the whole image")
    if spec.columns:
        raise UserError(
            f"dataset.columns.image={list(spec.columns)} goes without dataset.tiles, which cut one "
            "file an image"
        )
    if spec.mask_as != "none":
        raise UserError(f"dataset.mask_as={spec.mask_as} goes without dataset.tiles")
    if spec.spatial_dims == 2 and spec.spacing is not None:
        raise UserError(
            "dataset.spacing goes without dataset.tiles of pictures: dataset.tile_spacing says µm "
            "a pixel"
        )
    of_pictures = [key for key in ("tile_level", "tile_spacing", "tissue") if key in given]
    if spec.spatial_dims == 3 and of_pictures:
        key = of_pictures[0]
        raise UserError(
            f"dataset.{key}={given[key]} goes with pictures, and dataset.spatial_dims=3 cuts "
            "volumes into windows"
        )


def _number(value: Any) -> float:
    """Return a number; NaN, which no comparison holds for, in place of anything else."""
    return float("nan") if isinstance(value, bool) or not isinstance(value, int | float) else value


def _check_share(key: str, value: Any, bound: str, fine: bool) -> None:
    if not fine:
        raise UserError(f"dataset.{key}={value}: give a share {bound}, such as 0.5")


def starts(length: int, edge: int, overlap: float) -> list[int]:
    """Return where tiles begin along an axis: the last one ends with the axis.

    >>> starts(10, 4, 0.0), starts(8, 4, 0.5)
    ([0, 4, 6], [0, 2, 4])
    """
    step = max(1, round(edge * (1 - overlap)))
    begins = [*range(0, length - edge + 1, step)]
    return begins if begins[-1] == length - edge else [*begins, length - edge]


def grid_over(
    shape: Sequence[int], edge: Sequence[int], overlap: float, downsample: float = 1.0
) -> TileGrid:
    """Return the grid of all tiles, row by row.

    Args:
        shape: Of the whole, at full resolution.
        edge: Of a tile, in pixels of the resolution that it is seen at.
        overlap: Of neighbours, as a share of their edge.
        downsample: Pixels of the full resolution that one of the other is.

    Raises:
        UserError: A tile is larger than the whole.
    """
    seen = [int(length / downsample * (1 + NEAR)) for length in shape]
    if any(own > whole for own, whole in zip(edge, seen, strict=True)):
        raise UserError(
            f"is {_times(seen)} {'pixels there' if len(seen) == 2 else 'voxels'}, less than "
            f"dataset.tiles={list(edge)}"
        )
    axes = [starts(whole, own, overlap) for whole, own in zip(seen, edge, strict=True)]
    corners = [tuple(round(start * downsample) for start in corner) for corner in product(*axes)]
    wide = tuple(min(round(own * downsample), most) for own, most in zip(edge, shape, strict=True))
    return TileGrid(tuple(shape), wide, tuple(corners), downsample)


def downsample_of(slide: Slide, spec: ImageSpec) -> float:
    """Return the pixels at full resolution that one of a tile is, as `spec` asks for.

    A level within `AS_LEVEL` of the spacing is taken as it is; else the next finer one is reduced.

    Raises:
        UserError: The slide has no such level, or doesn't say its resolution.
    """
    if spec.tile_spacing is None:
        if spec.tile_level >= len(slide.levels):
            raise UserError(
                f"has no level {spec.tile_level} (dataset.tile_level), only 0 … "
                f"{len(slide.levels) - 1}"
            )
        return slide.levels[spec.tile_level].downsample
    if slide.spacing is None:
        raise UserError(
            "doesn't say its resolution, which dataset.tile_spacing asks for: dataset.tile_level "
            "takes a level by its number"
        )
    wanted = spec.tile_spacing / slide.spacing
    ratios = [level.downsample for level in slide.levels]
    nearest = min(ratios, key=lambda ratio: abs(ratio / wanted - 1))
    if abs(nearest / wanted - 1) <= AS_LEVEL:
        return nearest
    if wanted < 1:
        raise UserError(
            f"has no level at {spec.tile_spacing:g} µm a pixel (dataset.tile_spacing): its finest "
            f"has {slide.spacing:.3g}"
        )
    return wanted


def _times(lengths: Sequence[int]) -> str:
    return "×".join(map(str, lengths))
