"""Facts of files in columns: some two hundred bytes a file, where dicts of them take thousands."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

Facts = dict[str, Any]  # of one file, see `medcnn.data.prepared.one_file.read_file`
Rows = NDArray[np.int64]

DIGESTS = "digests"
DIGEST = 32  # bytes of a SHA-256
ABSENT, NONE = -2, -1  # in the place of a length


class Form(NamedTuple):
    """What numbers a fact holds: their type, and how many stand in an inner list, if any do."""

    kind: type[int] | type[float]
    inner: int | None = None


NUMBERS = {
    "shape": Form(int),
    "spacing": Form(float),
    "affine": Form(float, 4),
    "value_range": Form(float),
    "window": Form(float),
    "extremes": Form(float),
    "percentiles": Form(float),
    "crop": Form(int, 2),
    "edges": Form(int, 2),
    "tile_grid": Form(int),
    "tile_slice": Form(int),
    "tile_row": Form(int),
    "tile_column": Form(int),
    "frame_of_reference": Form(int),
}


class _Words:
    """A column of values of which there are few different ones: each of these is held once."""

    def __init__(self, before: int) -> None:
        self.codes = array("i", [ABSENT]) * before
        self.values: list[Any] = []
        self.known: dict[Any, int] = {}

    def append(self, value: Any) -> None:
        key = tuple(value) if isinstance(value, list) else value
        code = self.known.setdefault(key, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        self.codes.append(code)

    def skip(self) -> None:
        self.codes.append(ABSENT)

    def has(self, at: int) -> bool:
        return self.codes[at] != ABSENT

    def __getitem__(self, at: int) -> Any:
        return self.values[self.codes[at]]


class _Lists:
    """A column of short lists, one behind the other in memory."""

    def __init__(self, before: int, values: Any) -> None:
        self.lengths = array("i", [ABSENT]) * before
        self.values = values
        self._starts: NDArray[np.int64] = np.empty(0, np.int64)

    def skip(self) -> None:
        self.lengths.append(ABSENT)

    def has(self, at: int) -> bool:
        return self.lengths[at] != ABSENT

    def place(self, at: int) -> slice:
        """Return where the list of a row stands among all values."""
        if len(self._starts) != len(self.lengths):
            lengths = np.array(self.lengths, np.int64).clip(0)
            self._starts = lengths.cumsum() - lengths
        start = int(self._starts[at])
        return slice(start, start + max(0, self.lengths[at]))


class _Numbers(_Lists):
    """A column of lists of numbers, maybe nested, or None."""

    def __init__(self, before: int, form: Form) -> None:
        super().__init__(before, array("d"))
        self.form = form

    def append(self, value: Sequence[Any] | None) -> None:
        if value is None:
            self.lengths.append(NONE)
            return
        flat = value if self.form.inner is None else [one for inner in value for one in inner]
        self.values.extend(flat)
        self.lengths.append(len(flat))

    def __getitem__(self, at: int) -> list[Any] | None:
        if self.lengths[at] == NONE:
            return None
        flat: list[Any] = self.values[self.place(at)].tolist()
        if self.form.kind is int:
            flat = list(map(int, flat))
        step = self.form.inner
        return flat if step is None else [flat[k : k + step] for k in range(0, len(flat), step)]


class _Digests(_Lists):
    """A column of lists of SHA-256 in hexadecimal digits; None for an image of one grey."""

    def __init__(self, before: int) -> None:
        super().__init__(before, bytearray())

    def append(self, value: Sequence[str | None]) -> None:
        for one in value:
            self.values += bytes(DIGEST) if one is None else bytes.fromhex(one)
        self.lengths.append(len(value))

    def one(self, at: int, number: int) -> str | None:
        """Return one of a row's digests."""
        start = DIGEST * (self.place(at).start + number)
        found = bytes(self.values[start : start + DIGEST])
        return found.hex() if any(found) else None

    def __getitem__(self, at: int) -> list[str | None]:
        return [self.one(at, number) for number in range(self.lengths[at])]


Column = _Words | _Numbers | _Digests


def _column(name: str, before: int) -> Column:
    if name == DIGESTS:
        return _Digests(before)
    return _Numbers(before, NUMBERS[name]) if name in NUMBERS else _Words(before)


class FactTable(Sequence[Facts]):
    """The facts of files, given out as a dict a row; several rows may be of one file.

    Args:
        facts: Of each row, to begin with; more come by `append`.
    """

    def __init__(self, facts: Iterable[Facts] = ()) -> None:
        self._columns: dict[str, Column] = {}
        self._files = 0
        self._rows: Rows | None = None  # of which file each row is; None: a row a file
        for one in facts:
            self.append(one)

    def append(self, facts: Facts) -> None:
        """Add the facts of one more file, but to a table that `take` made."""
        assert self._rows is None
        for name in facts.keys() - self._columns.keys():
            self._columns[name] = _column(name, self._files)
        for name, column in self._columns.items():
            if name in facts:
                column.append(facts[name])
            else:
                column.skip()
        self._files += 1

    def take(self, rows: Sequence[int] | Rows) -> Self:
        """Return the table of some rows, in this order; it shares the facts with this one."""
        taken = type(self)()
        at = np.asarray(rows, np.int64)
        taken._columns, taken._files = self._columns, self._files
        taken._rows = at if self._rows is None else self._rows[at]
        return taken

    def pick(self, *names: str) -> Iterator[Facts]:
        """Yield of each row only some facts, as far as it has them: sooner than all of them."""
        columns = [(name, self._columns[name]) for name in names if name in self._columns]
        for at in range(self._files) if self._rows is None else self._rows.tolist():
            yield {name: column[at] for name, column in columns if column.has(at)}

    def digest(self, row: int, number: int) -> str | None:
        """Return one of a row's ``digests``: that of one of the file's slices."""
        column = self._columns[DIGESTS]
        assert isinstance(column, _Digests)
        return column.one(self._at(row), number)

    def _at(self, row: int) -> int:
        row = range(len(self))[row]  # also from the end; IndexError beyond
        return row if self._rows is None else int(self._rows[row])

    def __len__(self) -> int:
        return self._files if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Facts: ...
    @overload
    def __getitem__(self, row: slice) -> Self: ...
    def __getitem__(self, row: int | slice) -> Facts | Self:
        if isinstance(row, slice):
            return self.take(range(len(self))[row])
        at = self._at(row)
        return {name: column[at] for name, column in self._columns.items() if column.has(at)}

    def __iter__(self) -> Iterator[Facts]:
        return self.pick(*self._columns)
