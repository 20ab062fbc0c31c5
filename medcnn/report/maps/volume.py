"""Maps of volumes: three planes through the maximum, and a mosaic of slices."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from medcnn.report.figure_files import Sheet, save_figure
from medcnn.report.maps import overlay
from medcnn.report.maps.item import GalleryItem, slice_panel
from medcnn.report.maps.overlay import CAPTION, FOOTER, GAP
from medcnn.report.maps.scale import Scale, peak, span
from medcnn.report.maps.views import main_view, views

THIN_HALO = [withStroke(linewidth=1.8, foreground="black")]
WIDTH, TALLEST, TITLE = 10.0, 5.0, 0.25  # inches
SLICES = 25  # of a mosaic


def draw_planes(item: GalleryItem, out: Path, *, scale: Scale = "own") -> None:
    """Draw the three planes through a map's maximum, above the image alone, below with the map.

    Thin lines lead to the maximum; all planes are drawn in one scale of mm. Of an empty map the
    middle is shown.

    Args:
        item: A volume.
        out: The PNG file to write.
        scale: As of `medcnn.report.maps.overlay.overlay`.

    Raises:
        UserError: A spacing that isn't three numbers above zero, or as of `overlay`.
    """
    item.check()
    bounds, shape, planes = span(item.map, scale), item.map.shape, views(item.orientation)
    steps, at = item.steps, peak(item.map, scale)
    sides = [(shape[v.rows] * steps[v.rows], shape[v.columns] * steps[v.columns]) for v in planes]
    wide, tall = sum(width for _, width in sides), max(height for height, _ in sides)
    inch = min((WIDTH - 4 * GAP) / wide, TALLEST / tall)  # inches a mm
    sheet = Sheet(WIDTH, CAPTION + TITLE + 2 * inch * tall + GAP + FOOTER)
    x, bottom = (WIDTH - 2 * GAP - inch * wide) / 2, FOOTER + inch * tall
    for view, (height, width) in zip(planes, sides, strict=True):
        shown = slice_panel(item, view, at[view.across], bounds)
        size = (inch * width, inch * height)
        upper = sheet.axes(x, bottom + GAP, *size)
        lower = sheet.axes(x, bottom - size[1], *size)
        overlay.draw_image(upper, shown)
        overlay.draw_overlay(lower, shown, scale)
        for axes in (upper, lower):
            _cross(axes, view.place(at, shape), shown.map.shape, shown.aspect)
            _ends(axes, view.ends)
        title = f"{view.name}, {shown.note}"
        sheet.text(x, bottom + GAP + size[1] + 0.06, title, fontsize=9)
        x += size[0] + GAP
    where = "through the map's maximum" if bounds else "through the middle"
    overlay.draw_caption(sheet, item, where)
    overlay.draw_bar(sheet, bounds, scale)
    save_figure(sheet.figure, out)


def draw_mosaic(item: GalleryItem, out: Path, *, scale: Scale = "own") -> None:
    """Draw at most `SLICES` axial slices with their map, evenly from the first to the last.

    Of a volume that doesn't say how it lies slices across its first axis. Arguments and errors are
    those of `draw_planes`.
    """
    item.check()
    steps, bounds, view = item.steps, span(item.map, scale), main_view(item.orientation)
    depth = item.map.shape[view.across]
    chosen = np.unique(np.linspace(0, depth - 1, min(SLICES, depth)).round().astype(int))
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    width = (WIDTH - (columns + 1) * GAP) / columns
    aspect = steps[view.rows] / steps[view.columns]
    height = width * item.map.shape[view.rows] * aspect / item.map.shape[view.columns]
    height = min(height, 2 * width)
    sheet = Sheet(WIDTH, CAPTION + rows * (height + TITLE) + FOOTER)
    for k, index in enumerate(chosen):
        row, column = divmod(k, columns)
        x, y = GAP + column * (width + GAP), sheet.size[1] - CAPTION - (row + 1) * (height + TITLE)
        shown = slice_panel(item, view, int(index), bounds)
        axes = sheet.axes(x, y + 0.04, width, height)
        overlay.draw_overlay(axes, shown, scale)
        _ends(axes, view.ends)
        sheet.text(x, y + height + 0.08, shown.note, fontsize=8)
    overlay.draw_caption(sheet, item, view.name)
    overlay.draw_bar(sheet, bounds, scale)
    save_figure(sheet.figure, out)


def _cross(axes: Axes, place: tuple[int, int], shape: tuple[int, ...], aspect: float) -> None:
    """Draw lines from the edges of a picture to a place in it, which is left free."""
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
    """Write letters of the patient's sides at the top and at the left."""
    style: dict[str, Any] = {"color": "white", "fontsize": 8, "path_effects": overlay.HALO}
    axes.text(0.5, 0.98, ends[0], transform=axes.transAxes, va="top", ha="center", **style)
    axes.text(0.02, 0.5, ends[1], transform=axes.transAxes, va="center", ha="left", **style)
