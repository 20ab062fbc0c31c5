"""A sheet of images, each beside its class activation map."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from medcnn.cam import is_empty, normalise
from medcnn.errors import UserError
from medcnn.files import replacing

Array = NDArray[Any]

DPI = 100
CELL_WIDTH, GAP, CAPTION = 4.0, 0.1, 0.52  # inches, as all lengths here
LINE, FOOTER = 0.26, 0.72
PICTURE = (CELL_WIDTH - 3 * GAP) / 2  # width of one picture; two and their gaps fill a cell
OUTLINE = "#56e0e0"
WRONG_FRAME: dict[str, Any] = {"fill": False, "linestyle": "--", "linewidth": 1.8, "edgecolor": "k"}


@dataclass
class GalleryItem:
    """An image, its map, and what was decided.

    Args:
        image: (H, W) or (H, W, 3) in [0, 1]; of a volume (D, H, W).
        map: Raw map, (H, W) or (D, H, W), high for important.
        mask: True on the lesion, of the map's shape; None where it isn't known.
        true: Name of the true class; in regression the true value.
        predicted: Name of the class that was decided on; in regression the predicted value.
        probability: Of the predicted class, in [0, 1]; None in regression.
        correct: Whether the decision is right; None where nobody knows, and in regression.
    """

    image: Array
    map: Array
    mask: Array | None
    true: str
    predicted: str
    probability: float | None
    correct: bool | None

    @property
    def wrong(self) -> bool:
        """Whether the decision is known to be wrong."""
        return self.correct is not None and not self.correct


def gallery(items: Sequence[GalleryItem], out: Path, *, title: str, columns: int = 4) -> None:
    """Draws the sheet, 400 pixels a column.

    Left the image, right its map over it: each map in shares of its own maximum, what lies at or
    below zero left grey. The outline of the true lesion is drawn where it is known. Wrong decisions
    have a dashed frame and say so. An empty map isn't painted but labelled. Of a volume the axial
    slice (the first axis) through the map's maximum is shown.

    Args:
        items: At least one.
        out: The PNG file to write.
        title: Above the sheet.
        columns: Items in a row.

    Raises:
        UserError: No items, fewer than one column, or an image, map and mask that differ in shape.
    """
    if not items or columns < 1:
        raise UserError(f"gallery: nothing to draw ({len(items)} items in {columns} columns)")
    columns = min(columns, len(items))
    rows = math.ceil(len(items) / columns)
    panels = [_panel(item) for item in items]
    height, width = panels[0].image.shape[:2]
    picture = PICTURE * min(max(height / width, 0.5), 2.0)
    cell = CAPTION + picture + GAP
    size_x = max(columns * CELL_WIDTH, 6.0)
    lines = textwrap.wrap(title, width=int(size_x / 0.13)) or [""]
    header = 0.25 + LINE * len(lines)
    size = (size_x, header + rows * cell + FOOTER)
    sheet = _Sheet(Figure(figsize=size, dpi=DPI, facecolor="white"), size)
    for index, (item, panel) in enumerate(zip(items, panels, strict=True)):
        row, column = divmod(index, columns)
        x, y = column * CELL_WIDTH, size[1] - header - row * cell
        _draw_item(sheet, item, panel, (x, y), picture)
    _draw_title(sheet, lines)
    _draw_legend(sheet, items)
    with replacing(out) as path:
        sheet.figure.savefig(path)


@dataclass
class _Panel:
    """What is drawn of an item, in two dimensions."""

    image: Array
    map: Array  # in [0, 1]
    mask: Array | None
    empty: bool
    note: str  # which slice of a volume


def _panel(item: GalleryItem) -> _Panel:
    image, mask = np.asarray(item.image), item.mask
    raw = torch.from_numpy(np.array(item.map, np.float32))[None]
    if image.shape[: raw.dim() - 1] != raw.shape[1:] or raw.dim() not in (3, 4):
        raise UserError(
            f"gallery: image {image.shape} and map {tuple(raw.shape[1:])} differ in shape"
        )
    if mask is not None and mask.shape != raw.shape[1:]:
        raise UserError(
            f"gallery: mask {mask.shape} and map {tuple(raw.shape[1:])} differ in shape"
        )
    empty, shares, note = bool(is_empty(raw)), normalise(raw)[0].numpy(), ""
    if shares.ndim == 3:
        depth = len(shares)
        z = depth // 2 if empty else int(np.unravel_index(shares.argmax(), shares.shape)[0])
        image, shares, mask = image[z], shares[z], None if mask is None else mask[z]
        note = f"slice {z + 1} of {depth}"
    return _Panel(image, shares, mask, empty, note)


@dataclass
class _Sheet:
    """A figure on which axes are placed in inches from the lower left corner."""

    figure: Figure
    size: tuple[float, float]

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        w, h = self.size
        return self.figure.add_axes((x / w, y / h, width / w, height / h))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / self.size[0], y / self.size[1], text, parse_math=False, **style)


def _overlay_colours() -> ListedColormap:
    """Inferno without its darkest part, opaque only where the value is high."""
    shares = np.linspace(0, 1, 256)
    colours = matplotlib.colormaps["inferno"](0.25 + 0.75 * shares)
    colours[:, 3] = 0.8 * shares
    return ListedColormap(colours, name="overlay")


def _draw_item(
    sheet: _Sheet, item: GalleryItem, panel: _Panel, corner: tuple[float, float], picture: float
) -> None:
    """Draws an item below and right of its upper left corner (inches)."""
    x, y = corner
    left, bottom = x + GAP, y - CAPTION - picture
    plain = sheet.axes(left, bottom, PICTURE, picture)
    overlay = sheet.axes(left + PICTURE + GAP, bottom, PICTURE, picture)
    for axes in (plain, overlay):
        axes.set_axis_off()
        axes.imshow(panel.image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if panel.mask is not None and panel.mask.any():
            _outline(axes, panel.mask)
    if panel.empty:
        _label(overlay, "empty map")
    else:
        overlay.imshow(panel.map, cmap=_overlay_colours(), vmin=0, vmax=1, interpolation="nearest")
    _caption(sheet, item, panel.note, left, y)
    if item.wrong:
        frame = Rectangle(
            ((x + 0.3 * GAP) / sheet.size[0], (bottom - 0.6 * GAP) / sheet.size[1]),
            (CELL_WIDTH - 0.6 * GAP) / sheet.size[0],
            (CAPTION + picture + 0.6 * GAP) / sheet.size[1],
            **WRONG_FRAME,
        )
        sheet.figure.add_artist(frame)


def _caption(sheet: _Sheet, item: GalleryItem, note: str, left: float, top: float) -> None:
    share = "" if item.probability is None else f" {item.probability:.2f}"
    predicted = f"predicted: {_shorten(item.predicted)}{share}"
    style = {"fontsize": 9, "va": "top"}
    sheet.text(left, top - 0.08, f"true: {_shorten(item.true)}", **style)
    sheet.text(left, top - 0.28, predicted, **style)
    right = left + CELL_WIDTH - 2 * GAP
    sheet.text(right, top - 0.08, note, ha="right", color="#555555", **style)
    if item.wrong:
        sheet.text(right, top - 0.28, "wrong", ha="right", weight="bold", **style)


def _shorten(name: str, longest: int = 30) -> str:
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"


def _outline(axes: Axes, mask: Array) -> None:
    """The border of the mask, closed where it touches the edge of the image."""
    padded = np.pad(mask.astype(float), 1)
    height, width = mask.shape
    x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
    contour = axes.contour(x, y, padded, levels=[0.5], colors=OUTLINE, linewidths=1.4)
    contour.set_path_effects([withStroke(linewidth=2.6, foreground="black")])
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _label(axes: Axes, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "black", "boxstyle": "round"}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", bbox=box)


def _draw_title(sheet: _Sheet, lines: list[str]) -> None:
    style = {"fontsize": 14, "weight": "bold", "va": "top", "linespacing": LINE * 72 / 14 / 1.2}
    sheet.text(GAP, sheet.size[1] - 0.12, "\n".join(lines), **style)


def _draw_legend(sheet: _Sheet, items: Sequence[GalleryItem]) -> None:
    """At the foot: the scale of the maps, and what outline and frame mean."""
    bar = sheet.axes(3 * GAP, 0.43, 1.8, 0.16)
    bar.set_facecolor("0.5")
    bar.set_xticks([])
    bar.set_yticks([])
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=_overlay_colours(), aspect="auto")
    style = {"fontsize": 10, "va": "center"}
    sheet.text(GAP, 0.51, "0", **style)
    text = "max    importance (each map has a scale of its own)"
    sheet.text(3 * GAP + 1.9, 0.51, text, **style)
    handles: list[Artist] = []
    if any(item.mask is not None and item.mask.any() for item in items):
        effects = [withStroke(linewidth=2.6, foreground="black")]
        line = Line2D([], [], color=OUTLINE, linewidth=1.4, path_effects=effects)
        line.set_label("outline of the true lesion")
        handles.append(line)
    if any(item.wrong for item in items):
        handles.append(Rectangle((0, 0), 1, 1, label="wrong decision", **WRONG_FRAME))
    if handles:
        corner = (0, 0.02 / sheet.size[1])
        sheet.figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=corner,
            ncols=2,
            frameon=False,
            fontsize=10,
        )
