"""From a listing of files to samples: every file opened once, checked, prepared and cached."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from medcnn.data.image import ImageSpec
from medcnn.data.listing import Listing
from medcnn.data.prepared.crop import MARKED
from medcnn.data.prepared.facts import FactTable
from medcnn.data.prepared.marked import marked_of
from medcnn.data.prepared.open_files import Files, open_files
from medcnn.data.prepared.open_masks import Reasons, open_masks
from medcnn.data.prepared.stacked import StackedImages
from medcnn.data.prepared.stored import HeldImages, Masks
from medcnn.data.prepared.tiles import names_of
from medcnn.jobs.notes import note


@dataclass
class Problem:
    """A file that can't be used, and why."""

    image: str  # its path as the table has it
    reason: str


@dataclass
class Opened:
    """A data set's files, checked and ready to be given out.

    Its table has the listing's rows that can be used; of volumes cut into slices a row a slice,
    with columns ``study`` (the listing's, else the volume's path) and ``slice`` (its number among
    those taken). So of pictures cut into tiles, and volumes cut into windows, a row a tile, where
    the columns of `medcnn.data.listing.TILES` tell its first pixel, of the picture at
    full resolution or of the volume as resampled. Of several files an image, ``image`` is the first
    one that is there.
    """

    table: pd.DataFrame
    images: HeldImages | None  # one a row; None where nothing can be used
    ranges: torch.Tensor  # (N, 2) or (N, C, 2), as of `medcnn.data.samples.Samples`
    masks: Masks | None  # one a row; None where no lesion is known
    facts: FactTable  # of each row's (first) file
    slices: NDArray[np.int64]  # (N,) number of each row among its file's images
    problems: list[Problem]
    spec: ImageSpec  # the listing's, with the channels that were found where there is a layout
    first: NDArray[np.int64]  # (N,) the channel where each row's first file begins
    columns: dict[str, FactTable] = field(default_factory=dict)  # of each of several files


def open_listing(listing: Listing, folder: str | Path, disk: int) -> Opened:
    """Open every file of a listing, and prepare those that are not in the cache yet.

    The cache is in `folder`, and may hold so many bytes (`disk`).

    Raises:
        UserError: The cache can't be used or is too small; or images have no lesion to be cut to.
    """
    spec, names = listing.spec, listing.table["image"].tolist()
    marks = marked_of(listing, folder, disk)
    files = open_files(listing, marks, folder, disk)
    entries = files.entries
    masks, against = open_masks(listing, entries, folder, disk)
    problems = [Problem(names[row], why) for row, why in [*files.reasons, *against]]
    refused = {problem.image for problem in problems}
    if spec.crop in MARKED:  # and a mask that can't be read is a problem already
        bare = [name for name, mark in zip(names, marks or [], strict=True) if mark is None]
        empty = "has an empty mask, and dataset.crop=mask cuts to it"
        problems += [Problem(name, empty) for name in bare if name not in refused]
    problems += [Problem(names[row], why) for row, why in _without_mask(listing)]
    refused = {problem.image for problem in problems}
    counts = np.where([name in refused for name in names], 0, entries.counts)
    rows = np.repeat(np.arange(len(names)), counts)
    slices = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    _note_left_out(files, len(names))
    table = listing.table.iloc[rows].reset_index(drop=True)
    if spec.columns:
        table["image"] = files.paths[files.first[rows], rows]
    if spec.several:
        known = table["study"] if "study" in table else table["image"]
        table = table.assign(study=known.fillna(table["image"]), slice=slices)
    if spec.tiles is not None:
        table = table.assign(**_corners(entries.facts, counts, spec))
    of_rows = masks.of(rows, slices) if masks and len(rows) else None
    lesion = of_rows if spec.mask_as == "channel" else None
    kept = entries.take(rows)
    images = files.images(kept, spec, rows, slices, lesion) if len(rows) else None
    layout = images.layout if isinstance(images, StackedImages) else None
    starts = [channels.start for channels in layout.files] if layout else [0]
    return Opened(
        table=table,
        images=images,
        ranges=files.ranges(rows, layout),
        masks=of_rows,
        facts=kept.facts,
        slices=slices,
        problems=problems,
        spec=replace(spec, channels=layout.counts) if layout else spec,
        first=np.array(starts)[files.first[rows]],
        columns=_of_columns(files, rows[slices == 0], spec),
    )


def _corners(facts: FactTable, counts: NDArray[np.int64], spec: ImageSpec) -> dict[str, Any]:
    """Return the columns of the tiles' corners, of the `counts` (N,) that are used of each file."""
    names = names_of(spec.size)
    files = zip(facts.pick(*names), counts.tolist(), strict=True)
    used = [one for one, count in files if count]
    return {name: [start for one in used for start in one[name]] for name in names}


def _without_mask(listing: Listing) -> Reasons:
    """Return a reason against each row without a mask, where that is an input."""
    if listing.spec.mask_as == "none":
        return []
    table = listing.table
    given = [name for name in table if name == "mask" or str(name).startswith("mask:")]
    bare = (table[given].fillna("") == "").all(axis=1)
    reason = "has no mask, and dataset.mask_as=channel makes it an input; an empty one will do"
    return [(row, reason) for row in np.flatnonzero(bare).tolist()]


def _note_left_out(files: Files, count: int) -> None:
    """Note what was ignored in files, with their number."""
    for column in files.columns:
        facts = column.entries.facts.pick("notes")
        left_out = Counter(text for fact in facts for text in fact.get("notes", ()))
        for text, times in left_out.items():
            note(f"{times} of {count} files: each {text}")


def _of_columns(files: Files, rows: NDArray[np.int64], spec: ImageSpec) -> dict[str, FactTable]:
    """Return the facts of the files of rows, by their columns where there are several."""
    pairs = zip(spec.columns, files.columns, strict=False)
    places = {name: (column, column.places[rows]) for name, column in pairs}
    return {name: column.entries.facts.take(at[at >= 0]) for name, (column, at) in places.items()}
