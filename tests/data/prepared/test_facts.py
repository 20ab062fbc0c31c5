"""Facts in columns come out as they went in."""

import hashlib
from typing import Any

import pytest

from medcnn.data.prepared.cache import Entry
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import FactTable

DIGEST = hashlib.sha256(b"one").hexdigest()
PICTURE: dict[str, Any] = {
    "shape": [8, 16],
    "channels": 1,
    "dtype": "uint8",
    "spacing": None,
    "affine": None,
    "modality": None,
    "value_range": [0.0, 255.0],
    "window": None,
    "notes": [],
    "digests": [DIGEST],
    "extremes": [3.0, 250.0],
    "percentiles": [3.5, 249.25],
}
VOLUME: dict[str, Any] = PICTURE | {
    "shape": [3, 8, 16],
    "spacing": [2.5, 0.1, 0.1],
    "affine": [[float(4 * row + column) for column in range(4)] for row in range(4)],
    "modality": "CT",
    "window": [-150.0, 250.0],
    "notes": ["has no window that can be read", "is old"],
    "digests": [None, DIGEST, None],
    "crop": [[0, 3], [1, 7], [2, 9]],
}
REFUSED = {"error": "is truncated"}
EXTENT = {"edges": None}
ALL = [REFUSED, PICTURE, EXTENT, VOLUME, {"edges": [[0, 2], [1, 3]]}, REFUSED, PICTURE]


def test_what_goes_in_comes_out() -> None:
    table = FactTable(ALL)
    assert list(table) == ALL
    assert [table[row] for row in range(len(ALL))] == ALL
    assert table[-1] == PICTURE
    assert all(isinstance(side, int) for side in [*table[3]["shape"], *table[3]["crop"][0]])
    with pytest.raises(IndexError):
        table[len(ALL)]


def test_rows_of_it_share_the_facts() -> None:
    table = FactTable(ALL).take([3, 0, 3, 1])
    assert list(table) == [VOLUME, REFUSED, VOLUME, PICTURE]
    again = table[1:].take([1, 2])
    assert list(again) == [VOLUME, PICTURE]
    picked = list(table.pick("window", "error", "unknown"))
    window = {"window": VOLUME["window"]}
    assert picked == [window, REFUSED, window, {"window": None}]
    assert [again.digest(0, k) for k in range(3)] == [None, DIGEST, None]


def test_facts_that_come_later_are_found_too() -> None:
    table = FactTable([PICTURE])
    assert table[0] == PICTURE
    table.append(VOLUME)
    assert list(table) == [PICTURE, VOLUME]
    assert table.digest(1, 1) == DIGEST


def test_entries_in_columns() -> None:
    given = [Entry("b", 4, 3, VOLUME), Entry(None, 0, 0, REFUSED), Entry("a", 2, 1, PICTURE)]
    entries = Entries(given)
    assert list(entries) == given
    assert list(entries[1:]) == given[1:]
    taken = entries.take([2, 0, 2])
    assert list(taken) == [given[2], given[0], given[2]]
    assert [taken.kinds[k] for k in taken.pack_of] == ["a", "b", "a"]
    assert taken.slots.tolist() == [2, 4, 2]
    assert taken.counts.tolist() == [1, 3, 1]
