"""Figures and their PNG files, with text in any script."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from medcnn.jobs.atomic_files import replacing


class Sheet:
    """A white figure on which things are placed in inches from its lower left corner."""

    def __init__(self, width: float, height: float, dpi: int = 100) -> None:
        self.size = (width, height)
        self.figure = Figure(figsize=self.size, dpi=dpi, facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes with this lower left corner."""
        w, h = self.size
        return self.figure.add_axes((x / w, y / h, width / w, height / h))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text as it is, whatever signs it has."""
        self.figure.text(x / self.size[0], y / self.size[1], text, parse_math=False, **style)


def draw_outline(axes: Axes, mask: NDArray[Any], **style: Any) -> ContourSet:
    """Draw the border of a mask (H, W), closed where it touches the edge of the image."""
    y, x = (np.arange(-1, length + 1) for length in mask.shape)
    return axes.contour(x, y, np.pad(mask.astype(float), 1), levels=[0.5], **style)


def save_figure(figure: Figure, out: Path, **options: Any) -> None:
    """Write a figure to a file, whole or not at all, its text made `legible`."""
    legible(figure)
    with replacing(out) as path:
        figure.savefig(path, **options)


def legible(figure: Figure) -> None:
    """Set text that its font can't draw in another that is installed, or as characters' codes.

    Matplotlib's own font has no Chinese, Japanese or Korean: it would draw the same box for every
    character, and warn of each.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        words, shown = text.get_text(), ""
        if words.isascii():
            continue
        own = font_manager.findfont(text.get_fontproperties())
        families = list(text.get_fontfamily())
        for character in words:
            other = None if character.isascii() or _has(own, character) else _other(character)
            families += [other] if other and other not in families else []
            shown += f"[{ord(character):X}]" if other == "" else character
        text.set_text(shown)
        text.set_fontfamily(families)


def lacking(names: Iterable[str]) -> str:
    """Return the characters of some names that no font of this machine has, each once, sorted."""
    own = font_manager.findfont(font_manager.FontProperties())
    found = {sign for name in names for sign in name if not sign.isascii() and not sign.isspace()}
    return "".join(sorted(sign for sign in found if not _has(own, sign) and not _other(sign)))


@cache
def _other(character: str) -> str:
    """Return the family of an installed font that has a character; empty where none has it."""
    fonts = font_manager.fontManager.ttflist
    for font in sorted(fonts, key=lambda font: (font.style != "normal", font.weight != 400)):
        if not font.name.startswith("Last Resort") and _has(font.fname, character):
            return font.name
    return ""


@cache
def _has(file: str, character: str) -> bool:
    try:
        return font_manager.get_font(file).get_char_index(ord(character)) != 0
    except (OSError, RuntimeError):  # gone, or no font that can be read
        return False
