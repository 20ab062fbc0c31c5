"""Maps of volumes: three planes through the maximum, and a mosaic of slices."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from medcnn.errors import UserError, check_whole_number
from medcnn.report.cam_overlay import (
    BAR,
    CAPTION,
    FOOTER,
    GAP,
    HALO,
    GalleryItem,
    Panel,
    Sheet,
    check_shapes,
    draw_bar,
    draw_caption,
    draw_image,
    draw_overlay,
)
from medcnn.report.cam_scale import Array, Scale, peak, span

PLANES = ("axial", "coronal", "sagittal")  # across head to foot, front to back, side to side
THIN_HALO = [withStroke(linewidth=1.8, foreground="black")]
WIDTH, TALLEST, TITLE = 10.0, 5.0, 0.25  # inches


class View(NamedTuple):
    """How slices across one axis of a volume are shown.

    Args:
        across: The axis.
        name: Of the plane.
        rows: The axis that runs down the picture.
        columns: The axis that runs to the right.
        up: Whether the rows are turned, so that their index grows upwards.
        back: Whether the columns are turned, so that their index grows to the left.
        ends: What lies at the top and at the left: S, A or R of the patient; empty if unknown.
    """

    across: int
    name: str
    rows: int
    columns: int
    up: bool = False
    back: bool = False
    ends: tuple[str, str] = ("", "")

    def cut(self, volume: Array, index: int) -> Array:
        """One slice of a volume (D, H, W)."""
        flat = volume.take(index, self.across)
        flat = flat if self.rows < self.columns else flat.swapaxes(0, 1)
        flat = flat[::-1] if self.up else flat
        return flat[:, ::-1] if self.back else flat

    def place(self, index: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
        """Row and column in the picture of a voxel of a volume of this shape."""
        row, column = index[self.rows], index[self.columns]
        row = shape[self.rows] - 1 - row if self.up else row
        return row, shape[self.columns] - 1 - column if self.back else column


def views(orientation: str | None) -> list[View]:
    """How slices across each axis are shown: the head or the front at the top, the right at left.

    Args:
        orientation: The directions in which the three axes run, as of
            `medcnn.data.image.ImageSpec`; None where the volume doesn't say how it lies.

    >>> [view.name for view in views("SPL")]
    ['axial', 'coronal', 'sagittal']
    """
    letters = orientation or "SPL"
    kinds = ["SIAPRL".index(letter) // 2 for letter in letters]
    planes = []
    for across in range(3):
        rest = (axis for axis in range(3) if axis != across)
        rows, columns = sorted(rest, key=lambda axis: kinds[axis])
        name, ends = PLANES[kinds[across]], ("SAR"[kinds[rows]], "SAR"[kinds[columns]])
        if orientation is None:
            planes.append(View(across, f"across axis {across + 1}", rows, columns))
            continue
        up, back = (letters[axis] in "SAR" for axis in (rows, columns))
        planes.append(View(across, name, rows, columns, up, back, ends))
    return planes


def draw_planes(
    item: GalleryItem,
    out: Path,
    *,
    scale: Scale = "own",
    spacing: Sequence[float] | None = None,
    orientation: str | None = "SPL",
) -> None:
    """Draws the three planes through a map's maximum, above the image alone, below with the map.

    Thin lines lead to the maximum; all planes are drawn in one scale of mm. Of an empty map the
    middle is shown.

    Args:
        item: A volume.
        out: The PNG file to write.
        scale: As of `medcnn.report.cam_overlay.overlay`.
        spacing: Distance of voxels along D, H and W; None for the same along all.
        orientation: The directions in which D, H and W run; None where unknown.

    Raises:
        UserError: No volume, a spacing that isn't three numbers above zero, or as of `overlay`.
    """
    steps = _check(item, spacing)
    bounds, shape, planes = span(item.map, scale), item.map.shape, views(orientation)
    at = peak(item.map, scale)
    sides = [(shape[v.rows] * steps[v.rows], shape[v.columns] * steps[v.columns]) for v in planes]
    wide, tall = sum(width for _, width in sides), max(height for height, _ in sides)
    inch = min((WIDTH - 4 * GAP) / wide, TALLEST / tall)  # inches a mm
    sheet = Sheet.of(WIDTH, CAPTION + TITLE + 2 * inch * tall + GAP + FOOTER)
    x, bottom = (WIDTH - 2 * GAP - inch * wide) / 2, FOOTER + inch * tall
    for view, (height, width) in zip(planes, sides, strict=True):
        shown = _panel(item, view, at[view.across], bounds)
        aspect = steps[view.rows] / steps[view.columns]
        size = (inch * width, inch * height)
        upper = sheet.axes(x, bottom + GAP, *size)
        lower = sheet.axes(x, bottom - size[1], *size)
        draw_image(upper, shown, aspect)
        draw_overlay(lower, shown, scale, aspect)
        for axes in (upper, lower):
            _cross(axes, view.place(at, shape), shown.map.shape, aspect)
            _ends(axes, view.ends)
        title = f"{view.name}, {shown.note}"
        sheet.text(x, bottom + GAP + size[1] + 0.06, title, fontsize=9)
        x += size[0] + GAP
    draw_caption(sheet, item, "through the map's maximum" if bounds else "through the middle")
    draw_bar(sheet, BAR, bounds, scale)
    sheet.save(out)


def draw_mosaic(
    item: GalleryItem,
    out: Path,
    *,
    scale: Scale = "own",
    spacing: Sequence[float] | None = None,
    orientation: str | None = "SPL",
    slices: int = 25,
) -> None:
    """Draws axial slices with their map, evenly spaced from the first to the last.

    Args:
        item: A volume.
        out: The PNG file to write.
        scale: As of `medcnn.report.cam_overlay.overlay`.
        spacing: Distance of voxels along D, H and W; None for the same along all.
        orientation: The directions in which D, H and W run; None where unknown, then slices of D.
        slices: How many at most.

    Raises:
        UserError: As of `draw_planes`, or fewer slices than one.
    """
    check_whole_number("slices", slices, least=1)
    steps, bounds = _check(item, spacing), span(item.map, scale)
    view = next((v for v in views(orientation) if v.name == "axial"), views(None)[0])
    depth = item.map.shape[view.across]
    chosen = np.unique(np.linspace(0, depth - 1, min(slices, depth)).round().astype(int))
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    width = (WIDTH - (columns + 1) * GAP) / columns
    aspect = steps[view.rows] / steps[view.columns]
    height = width * item.map.shape[view.rows] * aspect / item.map.shape[view.columns]
    height = min(height, 2 * width)
    sheet = Sheet.of(WIDTH, CAPTION + rows * (height + TITLE) + FOOTER)
    for k, index in enumerate(chosen):
        row, column = divmod(k, columns)
        x, y = GAP + column * (width + GAP), sheet.size[1] - CAPTION - (row + 1) * (height + TITLE)
        shown = _panel(item, view, int(index), bounds)
        axes = sheet.axes(x, y + 0.04, width, height)
        draw_overlay(axes, shown, scale, aspect)
        _ends(axes, view.ends)
        sheet.text(x, y + height + 0.08, shown.note, fontsize=8)
    draw_caption(sheet, item, view.name)
    draw_bar(sheet, BAR, bounds, scale)
    sheet.save(out)


def _check(item: GalleryItem, spacing: Sequence[float] | None) -> Sequence[float]:
    """The spacing, of which only the ratios count."""
    check_shapes(item)
    if item.map.ndim != 3:
        raise UserError(f"planes and slices are of volumes, not of a map {item.map.shape}")
    if spacing is not None and (len(spacing) != 3 or not min(spacing) > 0):
        raise UserError(f"spacing={list(spacing)}: give 3 numbers above 0")
    return spacing or (1.0, 1.0, 1.0)


def _panel(item: GalleryItem, view: View, index: int, bounds: tuple[float, float] | None) -> Panel:
    """One slice of an item."""
    image, map_ = view.cut(item.image, index), view.cut(item.map, index)
    mask = None if item.mask is None else view.cut(item.mask, index)
    return Panel(image, map_, mask, bounds, f"slice {index + 1} of {item.map.shape[view.across]}")


def _cross(axes: Axes, place: tuple[int, int], shape: tuple[int, ...], aspect: float) -> None:
    """Lines from the edges of a picture to a place in it, which is left free."""
    row, column = place
    free = max(shape[0] * aspect, shape[1]) / 16  # columns
    style: dict[str, Any] = {"color": "white", "linewidth": 0.8, "path_effects": THIN_HALO}
    for low, high in ((-0.5, column - free), (column + free, shape[1] - 0.5)):
        if low < high:
            axes.plot([low, high], [row, row], **style)
    for low, high in ((-0.5, row - free / aspect), (row + free / aspect, shape[0] - 0.5)):
        if low < high:
            axes.plot([column, column], [low, high], **style)


def _ends(axes: Axes, ends: tuple[str, str]) -> None:
    """Letters of the patient's sides at the top and at the left."""
    style: dict[str, Any] = {"color": "white", "fontsize": 8, "path_effects": HALO}
    axes.text(0.5, 0.98, ends[0], transform=axes.transAxes, va="top", ha="center", **style)
    axes.text(0.02, 0.5, ends[1], transform=axes.transAxes, va="center", ha="left", **style)
