"""Fonts for class names in scripts that matplotlib's own font lacks."""

from collections.abc import Iterable

import matplotlib
from matplotlib import font_manager

FALLBACKS = (  # what systems have for Chinese, Japanese and Korean
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def add_fallbacks() -> None:
    """Let matplotlib take signs that its font lacks from another font of this machine."""
    families = matplotlib.rcParams["font.family"]
    there = set(font_manager.get_font_names())
    added = [name for name in FALLBACKS if name in there and name not in families]
    matplotlib.rcParams["font.family"] = [*families, *added]


def lacking(names: Iterable[str]) -> str:
    """Return the signs of some names that no font of the figures has, each once, sorted."""
    fonts = [
        font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[family])))
        for family in matplotlib.rcParams["font.family"]
    ]
    signs = {sign for name in names for sign in name if not sign.isspace()}
    return "".join(sorted(s for s in signs if not any(f.get_char_index(ord(s)) for f in fonts)))
