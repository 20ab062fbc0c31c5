"""Charts as SVG text: small, sharp, and in the colours of the page that they stand in."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Span = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 10, 40  # margins in pixels, as all lengths here


class Chart(NamedTuple):
    """A chart with what stands around it.

    Args:
        title: Above it.
        svg: Ready for a page.
        legend: Style and meaning of each of its marks.
        note: Below it, a sentence.
    """

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def floats(values: ArrayLike) -> Floats:
    """Numbers of a JSON list; NaN for null."""
    return np.asarray(values, np.float64)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers in a range, at most so many.

    >>> ticks(0, 1), ticks(-3, 17, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0, 15.0])
    """
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(k * power for k in (1, 2, 5, 10, 20) if k * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def span(*values: ArrayLike, margin: float = 0.05) -> Span:
    """The range of all finite numbers, a little widened; never empty."""
    known = np.concatenate([floats(v).ravel() for v in values])
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    wide = (high - low) * margin if high > low else max(abs(high) * 0.1, 0.5)
    return low - wide, high + wide


class Plot:
    """A chart with two linear axes, to which marks are added; those outside are cut off.

    The styles of the marks (``a`` the first line, ``b`` the second, ``c`` a reference, ``band``,
    ``dot``, ``bar``) are classes of the page's style sheet.

    Args:
        x: Range of the horizontal axis.
        y: Range of the vertical one.
        xlabel: Below the chart.
        ylabel: Left of it.
        size: Width and height.
    """

    def __init__(
        self, x: Span, y: Span, xlabel: str, ylabel: str, size: tuple[int, int] = (360, 300)
    ) -> None:
        self.x, self.y, self.size = x, y, size
        self.labels = (xlabel, ylabel)
        self.marks: list[str] = []

    def _inner(self) -> tuple[int, int]:
        return self.size[0] - LEFT - RIGHT, self.size[1] - TOP - BOTTOM

    def _place(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """(n, 2) pixels from the upper left corner of the inner part, to half a pixel."""
        width, height = self._inner()
        across = (floats(x) - self.x[0]) / (self.x[1] - self.x[0]) * width
        down = (self.y[1] - floats(y)) / (self.y[1] - self.y[0]) * height
        points = np.stack(np.broadcast_arrays(across, down), -1).reshape(-1, 2)
        return np.round(np.clip(points, -1e4, 1e4) * 2) / 2

    def line(self, x: ArrayLike, y: ArrayLike, style: str) -> None:
        """A line through points, with gaps at unknown ones."""
        self.marks.append(f'<path class="{style}" d="{_path(self._place(x, y))}"/>')

    def band(self, x: ArrayLike, low: ArrayLike, high: ArrayLike) -> None:
        """The area between two lines; unknown points are left out."""
        x, low, high = floats(x), floats(low), floats(high)
        known = np.isfinite(x + low + high)
        ends = np.concatenate([low[known], high[known][::-1]])
        points = self._place(np.concatenate([x[known], x[known][::-1]]), ends)
        if len(points):
            self.marks.append(f'<path class="band" d="{_path(points)}Z"/>')

    def dots(self, x: ArrayLike, y: ArrayLike, style: str = "dot", radius: float = 4) -> None:
        """A dot at each point that is known."""
        points = self._place(x, y)
        self.marks += [
            f'<circle class="{style}" cx="{px:g}" cy="{py:g}" r="{radius:g}"/>'
            for px, py in points[np.isfinite(points).all(1)]
        ]

    def whiskers(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, style: str) -> None:
        """A vertical line from low to high at each x, as far as they are known."""
        for (px, py), (_, qy) in zip(self._place(x, low), self._place(x, high), strict=True):
            if np.isfinite([px, py, qy]).all():
                self.marks.append(f'<path class="{style}" d="M{px:g} {py:g}V{qy:g}"/>')

    def bars(self, x: ArrayLike, heights: ArrayLike, width: float) -> None:
        """Bars from the lower edge, their heights as shares of the chart."""
        base, (scale, height) = self._place(x, self.y[0]), self._inner()
        wide = width / (self.x[1] - self.x[0]) * scale
        for (px, py), share in zip(base, floats(heights), strict=True):
            if np.isfinite(px) and share > 0:
                box = f'x="{px - wide / 2:.1f}" y="{py - share * height:.1f}"'
                sides = f'width="{wide:.1f}" height="{share * height:.1f}"'
                self.marks.append(f'<rect class="bar" {box} {sides}/>')

    def svg(self, label: str) -> str:
        """The whole, with a text for those who can't see it."""
        width, height = self.size
        inner = "{} {}".format(*self._inner())
        box = 'x="{}" y="{}" width="{}" height="{}"'.format(LEFT, TOP, *self._inner())
        return (
            f'<svg class="plot" role="img" aria-label="{escape(label)}" '
            f'viewBox="0 0 {width} {height}" style="max-width:{width * 1.25:g}px">'
            f'{self._axes()}<svg {box} viewBox="0 0 {inner}">{"".join(self.marks)}</svg></svg>'
        )

    def _axes(self) -> str:
        (width, height), (xlabel, ylabel) = self._inner(), self.labels
        parts = []
        for value in ticks(*self.x, most=max(3, width // 48)):
            px = LEFT + self._place(value, self.y[0])[0, 0]
            parts.append(f'<path class="grid" d="M{px:g} {TOP}v{height}"/>')
            parts.append(_text(px, TOP + height + 15, tick(value), "middle"))
        for value in ticks(*self.y):
            py = TOP + self._place(self.x[0], value)[0, 1]
            parts.append(f'<path class="grid" d="M{LEFT} {py:g}h{width}"/>')
            parts.append(_text(LEFT - 6, py + 4, tick(value), "end"))
        parts.append(_text(LEFT + width / 2, self.size[1] - 6, xlabel, "middle", "name"))
        turned = f'transform="rotate(-90 13 {TOP + height / 2:g})"'
        parts.append(_text(13, TOP + height / 2, ylabel, "middle", "name", turned))
        return "".join(parts)


def tick(value: float) -> str:
    """A round number, short."""
    return f"{value:.6g}".replace("-", "−")


def _text(
    x: float, y: float, text: str, anchor: str, style: str = "tick", further: str = ""
) -> str:
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place} {further}>{escape(text)}</text>'


def _path(points: Floats) -> str:
    """Path data through points (n, 2), broken at unknown ones."""
    known = np.isfinite(points).all(1)
    parts = np.split(points, np.flatnonzero(~known))
    return "".join(map(_part, (part[np.isfinite(part).all(1)] for part in parts)))


def _part(points: Floats) -> str:
    """Path data through known points, without those that change nothing."""
    if not len(points):
        return ""
    moved = (points[1:] != points[:-1]).any(1)
    points = points[np.concatenate([[True], moved])]
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    onward = (before * after >= 0).all(1)  # of an upright or level stretch the ends are enough
    straight = ((before == 0) & (after == 0)).any(1) & onward
    points = points[np.concatenate([[True], ~straight, [True]])[: len(points)]]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def interval_mark(value: Any, low: Any, high: Any, scale: Span, reference: float | None) -> str:
    """A dot with its interval on a horizontal scale, for a cell of a table that has the numbers.

    Args:
        value: Of the figure; None where it is unknown.
        low: Lower bound; None where there is none.
        high: Upper bound.
        scale: What the width of 160 pixels spans.
        reference: Where an upright line stands; None for none.
    """
    parts = []
    if reference is not None:
        parts.append(f'<path class="c" d="M{_along(reference, scale)} 0V30"/>')
    if low is not None and high is not None:
        parts.append(f'<path class="a" d="M{_along(low, scale)} 15H{_along(high, scale)}"/>')
    if value is not None:
        parts.append(f'<circle class="point" cx="{_along(value, scale)}" cy="15" r="4.5"/>')
    return f'<svg class="mark" aria-hidden="true" viewBox="0 0 160 30">{"".join(parts)}</svg>'


def interval_scale(scale: Span) -> str:
    """The scale of `interval_mark`, for the foot of the table."""
    values = [value for value in ticks(*scale, most=4) if scale[0] <= value <= scale[1]]
    parts = [f'<path class="axis" d="M{_along(v, scale)} 0v5"/>' for v in values]
    parts += [_text(float(_along(v, scale)), 18, tick(v), "middle") for v in values]
    line = '<path class="axis" d="M0 .5H160"/>'
    return f'<svg class="mark" aria-hidden="true" viewBox="0 0 160 30">{line}{"".join(parts)}</svg>'


def _along(value: float, scale: Span) -> str:
    share = (value - scale[0]) / (scale[1] - scale[0])
    return f"{160 * min(max(share, 0.0), 1.0):.1f}"


def heat_map(shares: Sequence[Sequence[float]], label: str) -> str:
    """A square of cells, the darker the higher their share (0 … 1)."""
    values = floats(shares)
    size = len(values)
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1" height="1" fill-opacity="{values[y, x]:.2f}"/>'
        for y, x in np.argwhere(values >= 0.005)
    )
    return (
        f'<svg class="heat" role="img" aria-label="{escape(label)}" viewBox="0 0 {size} {size}">'
        f"{cells}</svg>"
    )
