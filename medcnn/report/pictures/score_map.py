"""A picture of an image with the scores of its places."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from medcnn.data.prepared.geometry import LUMA
from medcnn.report.figure_files import save_figure
from medcnn.report.maps.overlay import OUTLINE

Array = NDArray[Any]
SHOWN = 5  # classes


def draw_score_map(
    image: Array,
    scores: Array,
    names: Sequence[str],
    window: Sequence[int],
    out: Path,
    *,
    shares: bool = True,
) -> None:
    """Draw an image, and over it the score of each class at the middle of each window.

    Args:
        image: (C, H, W) in 0 … 1, C 1 or 3.
        scores: (K, h, w), one for each place of the window.
        names: K names; of more than `SHOWN` those with the highest scores are drawn.
        window: Size (H, W) of the part that one score is of, px; outlined in the image.
        out: The PNG file to write.
        shares: Scores are probabilities, drawn on a scale of 0 … 1.
    """
    order = np.argsort(-scores.reshape(len(scores), -1).max(1), kind="stable")[:SHOWN]
    picture = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    height, width = picture.shape[:2]
    across = 3.2 * width / height
    figure = Figure(figsize=((across + 0.2) * (1 + len(order)) + 1.0, 3.8), layout="constrained")
    axes = figure.subplots(1, 1 + len(order), squeeze=False)[0]
    grey = picture if picture.ndim == 2 else picture @ np.array(LUMA)  # colour is the scores' alone
    for k, ax in enumerate(axes):
        ax.imshow(grey if k else picture, cmap="gray", vmin=0, vmax=1)
        ax.set_xticks([])
        ax.set_yticks([])
    frame = Rectangle((0, 0), window[1], window[0], fill=False, edgecolor=OUTLINE, linewidth=2)
    axes[0].add_patch(frame)
    axes[0].set_title(f"{width}×{height} px, window {window[1]}×{window[0]}", fontsize=9)
    low, high = (0.0, 1.0) if shares else (float(scores.min()), float(scores.max()))
    for ax, k in zip(axes[1:], order, strict=True):
        drawn = ax.imshow(
            scores[k],
            extent=extent(scores.shape[1:], (height, width), window),
            cmap="inferno",
            vmin=low,
            vmax=high,
            alpha=0.65,
            interpolation="nearest",
        )
        ax.set_xlim(-0.5, width - 0.5)
        ax.set_ylim(height - 0.5, -0.5)
        ax.set_title(f"{names[k]}, at most {scores[k].max():.2f}", fontsize=9, parse_math=False)
    figure.colorbar(drawn, ax=list(axes), label="probability" if shares else "prediction")
    save_figure(figure, out, dpi=100)


def extent(
    grid: Sequence[int], size: Sequence[int], window: Sequence[int]
) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top edge (px) of scores at the middles of their windows.

    >>> extent((6, 6), (384, 384), (224, 224))
    (95.5, 287.5, 287.5, 95.5)
    """
    edges = []
    for cells, side, own in zip(grid, size, window, strict=True):
        step = (side - own) / (cells - 1) if cells > 1 else own / 2
        middle = own / 2 - 0.5
        edges.append((middle - step / 2, middle + (cells - 0.5) * step))
    (top, bottom), (left, right) = edges
    return (left, right, bottom, top)
