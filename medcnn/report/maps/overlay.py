"""An image with its class activation map over it, and a bar of its colours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke

from medcnn.data.prepared.geometry import LUMA
from medcnn.report.figure_files import Sheet, draw_outline, save_figure
from medcnn.report.maps.item import GalleryItem, Panel, panel
from medcnn.report.maps.scale import Scale, colours, is_signed, meaning

GAP, SIDE = 0.12, 3.4  # inches, as all lengths here: between things, and the width of a picture
CAPTION, FOOTER = 0.77, 0.62
OUTLINE = "#56e0e0"
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="black")]


def overlay(item: GalleryItem, out: Path, *, scale: Scale = "own") -> None:
    """Draw one image, and beside it the same with its map, over a bar of its colours.

    An image in colour is grey below the map, so that all colour there is the map's. The outline of
    the true lesion is drawn where it is known. An empty map isn't painted but labelled. Of a volume
    the axial slice through the map's maximum is shown. Pixels are as wide and as high as
    `GalleryItem.spacing` says.

    Args:
        item: The image.
        out: The PNG file to write.
        scale: The span of the colours: "own" from 0 to the map's own maximum, values below zero
            unpainted; "signed" as far below zero as above, up to the map's own largest absolute
            value; or the same raw values (low, high) in every picture, low being -high for signed
            maps and otherwise not below zero.

    Raises:
        UserError: A scale of another kind, or an image, map and mask that differ in shape.
    """
    shown = panel(item, scale)
    tall = SIDE * min(max(shown.ratio, 0.4), 2.5)
    sheet = Sheet(2 * SIDE + 3 * GAP, CAPTION + tall + FOOTER)
    draw_image(sheet.axes(GAP, FOOTER, SIDE, tall), shown)
    draw_overlay(sheet.axes(SIDE + 2 * GAP, FOOTER, SIDE, tall), shown, scale)
    draw_caption(sheet, item, shown.note)
    draw_bar(sheet, shown.bounds, scale)
    save_figure(sheet.figure, out)


def draw_image(axes: Axes, shown: Panel) -> None:
    """Draw the image, with the outline of its lesion."""
    axes.set_axis_off()
    axes.imshow(shown.image, cmap="gray", vmin=0, vmax=1, aspect=shown.aspect)
    if shown.mask is not None and shown.mask.any():
        edge = draw_outline(axes, shown.mask, colors=OUTLINE, linewidths=1.4)
        edge.set_path_effects(HALO)
        height, width = shown.mask.shape
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)


def draw_overlay(axes: Axes, shown: Panel, scale: Scale) -> None:
    """Draw the image in grey, its map, and the outline of its lesion."""
    grey = shown.image if shown.image.ndim == 2 else shown.image @ np.array(LUMA)
    draw_image(axes, replace(shown, image=grey))
    if shown.bounds is None:
        box = {"facecolor": "white", "edgecolor": "black", "boxstyle": "round"}
        style: dict[str, Any] = {"ha": "center", "va": "center", "bbox": box}
        axes.text(0.5, 0.5, "empty map", transform=axes.transAxes, **style)
        return
    low, high = shown.bounds
    axes.imshow(shown.map, cmap=colours(is_signed(scale)), vmin=low, vmax=high, aspect=shown.aspect)


def draw_caption(
    sheet: Sheet,
    shown: GalleryItem | Panel,
    note: str,
    corner: tuple[float, float] | None = None,
    width: float | None = None,
    fontsize: int = 10,
) -> None:
    """Write the captions of an image left, a note right, and below it "wrong" where it is.

    Without a `corner` (the upper left one) and a `width` they take those of the sheet.
    """
    x, top = corner or (GAP, sheet.size[1])
    right, line = x + (width or sheet.size[0] - 2 * GAP), 0.02 * (fontsize + 1)
    style: dict[str, Any] = {"fontsize": fontsize, "va": "top"}
    for k, words in enumerate(shown.captions):
        sheet.text(x, top - 0.08 - line * k, words, **style)
    style["ha"] = "right"
    sheet.text(right, top - 0.08 - line, note, color="#555555", **style)
    if shown.wrong:
        sheet.text(right, top - 0.08 - 2 * line, "wrong", weight="bold", **style)


def draw_bar(sheet: Sheet, bounds: tuple[float, float] | None, scale: Scale) -> None:
    """Draw the bar of colours at the foot of a sheet, and write what they mean."""
    x, y, width = GAP, 0.32, 2.2
    style = {"fontsize": 9, "va": "center"}
    if bounds is None:
        sheet.text(x, y + 0.08, "Nothing is painted: the map holds no evidence to show.", **style)
        return
    bar = colour_bar(sheet, (x, y), width, scale)
    low, high = (float(np.sign(b)) for b in bounds) if isinstance(scale, str) else bounds
    bar.set_xticks([0, 128, 256], [f"{v:.3g}" for v in (low, (low + high) / 2, high)], fontsize=8)
    bar.get_xticklabels()[0].set_horizontalalignment("left")
    bar.get_xticklabels()[-1].set_horizontalalignment("right")
    for k, line in enumerate(meaning(bounds, scale)):
        sheet.text(x + width + GAP, y + 0.14 - 0.2 * k, line, **style)


def colour_bar(sheet: Sheet, corner: tuple[float, float], width: float, scale: Scale) -> Axes:
    """Draw the colours of a scale over grey, from low to high; without words."""
    bar = sheet.axes(*corner, width, 0.16)
    bar.set_facecolor("0.5")
    bar.imshow(np.linspace(0, 1, 257)[None], cmap=colours(is_signed(scale)), aspect="auto")
    bar.set_xticks([])
    bar.set_yticks([])
    return bar
