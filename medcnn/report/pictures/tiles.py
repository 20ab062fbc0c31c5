"""Pictures of whole slides with their tiles: which ones are taken, and what is said of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medcnn.nets.classic_kernels import LUMA
from medcnn.report.figure_files import save_figure
from medcnn.report.words import shorten

Array = NDArray[Any]
PER_ROW = 3  # slides side by side
LEFT_OUT = 0.35  # brightness of what no tile covers
OPAQUE = 0.6  # of scores over the slide


class Tiled(NamedTuple):
    """A slide, small, and where its tiles lie.

    Args:
        name: Its title.
        picture: (h, w) or (h, w, 3) in 0 … 1.
        shape: Height and width of the slide at full resolution.
        corners: (S, 2) first row and column of each tile, in its pixels.
        edge: Height and width of a tile, in the same.
    """

    name: str
    picture: Array
    shape: Sequence[int]
    corners: Array
    edge: Sequence[int]


def lay_scores(tiled: Tiled, scores: Array) -> Array:
    """Return scores (S,) of tiles laid at their places in the small picture, (h, w).

    Where several tiles overlap it is their mean; NaN where there is none.
    """
    height, width = tiled.picture.shape[:2]
    scale = np.array([height, width]) / np.array(tiled.shape)
    low = np.round(tiled.corners * scale).astype(int)
    high = np.maximum(np.round((tiled.corners + np.array(tiled.edge)) * scale).astype(int), low + 1)
    sums, counts = np.zeros((height, width)), np.zeros((height, width))
    for (top, left), (bottom, right), score in zip(low, high, scores, strict=True):
        sums[top:bottom, left:right] += score
        counts[top:bottom, left:right] += 1
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def draw_tile_scores(
    tiled: Tiled, scores: Array, meaning: str, out: Path, *, scale: tuple[float, float] | None
) -> None:
    """Draw a slide, and beside it in grey under the scores of its tiles.

    Args:
        tiled: The slide.
        scores: (S,) one a tile.
        meaning: What they are, such as the probability of a class.
        out: The PNG file to write.
        scale: What the colours span; None for the scores' own lowest and highest.
    """
    height, width = tiled.picture.shape[:2]
    figure = Figure(figsize=(2 * 4.2 + 0.8, 4.2 * height / width + 0.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    grey = tiled.picture if tiled.picture.ndim == 2 else tiled.picture @ np.array(LUMA)
    left.imshow(tiled.picture, cmap="gray", vmin=0, vmax=1)
    right.imshow(grey, cmap="gray", vmin=0, vmax=1)
    low, high = scale or (float(np.min(scores)), float(np.max(scores)))
    laid = lay_scores(tiled, scores)
    drawn = right.imshow(
        laid, cmap="inferno", vmin=low, vmax=high, alpha=OPAQUE, interpolation="nearest"
    )
    for ax in (left, right):
        ax.axis("off")
    size = "×".join(map(str, tiled.shape))
    title = f"{shorten(tiled.name, 40)}, {size} px, {len(scores)} tiles"
    left.set_title(title, fontsize=9, parse_math=False)
    right.set_title(f"at most {np.max(scores):.2f}", fontsize=9)
    figure.colorbar(drawn, ax=right).set_label(meaning, parse_math=False)
    save_figure(figure, out, dpi=100)


def tile_sheet(slides: Sequence[Tiled], out: Path) -> None:
    """Draw slides, dark where no tile is taken."""
    lines = -(-len(slides) // PER_ROW)
    figure = Figure(figsize=(3.4 * PER_ROW, 3.4 * lines + 0.3), dpi=100, layout="constrained")
    axes = figure.subplots(lines, PER_ROW, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, tiled in zip(axes.flat, slides, strict=False):
        taken = np.isfinite(lay_scores(tiled, np.ones(len(tiled.corners))))
        shade = np.where(taken, 1.0, LEFT_OUT)
        picture = tiled.picture * (shade if tiled.picture.ndim == 2 else shade[..., None])
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
        title = f"{shorten(tiled.name, 24)}: {len(tiled.corners)} tiles"
        ax.set_title(title, fontsize=8, parse_math=False)
    save_figure(figure, out)
