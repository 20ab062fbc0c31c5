"""Tables of figures as text, ready for a page."""

from collections.abc import Sequence
from typing import NamedTuple

from medcnn.report.words import NOTHING, Record, Words, interval, show

MOST_ROWS = 200  # classes or labels of a table


class Cell(NamedTuple):
    """A figure as text: value, what stands below it, small, an SVG beside it; bold or not."""

    value: str = NOTHING
    below: str = ""
    mark: str = ""
    bold: bool = False


class Row(NamedTuple):
    """Cells beside a name with its meaning; styled as the lines of a run, or by a class."""

    name: str
    cells: list[Cell]
    about: str = ""
    style: int | str | None = None


class Column(NamedTuple):
    """The head of a column: words for a figure, and a line below them."""

    words: Words
    below: str = ""


class Table(NamedTuple):
    """Rows under a head; drawn figures have their scale, as SVG, at the foot."""

    caption: str
    columns: list[Column]
    rows: list[Row]
    head: str = ""
    scale: str = ""

    @property
    def shortened(self) -> "Table":
        """The first `MOST_ROWS` rows, and that there are more."""
        if len(self.rows) <= MOST_ROWS:
            return self
        caption = f"{self.caption}: the first {MOST_ROWS} of {len(self.rows):,}"
        return self._replace(caption=f"{caption}; metrics.json has all", rows=self.rows[:MOST_ROWS])

    @property
    def drawn(self) -> bool:
        """True where the first column has marks."""
        return any(row.cells[0].mark for row in self.rows if row.cells)

    @property
    def has_bold(self) -> bool:
        """True where a figure stands out."""
        return any(cell.bold for row in self.rows for cell in row.cells)


def headed(*titles: str) -> list[Column]:
    """Return the columns of these titles, which need no further words."""
    return [Column(Words(title, "", None)) for title in titles]


def figure_cell(key: str, figure: Record | None) -> Cell:
    """Return value and interval of a figure; a dash where there is none."""
    if not figure or figure.get("value") is None:
        return Cell()
    return Cell(show(key, figure["value"]), interval(key, figure))


def best_of(figures: Sequence[Record], way: int) -> Record | None:
    """Return the figure whose interval lies beyond those of all others; None without such.

    `way` is 1 where higher is better, -1 where lower is, 0 where neither.
    """
    bounds = [one.get(end) for one in figures for end in ("low", "high")]
    if way == 0 or len(figures) < 2 or None in bounds:
        return None
    near, far = ("low", "high") if way > 0 else ("high", "low")
    for one in figures:
        if all(way * one[near] > way * other[far] for other in figures if other is not one):
            return one
    return None
