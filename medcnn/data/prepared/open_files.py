"""The files of a listing's images, opened: one column of them, or several whose files are one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.image import ImageSpec
from medcnn.data.layout import Layout
from medcnn.data.listing import Listing, image_columns
from medcnn.data.prepared.cache import Cache, Entry
from medcnn.data.prepared.crop import Marked
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import DIGESTS, FactTable
from medcnn.data.prepared.grid import Grid
from medcnn.data.prepared.intensity import OF_RANGE, file_range
from medcnn.data.prepared.one_file import Place
from medcnn.data.prepared.open_masks import Reasons
from medcnn.data.prepared.scan import chain_of, scan
from medcnn.data.prepared.stacked import StackedImages
from medcnn.data.prepared.stored import HeldImages, Masks, StoredImages
from medcnn.errors import UserError
from medcnn.jobs.notes import note

Numbers = NDArray[np.int64]
OF_GRID = ("shape", "spacing", "affine", "crop")  # facts that a grid follows from
BLACK_WHITE = (0.0, 1.0)  # what becomes 0 and 1 of channels of 0 and 1, and of files that miss


@dataclass
class Column:
    """The files of one column, opened.

    Args:
        cache: Where they lie; has to stay open.
        entries: Of the rows that have a file here, in their order.
        places: (N,) where each row is among these; -1 where the file is missing.
        ranges: Of each entry the stored values (n, 2) that become 0 and 1.
    """

    cache: Cache
    entries: Entries
    places: Numbers
    ranges: NDArray[np.float32]


@dataclass
class Files:
    """The files of a listing, opened.

    Args:
        columns: One; or, where several files are one image, each of them.
        paths: (columns, N) of the files, from the listing's root; "" for none.
        first: (N,) the column of each row's first file, whose grid all have; -1 for none.
        entries: (N,) of these first files, with the digests of all files of the row together.
        reasons: Against rows.
    """

    columns: list[Column]
    paths: NDArray[np.object_]
    first: Numbers
    entries: Entries
    reasons: Reasons

    def images(
        self, kept: Entries, spec: ImageSpec, rows: Numbers, slices: Numbers, lesion: Masks | None
    ) -> HeldImages:
        """Return the images of slices of rows; with masks as a channel if there are such.

        `kept` are the entries of the rows' first files.
        """
        if not spec.columns and lesion is None:
            return StoredImages(self.columns[0].cache, kept, slices)
        parts, places, counts = [], [], []
        for number, column in enumerate(self.columns):
            at = column.places[rows]
            there = at >= 0
            kept = column.entries.take(at[there])
            part = StoredImages(column.cache, kept, slices[there]) if there.any() else None
            parts.append(part)
            places.append(np.where(there, there.cumsum() - 1, -1))
            counts.append(part.shape[1] if part else spec.channels_of(number) or 1)
        layout = Layout(tuple(counts), spec.missing_channel == "zero", lesion is not None)
        return StackedImages(parts, np.stack(places), layout, lesion)

    def ranges(self, rows: Numbers, layout: Layout | None) -> torch.Tensor:
        """Return the stored values (n, 2) that become 0 and 1; with a layout (n, C, 2)."""
        if layout is None:
            return torch.from_numpy(self.columns[0].ranges[rows])
        channels = layout.pictures + layout.flags
        found = np.tile(np.array(BLACK_WHITE, np.float32), (len(rows), channels, 1))
        for column, own in zip(self.columns, layout.files, strict=True):
            at = column.places[rows]
            found[at >= 0, own] = column.ranges[at[at >= 0], None]
        return torch.from_numpy(found)


def open_files(
    listing: Listing, marks: Sequence[Marked | None] | None, folder: str | Path, disk: int
) -> Files:
    """Open every file of a listing, and prepare those that are not in the cache yet.

    Of several files an image, the first one that is there gives the grid of the others.

    Args:
        listing: The files.
        marks: One a row, of `medcnn.data.prepared.marked.marked_of`.
        folder: Of the cache.
        disk: Bytes that it may hold.
    """
    spec, table = listing.spec, listing.table
    paths = np.array([table[name].fillna("") for name in image_columns(spec)], object)
    there, reasons = _there(paths, listing)
    first = np.where(there.any(0), there.argmax(0), -1)
    columns: list[Column] = []
    grids: dict[int, Grid] = {}  # of the rows of several files
    for number, own in enumerate(there):
        rows = np.flatnonzero(own)
        if number:  # a first file that can't be used leaves the others without a grid
            rows = rows[[first[row] == number or row in grids for row in rows.tolist()]]
        places: Sequence[Place | None] | None = marks
        if spec.columns:
            of_row = marks or [None] * len(table)
            places = [grids.get(row, of_row[row]) for row in rows.tolist()]
        column, against = _open(listing, number, paths[number], rows, places, (folder, disk))
        columns.append(column)
        reasons += against
        if spec.columns:
            facts = zip(rows.tolist(), column.entries.facts.pick(*OF_GRID), strict=True)
            grids |= {row: Grid.of(one) for row, one in facts if first[row] == number and one}
    found = Files(columns, paths, first, columns[0].entries, reasons)
    if spec.columns:
        found.entries = _together(found, spec.columns)
    return found


def _there(paths: NDArray[np.object_], listing: Listing) -> tuple[NDArray[np.bool_], Reasons]:
    """Return which files (columns, N) are to be opened, and the reasons against rows."""
    spec, there = listing.spec, paths != ""
    if spec.missing_channel == "zero":
        exists = np.frompyfunc(lambda path: os.path.exists(listing.root / path), 1, 1)  # noqa: PTH110  # never raises
        there &= exists(paths).astype(bool)
        for name, own, given in zip(spec.columns, there, paths != "", strict=False):
            if lacking := int((~own).sum()):
                nowhere = int((given & ~own).sum())
                note(
                    f"column {name}: {lacking} of {len(own)} files are missing, and are 0 "
                    f"({nowhere} of these have a path, which leads to no file)"
                )
        none = np.flatnonzero(~there.any(0)).tolist()
        return there, [(row, "is missing, as are all other files of its row") for row in none]
    return there, [
        (row, f"has no file in column {name}; dataset.missing_channel=zero fills in 0")
        for name, own in zip(spec.columns, there, strict=False)
        for row in np.flatnonzero(~own).tolist()
    ]


def _open(
    listing: Listing,
    number: int,
    paths: NDArray[np.object_],
    rows: Numbers,
    places: Sequence[Place | None] | None,
    cache_in: tuple[str | Path, int],
) -> tuple[Column, Reasons]:
    """Open the files of one column in some rows; return the reasons against these, too."""
    spec, (folder, disk) = listing.spec.of_file(number), cache_in
    cache = Cache(folder, chain_of(spec, "image"))
    entries = scan(cache, paths[rows].tolist(), listing.root, spec, "image", disk, places)
    against, ranges = _verdicts(entries.facts, spec.intensity)
    at = np.full(len(paths), -1)
    at[rows] = np.arange(len(rows))
    its = f"its {spec.columns[number]} " if spec.columns else ""
    return Column(cache, entries, at, ranges), [
        (int(rows[place]), its + reason) for place, reason in against.items()
    ]


def _verdicts(facts: FactTable, intensity: Any) -> tuple[dict[int, str], NDArray[np.float32]]:
    """Return the reasons against files, by row; and the values (N, 2) that become 0 and 1."""
    reasons, ranges = {}, np.tile(np.array(BLACK_WHITE, np.float32), (len(facts), 1))
    for row, one in enumerate(facts.pick("error", *OF_RANGE)):
        if "error" in one:
            reasons[row] = one["error"]
            continue
        try:
            ranges[row] = file_range(one, intensity)
        except UserError as error:
            reasons[row] = str(error)
    return reasons, ranges


def _together(files: Files, names: Sequence[str]) -> Entries:
    """Return the entries of each row's first file, with the digests of all its files together.

    A row that has the same picture twice is refused; a note counts those whose files lie in
    different frames of reference.
    """
    found, apart = Entries(), 0
    for row, first in enumerate(files.first.tolist()):
        own = {
            name: column.entries[int(column.places[row])]
            for name, column in zip(names, files.columns, strict=True)
            if column.places[row] >= 0
        }
        if first < 0 or any("error" in one.facts for one in own.values()):
            found.append(Entry(None, 0, 0, {"error": "can't be used"}))
            continue
        digests = {name: one.facts[DIGESTS] for name, one in own.items()}
        if (twice := _twice(digests)) is not None:
            files.reasons.append((row, f"has the same picture as {twice[0]} and as {twice[1]}"))
        entry = own[names[first]]
        found.append(replace(entry, facts=entry.facts | {DIGESTS: _joined(digests)}))
        frames = [one.facts["frame_of_reference"] for one in own.values()]
        apart += len({frame[0] for frame in frames if frame}) > 1
    if apart:
        note(
            f"{apart} of {len(found)} images: their files lie in different DICOM frames of "
            "reference, so that one may be shifted against another; look at samples.png of "
            "python -m medcnn.data"
        )
    return found


def _twice(digests: dict[str, list[str | None]]) -> tuple[str, str] | None:
    """Return the names of two files of one content, if there are such."""
    known: dict[tuple[str | None, ...], str] = {}
    for name, of_slices in digests.items():
        if any(of_slices) and (other := known.setdefault(tuple(of_slices), name)) != name:
            return other, name
    return None


def _joined(digests: dict[str, list[str | None]]) -> list[str | None]:
    """Return one digest for each slice of several files; None where all are of one grey."""
    slices = zip(*digests.values(), strict=True)
    return [
        sha256(repr([*zip(digests, one, strict=True)]).encode()).hexdigest() if any(one) else None
        for one in slices
    ]
