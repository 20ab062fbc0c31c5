"""What a scan found in the cache of the files of a data set, in columns: one row a file."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from medcnn.data.prepared.cache import Entry
from medcnn.data.prepared.facts import FactTable

REFUSED = -1  # in the place of a kind


class Entries(Sequence[Entry]):
    """Entries of files in the cache.

    Args:
        entries: To begin with; more come by `append`.

    Attributes:
        kinds: Names of the packs that they lie in.
        facts: Of each row's file.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.kinds: list[str] = []
        self.facts = FactTable()
        self._kinds, self._slots, self._counts = array("i"), array("q"), array("i")
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> int:
        """Add an entry, but to what `take` made; return its row."""
        if entry.kind is not None and entry.kind not in self.kinds:
            self.kinds.append(entry.kind)
        kind = REFUSED if entry.kind is None else self.kinds.index(entry.kind)
        self._kinds.append(kind)
        self._slots.append(entry.slot)
        self._counts.append(entry.count)
        self.facts.append(entry.facts)
        return len(self._kinds) - 1

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return the entries of some rows, in this order; a row may come several times."""
        taken, at = type(self)(), np.asarray(rows, np.int64)
        taken.kinds, taken.facts = self.kinds, self.facts.take(at)
        taken._kinds = array("i", self.pack_of[at].astype(np.int32).tobytes())
        taken._slots = array("q", self.slots[at].tobytes())
        taken._counts = array("i", self.counts[at].astype(np.int32).tobytes())
        return taken

    @property
    def pack_of(self) -> NDArray[np.int64]:
        """(N,) number of each row's pack among `kinds`; -1 of a file that is refused."""
        return np.array(self._kinds, np.int64)

    @property
    def slots(self) -> NDArray[np.int64]:
        """(N,) place of each row's first image in its pack."""
        return np.array(self._slots, np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N,) number of each row's images."""
        return np.array(self._counts, np.int64)

    def __len__(self) -> int:
        return len(self._kinds)

    @overload
    def __getitem__(self, row: int) -> Entry: ...
    @overload
    def __getitem__(self, row: slice) -> Self: ...
    def __getitem__(self, row: int | slice) -> Entry | Self:
        if isinstance(row, slice):
            return self.take(range(len(self))[row])
        kind = self._kinds[row]
        name = None if kind == REFUSED else self.kinds[kind]
        return Entry(name, self._slots[row], self._counts[row], self.facts[row])
