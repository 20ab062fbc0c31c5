"""Pictures of a net as a lesson: its first filters, its feature maps, and the classic kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from medcnn.nets.classic_kernels import Kernel
from medcnn.report.figure_files import Sheet, save_figure
from medcnn.report.pictures.data import picture_of
from medcnn.report.words import digits, plural, shorten

DPI = 110
MOST_FILTERS = 64
MOST_LAYERS = 12  # rows of a picture
GAP, TILE, FILTER, LABEL, BAR = 0.1, 1.15, 0.8, 2.1, 0.75  # inches, as all lengths here
TABLE, RESPONSE, LEGEND = 1.35, 2.0, 10.0
HEADER, LINE = 0.45, 0.19
SIGNED = "RdBu_r"  # red above zero, white at zero, blue below
GREY = "#555555"
ABOUT_KERNELS = (
    "Each pixel becomes the sum of its neighbours times the numbers of the kernel. A CNN does the "
    "same (cross-correlation: the kernel isn't turned round), but learns the numbers. "
    "Borders are continued."
)


@dataclass(frozen=True)
class Step:
    """The output of one layer."""

    name: str  # of the layer within its stage
    layer: str  # in words; of a stage's input, its origin
    shape: tuple[int, ...]  # of its output, (K, *spatial)
    maps: Tensor  # (K, H, W) float32 on the CPU; of volumes the middle slice
    same_channels: bool  # its channel k is made of channel k of the step before


class _Page(Sheet):
    """A sheet with a title, on which things are placed from its upper left corner."""

    def __init__(self, width: float, height: float, title: str) -> None:
        super().__init__(width, height, DPI)
        self.text(GAP, 0.12, shorten(title, int(width / 0.125)), fontsize=13, weight="bold")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        axes = super().axes(x, self.size[1] - y - height, width, height)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_anchor("NW")
        return axes

    def text(self, x: float, y: float, text: str, *, fontsize: int = 9, **style: Any) -> None:
        """Write lines with their upper left corner at x, y."""
        for k, line in enumerate(text.split("\n")):
            baseline = self.size[1] - y - (0.8 + 1.5 * k) * fontsize / 72
            super().text(x, baseline, line, fontsize=fontsize, **style)

    def bar(self, x: float, y: float, height: float, cmap: str, limit: float) -> None:
        """Draw the scale from -limit to limit, the numbers beside it."""
        axes = self.axes(x, y, 0.13, height)
        axes.imshow(np.linspace(1, -1, 255)[:, None], cmap=cmap, vmin=-1, vmax=1, aspect="auto")
        for share in (0.0, 0.5, 1.0):
            text = digits(limit * (1 - 2 * share))
            self.text(x + 0.18, y + share * (height - 0.09), text, fontsize=8)


def draw_filters(weight: Tensor, out: Path, *, title: str) -> None:
    """Draw the kernels of a first convolution, at most 64.

    The weights of three channels are shown as red, green and blue about a middle grey, of any
    other number those of the first channel, of volumes the middle slice; on one scale for all,
    symmetric about 0.

    Args:
        weight: (filters, channels, *kernel) on the CPU.
        out: The PNG file to write.
        title: Above the picture.
    """
    shown = weight[:MOST_FILTERS].float()
    limit = float(shown.abs().max()) or 1.0
    tiles = (shown[:, :, shown.shape[2] // 2] if shown.ndim == 5 else shown).numpy()
    colour = tiles.shape[1] == 3
    columns = min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    lines = _about_filters(weight, colour)
    top = HEADER + LINE * len(lines) + 0.1
    pitch = FILTER + 0.22
    page = _Page(max(GAP + columns * (FILTER + GAP) + BAR, 6.6), top + rows * pitch + GAP, title)
    page.text(GAP, HEADER, "\n".join(lines))
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        x, y = GAP + column * (FILTER + GAP), top + row * pitch
        page.text(x, y, str(k), fontsize=7, color=GREY)
        axes = page.axes(x, y + 0.14, FILTER, FILTER)
        if colour:
            axes.imshow(0.5 + tile.transpose(1, 2, 0) / (2 * limit))
        else:
            axes.imshow(tile[0], cmap=SIGNED, vmin=-limit, vmax=limit)
    cmap = "gray" if colour else SIGNED
    page.bar(GAP + columns * (FILTER + GAP), top + 0.14, FILTER, cmap, limit)
    save_figure(page.figure, out)


def _about_filters(weight: Tensor, colour: bool) -> list[str]:
    count, channels = weight.shape[:2]
    first = f"the first {MOST_FILTERS} of " if count > MOST_FILTERS else ""
    what = f"{plural(count, 'filter')} of {'×'.join(map(str, weight.shape[2:]))}"
    lines = [f"{first}{what} on {plural(channels, 'channel')}, weights {span(weight)}"]
    if colour:
        return [*lines, "colour: the weights of red, green and blue; middle grey is 0"]
    part = ["the weights of the first channel"] if channels > 1 else []
    part += ["the middle slice"] if weight.ndim == 5 else []
    return [*lines, ", ".join([*part, "red is positive, blue negative, white 0"])]


def draw_stage(
    steps: Sequence[Step], image: Tensor, out: Path, *, title: str, channels: int
) -> None:
    """Draw the response of each layer of a stage to an image: a row a layer, a column a channel.

    A layer that mixes channels (a convolution, a block) starts new columns, those that follow it
    channel by channel (norm, activation, pooling) keep them: the channels whose response is
    strongest after the last of them, the mean of its absolute value. Of a long stage some layers
    are left out.

    Args:
        steps: The input of the stage, then the output of each layer.
        image: The image itself, (C, H, W) in 0 … 1.
        out: The PNG file to write.
        title: Above the picture.
        channels: Columns, at most.
    """
    chosen = strongest(steps, channels)
    kept = np.unique(np.linspace(0, len(steps) - 1, MOST_LAYERS).round().astype(int))
    height, width = image.shape[1:]
    tile = TILE * min(max(height / width, 0.5), 2.0)
    columns = max(map(len, chosen))
    pitch = max(tile + 0.3, 6 * LINE)
    top = HEADER + max(tile, 6 * LINE) + 0.25
    wide = max(LABEL + columns * (TILE + GAP) + BAR, LEGEND)
    page = _Page(wide, top + len(kept) * pitch, title)
    notes = []
    if len(kept) < len(steps):
        notes.append(f"{len(kept) - 1} of the {len(steps) - 1} layers are shown.")
    if len(steps[0].shape) == 4:
        notes.append("Of each volume the middle slice is shown, and its range is given.")
    _draw_image(page, image, tile, notes)
    before: list[int] = []
    for row, k in enumerate(kept):
        numbers = [] if chosen[k] is before else chosen[k]
        _draw_step(page, steps[k], chosen[k], (top + row * pitch, tile), numbers)
        before = chosen[k]
    save_figure(page.figure, out)


def strongest(steps: Sequence[Step], channels: int) -> list[list[int]]:
    """Return the channels of each step that are drawn, strongest first; see `draw_stage`.

    Steps with the same columns have the same list, not an equal one.
    """
    chosen: list[list[int]] = []
    following: list[int] | None = None
    for k in reversed(range(len(steps))):
        if following is None:
            strength = steps[k].maps.abs().flatten(1).mean(1)
            following = strength.argsort(descending=True, stable=True)[:channels].tolist()
        chosen.insert(0, following)
        kept = steps[k].same_channels and k and len(steps[k].maps) == len(steps[k - 1].maps)
        following = following if kept else None
    return chosen


def _draw_image(page: _Page, image: Tensor, tile: float, notes: list[str]) -> None:
    """Draw the image at the top, and write how to read the rows below."""
    axes = page.axes(LABEL, HEADER, TILE, tile)
    axes.imshow(picture_of(image), cmap="gray", vmin=0, vmax=1)
    page.text(GAP, HEADER, "image", weight="bold", fontsize=10)
    page.text(GAP, HEADER + 0.2, f"{'×'.join(map(str, image.shape[1:]))}\n{span(image)}")
    lines = [
        "A row is a layer, in the order in which the image passes them; a column is a channel.",
        "Its number stands above it: those with the strongest mean response are shown.",
        "Red is positive, blue negative, white 0. Each row has a scale of its own, at its right;",
        "at its left stands the range of all channels.",
    ]
    page.text(LABEL + TILE + 2 * GAP, HEADER, "\n".join([*lines, *notes]), color=GREY)


def _draw_step(
    page: _Page, step: Step, chosen: list[int], place: tuple[float, float], numbers: list[int]
) -> None:
    """Draw one row: the layer in words, the maps of the chosen channels, and their scale."""
    y, tile = place
    channels, *sides = step.shape
    facts = [step.layer, f"{channels} × {'×'.join(map(str, sides))}", span(step.maps)]
    page.text(GAP, y + 0.16, shorten(step.name, 24), weight="bold", fontsize=10)
    page.text(GAP, y + 0.36, "\n".join(facts))
    maps = step.maps[chosen].numpy()
    limit = float(np.abs(maps).max()) or 1.0
    for column, values in enumerate(maps):
        x = LABEL + column * (TILE + GAP)
        if numbers:
            page.text(x, y, str(numbers[column]), fontsize=7, color=GREY)
        axes = page.axes(x, y + 0.16, TILE, tile)
        axes.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit)
    page.bar(LABEL + len(maps) * (TILE + GAP), y + 0.16, tile, SIGNED, limit)


def draw_kernels(answers: Sequence[tuple[Kernel, Tensor]], out: Path, *, title: str) -> None:
    """Draw kernels with their numbers, each beside the image that it makes.

    A response to a kernel whose weights sum to zero is drawn on a scale in which 0 is a middle
    grey; others from 0, black, to 1, white.

    Args:
        answers: Kernels, and the responses (H, W) of an image in 0 … 1 to them.
        out: The PNG file to write.
        title: Above the picture.
    """
    columns = 4
    height, width = answers[0][1].shape
    tile = RESPONSE * min(max(height / width, 0.5), 2.0)
    cell = (TABLE + RESPONSE + 3 * GAP, max(tile, TABLE + 0.6) + 0.75)
    top = HEADER + 0.3
    page = _Page(columns * cell[0] + GAP, top + -(-len(answers) // columns) * cell[1], title)
    page.text(GAP, HEADER, ABOUT_KERNELS, color=GREY)
    for k, (kernel, response) in enumerate(answers):
        row, column = divmod(k, columns)
        x, y = GAP + column * cell[0], top + row * cell[1]
        page.text(x, y, kernel.name, weight="bold", fontsize=11)
        page.text(x, y + 0.21, kernel.effect)
        _draw_numbers(page, kernel, (x, y + 0.45))
        limit = float(response.abs().max()) or 1.0
        low, high = (-limit, limit) if kernel.signed else (0.0, 1.0)
        axes = page.axes(x + TABLE + GAP, y + 0.45, RESPONSE, tile)
        axes.imshow(response.numpy(), cmap="gray", vmin=low, vmax=high)
        facts = [f"result {span(response)}", f"black {digits(low)}", f"white {digits(high)}"]
        if kernel.divisor != 1:
            facts.insert(0, f"divided by {kernel.divisor}")
        page.text(x, y + 0.5 + TABLE, "\n".join(facts), fontsize=8)
    save_figure(page.figure, out)


def _draw_numbers(page: _Page, kernel: Kernel, corner: tuple[float, float]) -> None:
    """Draw the kernel as a table, each number on its colour."""
    numbers = np.array(kernel.numbers)
    axes = page.axes(*corner, TABLE, TABLE)
    limit = 2 * np.abs(numbers).max()  # light colours, that the numbers are read on
    axes.imshow(numbers, cmap=SIGNED, vmin=-limit, vmax=limit)
    for (i, j), value in np.ndenumerate(numbers):
        axes.text(j, i, digits(value), ha="center", va="center", fontsize=9)


def span(values: Tensor) -> str:
    """Return the range of values, as ``−1.31 … 2.4``."""
    return f"{digits(float(values.min()))} … {digits(float(values.max()))}"
