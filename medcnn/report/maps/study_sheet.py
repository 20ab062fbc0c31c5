"""A sheet of studies: all images of each with their maps, and how important each image is."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medcnn.report.figure_files import Sheet, save_figure
from medcnn.report.maps import overlay
from medcnn.report.maps.gallery import LINE, draw_legend
from medcnn.report.maps.item import GalleryItem, Panel, panel
from medcnn.report.maps.scale import Array, Scale, span

COLUMNS, FEW = 12, 6  # images in a row; up to `FEW` they are larger
LARGE, SMALL = 1.8, 1.15  # inches, as all lengths here: the width of an image
GAP, LEFT, HEAD, LABEL, FOOTER = 0.08, 0.95, 0.55, 0.2, 1.0
STRIP = 0.42  # height of a row of bars
COLOURS = {"attention": "#7b3294", "effect": "#008837"}
MEANING = (
    "attention: the weight of an image in its study; effect: how far the score of the class falls "
    "without the image"
)


@dataclass
class StudyItem:
    """The images of a study in their order, what was decided on it, and what each image did."""

    images: Sequence[GalleryItem]  # one at least; the words of the first are those of the study
    labels: Sequence[str]  # of each image: its view, its slice
    bars: dict[str, Array]  # (n,) each, by what they are: attention, effect; NaN for none
    places: Sequence[int]  # of the images in their study, from 0
    total: int  # images of the study, of which these are shown


def study_sheet(items: Iterable[StudyItem], out: Path, *, title: str, scale: Scale = "own") -> None:
    """Draw the sheet of `study_figure` to a PNG file."""
    save_figure(study_figure(items, title=title, scale=scale), out)


def study_figure(items: Iterable[StudyItem], *, title: str, scale: Scale = "own") -> Figure:
    """Return the sheet, studies below each other.

    Each image lies under its map, with the outline of its lesion where it is known; the colours
    span the same values in all images of a study. Below are bars: the attention that an image has
    in its study, and the effect of leaving it out, which is below zero where the image speaks
    against the class.

    Args:
        items: At least one.
        title: Above the sheet.
        scale: See `medcnn.report.maps.overlay.overlay`; own and signed are each study's own.

    Raises:
        UserError: A scale of another kind, or an image, map and mask that differ in shape.
    """
    studies = [(item, _panels(item, scale)) for item in items]
    most = max(len(panels) for _, panels in studies)
    columns, side = min(most, COLUMNS), LARGE if most <= FEW else SMALL
    width = max(LEFT + columns * (side + GAP) + GAP, 8.0)
    heights = [_height(item, panels, columns, side) for item, panels in studies]
    lines = textwrap.wrap(title, width=int(width / 0.13)) or [""]
    header = 0.25 + LINE * len(lines)
    sheet = Sheet(width, header + sum(heights) + FOOTER)
    style = {"fontsize": 14, "weight": "bold", "va": "top", "linespacing": LINE * 72 / 14 / 1.2}
    sheet.text(GAP, sheet.size[1] - 0.12, "\n".join(lines), **style)
    top = sheet.size[1] - header
    for (item, panels), height in zip(studies, heights, strict=True):
        _draw_study(sheet, item, panels, top, columns, side, scale)
        top -= height
    draw_legend(sheet, [one for _, panels in studies for one in panels], scale, "study")
    sheet.text(GAP, FOOTER - 0.12, MEANING, fontsize=9, va="center")
    return sheet.figure


def _panels(item: StudyItem, scale: Scale) -> list[Panel]:
    """Return what is drawn of each image, in colours that span the same values."""
    bounds = span(np.concatenate([one.map.ravel() for one in item.images]), scale)
    return [replace(panel(one, scale), bounds=bounds) for one in item.images]


def _row_height(item: StudyItem, panels: Sequence[Panel], side: float) -> float:
    """Return the height of a row of images with their bars."""
    tall = max(side * min(max(one.ratio, 0.5), 2.0) for one in panels)
    return LABEL + tall + len(item.bars) * (STRIP + GAP) + GAP


def _height(item: StudyItem, panels: Sequence[Panel], columns: int, side: float) -> float:
    return HEAD + math.ceil(len(panels) / columns) * _row_height(item, panels, side) + GAP


def _draw_study(
    sheet: Sheet,
    item: StudyItem,
    panels: Sequence[Panel],
    top: float,
    columns: int,
    side: float,
    scale: Scale,
) -> None:
    """Draw a study below a height (inches)."""
    name, true, predicted = item.images[0].captions
    shown = f", {len(panels)} of {item.total} images" if len(panels) < item.total else ""
    sheet.text(GAP, top - 0.08, name + shown, fontsize=10, va="top", weight="bold")
    wrong = "    wrong" if item.images[0].wrong else ""
    sheet.text(GAP, top - 0.28, f"{true}    {predicted}{wrong}", fontsize=10, va="top")
    row = _row_height(item, panels, side)
    for start in range(0, len(panels), columns):
        part = slice(start, start + columns)
        y = top - HEAD - (start // columns) * row
        tall = row - LABEL - len(item.bars) * (STRIP + GAP) - GAP
        for k, (one, label) in enumerate(zip(panels[part], item.labels[part], strict=True)):
            x = LEFT + k * (side + GAP)
            sheet.text(x + side / 2, y - 0.02, label, fontsize=8, va="top", ha="center")
            overlay.draw_overlay(sheet.axes(x, y - LABEL - tall, side, tall), one, scale)
        count = len(panels[part])
        for number, (what, values) in enumerate(item.bars.items(), 1):
            bottom = y - LABEL - tall - number * (STRIP + GAP)
            sheet.text(LEFT - GAP, bottom + STRIP / 2, what, fontsize=8, va="center", ha="right")
            axes = sheet.axes(LEFT, bottom, count * (side + GAP) - GAP, STRIP)
            _draw_bars(axes, values, part, side, COLOURS.get(what, "0.4"))


def _draw_bars(axes: Axes, values: Array, part: slice, side: float, colour: str) -> None:
    """Draw a bar below each image, its number beside it; all of a study on one scale."""
    known = values[np.isfinite(values)]
    low, high = min(0.0, known.min(initial=0.0)), max(0.0, known.max(initial=0.0))
    step, room = side + GAP, (high - low or 1.0) * 0.25
    places = side / 2 + step * np.arange(len(values[part]))
    axes.bar(places, np.nan_to_num(values[part]), width=0.5 * side, color=colour)
    style: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "bottom"}
    for place, value in zip(places, values[part], strict=True):
        text = f"{value:.2g}" if np.isfinite(value) else "–"
        axes.text(place, max(0.0, np.nan_to_num(value)), text, **style)
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.set_xlim(0, len(places) * step - GAP)
    axes.set_ylim(low - 0.2 * room, high + 2.2 * room)
    axes.set_axis_off()
