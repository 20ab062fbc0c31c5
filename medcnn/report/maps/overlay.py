"""An image with its class activation map over it, and what its colours mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from medcnn.data.prepared.geometry import LUMA
from medcnn.report.figure_files import save_figure
from medcnn.report.maps.item import GalleryItem, Panel, panel
from medcnn.report.maps.scale import Array, Scale, colours, is_signed, meaning

DPI = 100
GAP, SIDE = 0.12, 3.4  # inches, as all lengths here: between things, and the width of a picture
CAPTION, FOOTER, BAR = 0.77, 0.62, (GAP, 0.32, 2.2)  # the last: left and lower edge, width
OUTLINE = "#56e0e0"
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="black")]


def overlay(item: GalleryItem, out: Path, *, scale: Scale = "own") -> None:
    """Draws one image, and beside it the same with its map, over a bar of its colours.

    An image in colour is grey below the map, so that all colour there is the map's. The outline of
    the true lesion is drawn where it is known. An empty map isn't painted but labelled. Of a volume
    the axial slice through the map's maximum is shown. Pixels are as wide and as high as
    `GalleryItem.spacing` says.

    Args:
        item: The image.
        out: The PNG file to write.
        scale: What the colours span: "own" from 0 to the map's own maximum, what lies below zero
            unpainted; "signed" as far below zero as above, up to the map's own largest absolute
            value; or the same raw values (low, high) in every picture, low being -high for signed
            maps and otherwise not below zero.

    Raises:
        UserError: A scale of another kind, or an image, map and mask that differ in shape.
    """
    shown = panel(item, scale)
    tall = SIDE * min(max(shown.ratio, 0.4), 2.5)
    sheet = Sheet.of(2 * SIDE + 3 * GAP, CAPTION + tall + FOOTER)
    draw_image(sheet.axes(GAP, FOOTER, SIDE, tall), shown)
    draw_overlay(sheet.axes(SIDE + 2 * GAP, FOOTER, SIDE, tall), shown, scale)
    draw_caption(sheet, item, shown.note)
    draw_bar(sheet, BAR, shown.bounds, scale)
    sheet.save(out)


@dataclass
class Sheet:
    """A figure on which axes are placed in inches from the lower left corner."""

    figure: Figure
    size: tuple[float, float]

    @classmethod
    def of(cls, width: float, height: float) -> Self:
        """An empty one, white."""
        size = (width, height)
        return cls(Figure(figsize=size, dpi=DPI, facecolor="white"), size)

    def save(self, out: Path) -> None:
        """Writes the PNG file."""
        save_figure(self.figure, out)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes with this lower left corner."""
        w, h = self.size
        return self.figure.add_axes((x / w, y / h, width / w, height / h))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text as it is, whatever signs it has."""
        self.figure.text(x / self.size[0], y / self.size[1], text, parse_math=False, **style)


def draw_image(axes: Axes, shown: Panel) -> None:
    """Draws the image, with the outline of its lesion."""
    axes.set_axis_off()
    show: dict[str, Any] = {
        "cmap": "gray",
        "vmin": 0,
        "vmax": 1,
        "interpolation": "antialiased",
        "aspect": shown.aspect,
    }
    axes.imshow(shown.image, **show)
    if shown.mask is not None and shown.mask.any():
        _outline(axes, shown.mask)


def draw_overlay(axes: Axes, shown: Panel, scale: Scale) -> None:
    """Draws the image in grey, its map, and the outline of its lesion."""
    grey = shown.image if shown.image.ndim == 2 else shown.image @ np.array(LUMA)
    draw_image(axes, replace(shown, image=grey))
    if shown.bounds is None:
        box = {"facecolor": "white", "edgecolor": "black", "boxstyle": "round"}
        style: dict[str, Any] = {"ha": "center", "va": "center", "bbox": box}
        axes.text(0.5, 0.5, "empty map", transform=axes.transAxes, **style)
        return
    low, high = shown.bounds
    show: dict[str, Any] = {"vmin": low, "vmax": high, "interpolation": "antialiased"}
    axes.imshow(shown.map, cmap=colours(is_signed(scale)), aspect=shown.aspect, **show)


def _outline(axes: Axes, mask: Array) -> None:
    """The border of the mask, closed where it touches the edge of the image."""
    padded = np.pad(mask.astype(float), 1)
    height, width = mask.shape
    x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
    contour = axes.contour(x, y, padded, levels=[0.5], colors=OUTLINE, linewidths=1.4)
    contour.set_path_effects(HALO)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def draw_caption(sheet: Sheet, item: GalleryItem, note: str) -> None:
    """Left what the captions of an item say, right a note, and whether the decision was wrong."""
    top, right = sheet.size[1], sheet.size[0] - GAP
    for k, line in enumerate(item.captions):
        sheet.text(GAP, top - 0.08 - 0.22 * k, line, fontsize=10, va="top")
    sheet.text(right, top - 0.3, note, fontsize=10, va="top", ha="right", color="#555555")
    if item.wrong:
        style = {"va": "top", "ha": "right", "weight": "bold"}
        sheet.text(right, top - 0.52, "wrong", fontsize=10, **style)


def draw_bar(
    sheet: Sheet, place: Sequence[float], bounds: tuple[float, float] | None, scale: Scale
) -> None:
    """Draws the bar of colours (left and lower edge, width in inches), and says what they are."""
    x, y, width = place
    style = {"fontsize": 9, "va": "center"}
    if bounds is None:
        sheet.text(x, y + 0.08, "Nothing is painted: the map holds no evidence to show.", **style)
        return
    bar = sheet.axes(x, y, width, 0.16)
    bar.set_facecolor("0.5")
    bar.imshow(np.linspace(0, 1, 257)[None], cmap=colours(is_signed(scale)), aspect="auto")
    low, high = (float(np.sign(b)) for b in bounds) if isinstance(scale, str) else bounds
    bar.set_xticks([0, 128, 256], [f"{v:.3g}" for v in (low, (low + high) / 2, high)], fontsize=8)
    bar.set_yticks([])
    bar.get_xticklabels()[0].set_horizontalalignment("left")
    bar.get_xticklabels()[-1].set_horizontalalignment("right")
    for k, line in enumerate(meaning(bounds, scale)):
        sheet.text(x + width + GAP, y + 0.14 - 0.2 * k, line, **style)
