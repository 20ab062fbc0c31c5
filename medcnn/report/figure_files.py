"""Figures to PNG files, with text in whatever script its names are in."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from medcnn.jobs.atomic_files import replacing


def save_figure(figure: Figure, out: Path, **options: Any) -> None:
    """Write a figure to a file, whole or not at all, its text made `legible`."""
    legible(figure)
    with replacing(out) as path:
        figure.savefig(path, **options)


def legible(figure: Figure) -> None:
    """Give text that its font can't draw another font that is installed, or its characters' codes.

    Matplotlib's own font has no Chinese, Japanese or Korean: it would draw one box for every
    character, so that names can't be told apart, and warn of each.
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
    """The family of an installed font that has a character; empty where none has it."""
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
