"""The span of a map's colours, and their meaning."""

from functools import cache
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from medcnn.errors import UserError

Array = NDArray[Any]
Scale = Literal["own", "signed"] | tuple[float, float]


def span(map_: Array, scale: Scale) -> tuple[float, float] | None:
    """Return the raw values at the two ends of the colours; None where there is nothing to paint.

    That is a map without a value above zero (of a signed one, other than zero), or one with values
    that aren't finite.

    >>> span(np.array([[-4.0, 2.0]]), "own"), span(np.array([[-4.0, 2.0]]), "signed")
    ((0.0, 2.0), (-4.0, 4.0))
    >>> print(span(np.zeros((2, 2)), (0.0, 1.0)))
    None
    """
    check_scale(scale)
    values = np.abs(map_) if is_signed(scale) else map_
    most = float(np.max(values))
    if not np.isfinite(map_).all() or most <= 0:
        return None
    if isinstance(scale, str):
        return (-most if scale == "signed" else 0.0), most
    return float(scale[0]), float(scale[1])


def check_scale(scale: Scale) -> None:
    """Raise UserError for a scale of another kind than `overlay` knows."""
    if isinstance(scale, str) and scale in ("own", "signed"):
        return
    if not isinstance(scale, str) and len(scale) == 2 and np.isfinite(scale).all():
        low, high = scale
        if low < high and (low >= 0 or low == -high):
            return
    raise UserError(
        f"scale={scale}: choose own, signed, or two raw values (low, high), low not below zero or "
        "the same as high with a minus"
    )


def is_signed(scale: Scale) -> bool:
    """Return True where values below zero have colours of their own."""
    return scale == "signed" or (not isinstance(scale, str) and scale[0] < 0)


def peak(map_: Array, scale: Scale = "own") -> tuple[int, ...]:
    """Return the index of a map's maximum, of several the first; the middle of an empty map."""
    if span(map_, scale) is None:
        return tuple(side // 2 for side in map_.shape)
    return tuple(int(k) for k in np.unravel_index(map_.argmax(), map_.shape))


@cache
def colours(signed: bool) -> ListedColormap:
    """Return perceptually even colours, the more opaque the farther from zero.

    Inferno (S. van der Walt, N. Smith, "A better default colormap for matplotlib", SciPy 2015)
    without its darkest part; signed the diverging colours of K. Moreland, "Diverging color maps for
    scientific visualization", 2009: blue below zero, red above.
    """
    if signed:
        shares = np.linspace(-1, 1, 257)
        table = matplotlib.colormaps["coolwarm"]((1 + shares) / 2)
    else:
        shares = np.linspace(0, 1, 256)
        table = matplotlib.colormaps["inferno"](0.25 + 0.75 * shares)
    table[:, 3] = 0.8 * np.abs(shares)
    return ListedColormap(table, name="overlay")


def meaning(bounds: tuple[float, float], scale: Scale) -> tuple[str, str]:
    """Return the meaning of the numbers at a bar, in two lines."""
    signed = "evidence for the class (above zero) and against it"
    what = signed if is_signed(scale) else "importance"
    if not isinstance(scale, str):
        return what, "raw values; the same scale in every picture"
    largest = "maximum" if scale == "own" else "largest absolute value"
    return what, f"1 is this map's own {largest}, a raw value of {bounds[1]:.3g}"
