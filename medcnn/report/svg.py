"""Charts as SVG text, in the colours that the style sheet of their page has for light and dark.

By hand, as a page of twelve classes has 36 of them: a chart takes 2.5 kB and 0.8 ms, one of
matplotlib 14.5 kB and 40 ms, in colours that are fixed.
"""

from html import escape
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from medcnn.report.words import Record, bounds_of, digits

Floats = NDArray[np.float64]
Span = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 10, 40  # margins in pixels, as all lengths here


class Chart(NamedTuple):
    """A chart with the words around it."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()  # style and meaning of each of its marks
    note: str = ""  # below it, a sentence


def floats(values: Any) -> Floats:
    """Return the numbers of a JSON list; NaN for null."""
    return np.asarray(values, np.float64)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers in a range, at most so many.

    >>> ticks(0, 1), ticks(-3, 17, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0, 15.0])
    """
    found = MaxNLocator(most - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
    edge = 1e-9 * (high - low)
    return [round(float(tick), 10) for tick in found if low - edge <= tick <= high + edge]


def span(*values: ArrayLike, margin: float = 0.05) -> Span:
    """Return the range of all finite numbers, a little widened; never empty."""
    known = np.concatenate([floats(v).ravel() for v in values])
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    wide = (high - low) * margin if high > low else max(abs(high) * 0.1, 0.5)
    return low - wide, high + wide


class Plot:
    """A chart with two linear axes of ranges `x` and `y`, to which marks are added.

    Marks outside are cut off. Their styles (``a`` the first line, ``b`` the second, ``c`` a
    reference, ``band``, ``dot``, ``bar``) are classes of the page's style sheet.
    """

    def __init__(
        self, x: Span, y: Span, xlabel: str, ylabel: str, size: tuple[int, int] = (360, 300)
    ) -> None:
        self.x, self.y, self.size = x, y, size
        self.inner = (size[0] - LEFT - RIGHT, size[1] - TOP - BOTTOM)
        self.labels = (xlabel, ylabel)
        self.names: dict[float, str] = {}  # in place of the numbers along x
        self.marks: list[str] = []

    def _place(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """Return (n, 2) pixels from the upper left corner of the inner part, to half a pixel."""
        width, height = self.inner
        across = (floats(x) - self.x[0]) / (self.x[1] - self.x[0]) * width
        down = (self.y[1] - floats(y)) / (self.y[1] - self.y[0]) * height
        points = np.stack(np.broadcast_arrays(across, down), -1).reshape(-1, 2)
        return np.round(np.clip(points, -1e4, 1e4) * 2) / 2

    def line(self, x: ArrayLike, y: ArrayLike, style: str) -> None:
        """Add a line through points, with gaps at unknown ones."""
        self.marks.append(f'<path class="{style}" d="{_path(self._place(x, y))}"/>')

    def band(self, x: ArrayLike, low: ArrayLike, high: ArrayLike) -> None:
        """Add the area between two lines; unknown points are left out."""
        x, low, high = floats(x), floats(low), floats(high)
        known = np.isfinite(x + low + high)
        ends = np.concatenate([low[known], high[known][::-1]])
        points = self._place(np.concatenate([x[known], x[known][::-1]]), ends)
        if len(points):
            self.marks.append(f'<path class="band" d="{_path(points)}Z"/>')

    def dots(self, x: ArrayLike, y: ArrayLike, style: str = "dot", radius: float = 4) -> None:
        """Add a dot at each point that is known."""
        points = self._place(x, y)
        self.marks += [
            f'<circle class="{style}" cx="{px:g}" cy="{py:g}" r="{radius:g}"/>'
            for px, py in points[np.isfinite(points).all(1)]
        ]

    def whiskers(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, style: str) -> None:
        """Add a vertical line from low to high at each x, as far as they are known."""
        for (px, py), (_, qy) in zip(self._place(x, low), self._place(x, high), strict=True):
            if np.isfinite([px, py, qy]).all():
                self.marks.append(f'<path class="{style}" d="M{px:g} {py:g}V{qy:g}"/>')

    def bars(self, x: ArrayLike, heights: ArrayLike, width: float) -> None:
        """Add bars from the lower edge, their heights as shares of the chart."""
        wide = width / (self.x[1] - self.x[0]) * self.inner[0]
        for (px, py), share in zip(self._place(x, self.y[0]), floats(heights), strict=True):
            if np.isfinite(px) and share > 0:
                tall = share * self.inner[1]
                box = f'x="{px - wide / 2:.1f}" y="{py - tall:.1f}"'
                self.marks.append(
                    f'<rect class="bar" {box} width="{wide:.1f}" height="{tall:.1f}"/>'
                )

    def svg(self, label: str) -> str:
        """Return the whole, with a text for those who can't see it."""
        width, height = self.inner
        box = f'x="{LEFT}" y="{TOP}" width="{width}" height="{height}"'
        marks = f'<svg {box} viewBox="0 0 {width} {height}">{"".join(self.marks)}</svg>'
        style = f"max-width:{self.size[0] * 1.25:g}px"
        return drawing("plot", label, self.size, f"{self._axes()}{marks}", style)

    def _axes(self) -> str:
        (width, height), (xlabel, ylabel) = self.inner, self.labels
        parts = []
        numbers = {value: digits(value, 6) for value in ticks(*self.x, most=max(3, width // 48))}
        for value, words in (self.names or numbers).items():
            px = LEFT + self._place(value, self.y[0])[0, 0]
            parts.append(f'<path class="grid" d="M{px:g} {TOP}v{height}"/>')
            parts.append(text(px, TOP + height + 15, words, "middle"))
        for value in ticks(*self.y):
            py = TOP + self._place(self.x[0], value)[0, 1]
            parts.append(f'<path class="grid" d="M{LEFT} {py:g}h{width}"/>')
            parts.append(text(LEFT - 6, py + 4, digits(value, 6), "end"))
        parts.append(text(LEFT + width / 2, self.size[1] - 6, xlabel, "middle", "name"))
        turned = f' transform="rotate(-90 13 {TOP + height / 2:g})"'
        parts.append(text(13, TOP + height / 2, ylabel, "middle", "name", turned))
        return "".join(parts)


def drawing(kind: str, label: str, size: tuple[int, int], content: str, style: str = "") -> str:
    """Return an SVG of a class of the style sheet, with a text for those who can't see it."""
    look = f' style="{style}"' if style else ""
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {size[0]} {size[1]}"{look}>{content}</svg>'
    )


def text(
    x: float, y: float, words: str, anchor: str, style: str = "tick", further: str = ""
) -> str:
    """Return text that begins, ends or has its middle at a place; `further` attributes."""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}{further}>{escape(words)}</text>'


def _path(points: Floats) -> str:
    """Return path data through points (n, 2), broken at unknown ones."""
    known = np.isfinite(points).all(1)
    parts = np.split(points, np.flatnonzero(~known))
    return "".join(map(_part, (part[np.isfinite(part).all(1)] for part in parts)))


def _part(points: Floats) -> str:
    """Return path data through known points, without those that change nothing."""
    if not len(points):
        return ""
    moved = (points[1:] != points[:-1]).any(1)
    points = points[np.concatenate([[True], moved])]
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    onward = (before * after >= 0).all(1)  # of an upright or level stretch the ends are enough
    straight = ((before == 0) & (after == 0)).any(1) & onward
    points = points[np.concatenate([[True], ~straight, [True]])[: len(points)]]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def interval_mark(figure: Record, scale: Span, reference: float | None) -> str:
    """Return a dot with its interval on a horizontal scale, for a row that has the numbers.

    Args:
        figure: With value, low and high; None or left out where unknown.
        scale: The range that the width of 160 pixels spans.
        reference: The place of an upright line; None for none.
    """
    parts = []
    if reference is not None:
        parts.append(f'<path class="c" d="M{_along(reference, scale)} 0V30"/>')
    if bounds := bounds_of(figure):
        low, high = (_along(bound, scale) for bound in bounds)
        parts.append(f'<path class="a" d="M{low} 15H{high}"/>')
    if (value := figure.get("value")) is not None:
        parts.append(f'<circle class="point" cx="{_along(value, scale)}" cy="15" r="4.5"/>')
    return _mark("".join(parts))


def interval_scale(scale: Span) -> str:
    """Return the scale of `interval_mark`, for the foot of the table."""
    values = [value for value in ticks(*scale, most=4) if scale[0] <= value <= scale[1]]
    parts = [f'<path class="axis" d="M{_along(v, scale)} 0v5"/>' for v in values]
    parts += [text(float(_along(v, scale)), 18, digits(v, 6), "middle") for v in values]
    return _mark('<path class="axis" d="M0 .5H160"/>' + "".join(parts))


def bar(share: float) -> str:
    """Return a share 0 … 1 as a bar, for a row that has the number."""
    return _mark(f'<rect class="bar" y="8" width="{160 * share:.1f}" height="14"/>')


def _mark(content: str) -> str:
    return f'<svg class="mark" aria-hidden="true" viewBox="0 0 160 30">{content}</svg>'


def _along(value: float, scale: Span) -> str:
    share = (value - scale[0]) / (scale[1] - scale[0])
    return f"{160 * min(max(share, 0.0), 1.0):.1f}"


def heat_map(shares: Floats, label: str) -> str:
    """Return a square of cells, the darker the higher their share (0 … 1)."""
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1" height="1" fill-opacity="{shares[y, x]:.2f}"/>'
        for y, x in np.argwhere(shares >= 0.005)
    )
    return drawing("heat", label, (len(shares), len(shares)), cells)
