"""A sheet of images, each beside its class activation map."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from medcnn.report.figure_files import Sheet, save_figure
from medcnn.report.maps import overlay
from medcnn.report.maps.item import GalleryItem, Panel, panel
from medcnn.report.maps.scale import Scale, is_signed

COLUMNS = 4  # items in a row
CELL_WIDTH, GAP, CAPTION = 4.0, 0.1, 0.72  # inches, as all lengths here
LINE, FOOTER = 0.26, 0.72
PICTURE = (CELL_WIDTH - 3 * GAP) / 2  # width of one picture; two and their gaps fill a cell
WRONG_FRAME: dict[str, Any] = {"fill": False, "linestyle": "--", "linewidth": 1.8, "edgecolor": "k"}


def gallery(items: Iterable[GalleryItem], out: Path, *, title: str, scale: Scale = "own") -> None:
    """Draw the sheet of `gallery_figure`, 400 pixels a column, to a PNG file."""
    save_figure(gallery_figure(items, title=title, scale=scale), out)


def gallery_figure(items: Iterable[GalleryItem], *, title: str, scale: Scale = "own") -> Figure:
    """Return the sheet.

    Left the image, right its map over it. The outline of the true lesion is drawn where it is
    known. Wrong decisions have a dashed frame and say so. An empty map isn't painted but labelled.
    Of a volume the axial slice through the map's maximum is shown. Pixels are as wide and as high
    as `GalleryItem.spacing` says.

    Args:
        items: At least one; taken one by one, so that not all volumes are in memory.
        title: Above the sheet.
        scale: The span of the colours, see `medcnn.report.maps.overlay.overlay`: of each map its
            own values up to the maximum ("own", "signed"), or of all the same (low, high).

    Raises:
        UserError: A scale of another kind, or an image, map and mask that differ in shape.
    """
    panels = [panel(item, scale) for item in items]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    picture = PICTURE * min(max(0.5, *(shown.ratio for shown in panels)), 2.0)
    cell = CAPTION + picture + GAP
    width = max(columns * CELL_WIDTH, 6.0)
    lines = textwrap.wrap(title, width=int(width / 0.13)) or [""]
    header = 0.25 + LINE * len(lines)
    height = header + rows * cell + FOOTER
    sheet = Sheet(width, height)
    for index, shown in enumerate(panels):
        row, column = divmod(index, columns)
        corner = (column * CELL_WIDTH, height - header - row * cell)
        _draw_item(sheet, shown, corner, picture, scale)
    style = {"fontsize": 14, "weight": "bold", "va": "top", "linespacing": LINE * 72 / 14 / 1.2}
    sheet.text(GAP, height - 0.12, "\n".join(lines), **style)
    draw_legend(sheet, panels, scale)
    return sheet.figure


def _draw_item(
    sheet: Sheet, shown: Panel, corner: tuple[float, float], picture: float, scale: Scale
) -> None:
    """Draw an item below and right of its upper left corner (inches)."""
    x, y = corner
    left, bottom = x + GAP, y - CAPTION - picture
    overlay.draw_image(sheet.axes(left, bottom, PICTURE, picture), shown)
    overlay.draw_overlay(sheet.axes(left + PICTURE + GAP, bottom, PICTURE, picture), shown, scale)
    overlay.draw_caption(sheet, shown, shown.note, (left, y), CELL_WIDTH - 2 * GAP, fontsize=9)
    if shown.wrong:
        frame = Rectangle(
            ((x + 0.3 * GAP) / sheet.size[0], (bottom - 0.6 * GAP) / sheet.size[1]),
            (CELL_WIDTH - 0.6 * GAP) / sheet.size[0],
            (CAPTION + picture + 0.6 * GAP) / sheet.size[1],
            **WRONG_FRAME,
        )
        sheet.figure.add_artist(frame)


def draw_legend(sheet: Sheet, panels: Sequence[Panel], scale: Scale, own: str = "map") -> None:
    """Draw the scale of the maps at the foot, and the meaning of outline and frame.

    `own` says what has a scale of its own, a map or the maps of a study.
    """
    low, high, meaning = _ends(scale, own)
    style = {"fontsize": 10, "va": "center"}
    start = GAP + 0.1 + 0.1 * len(low)  # where the bar begins
    sheet.text(GAP, 0.51, low, **style)
    overlay.colour_bar(sheet, (start, 0.43), 1.8, scale)
    sheet.text(start + 1.9, 0.51, f"{high}    {meaning}", **style)
    handles: list[Artist] = []
    if any(shown.mask is not None and shown.mask.any() for shown in panels):
        line = Line2D([], [], color=overlay.OUTLINE, linewidth=1.4, path_effects=overlay.HALO)
        line.set_label("outline of the true lesion")
        handles.append(line)
    if own == "map" and any(shown.wrong for shown in panels):
        handles.append(Rectangle((0, 0), 1, 1, label="wrong decision", **WRONG_FRAME))
    if handles:
        corner = (0, 0.02 / sheet.size[1])
        style = {"frameon": False, "fontsize": 10, "ncols": 2}
        sheet.figure.legend(handles=handles, loc="lower left", bbox_to_anchor=corner, **style)


def _ends(scale: Scale, own: str) -> tuple[str, str, str]:
    """Return the words at the two ends of the bar, and the meaning of its colours."""
    what = "evidence against and for the class" if is_signed(scale) else "importance"
    if isinstance(scale, str):
        low = "−max" if scale == "signed" else "0"
        return low, "max", f"{what} (each {own} has a scale of its own)"
    return f"{scale[0]:.3g}", f"{scale[1]:.3g}", f"{what} (raw values, one scale for all maps)"
