"""From a listing of files to samples: every file opened once, checked, prepared and cached."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from medcnn.data.formats.volume import orient
from medcnn.data.image import ImageSpec
from medcnn.data.listing import BOX, SEPARATOR, Listing, boxes_of
from medcnn.data.prepared.cache import Cache
from medcnn.data.prepared.crop import MARKED, crop_in
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import Facts, FactTable
from medcnn.data.prepared.intensity import OF_RANGE, file_range
from medcnn.data.prepared.marked import marked_of
from medcnn.data.prepared.scan import chain_of, scan
from medcnn.data.prepared.stored import BoxMasks, LabelMasks, StoredImages, StoredMasks
from medcnn.data.prepared.tiles import FACTS as OF_GRID
from medcnn.data.prepared.tiles import grid_in, names_of
from medcnn.errors import UserError
from medcnn.jobs.notes import note

BEYOND = 1.05  # times the image's edge: where a box may end, for it may be rounded


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
    full resolution or of the volume as resampled.
    """

    table: pd.DataFrame
    images: StoredImages | None  # one a row; None where nothing can be used
    ranges: torch.Tensor  # (N, 2) float32, stored values that become 0 and 1
    masks: StoredMasks | BoxMasks | LabelMasks | None  # one a row; None where no lesion is known
    facts: FactTable  # of each row's file
    slices: NDArray[np.int64]  # (N,) number of each row among its file's images
    problems: list[Problem]


def open_listing(listing: Listing, folder: str | Path, disk: int) -> Opened:
    """Open every file of a listing, and prepare those that are not in the cache yet.

    The cache is in `folder`, and may hold so many bytes (`disk`).

    Raises:
        UserError: The cache can't be used or is too small; or images have no lesion to be cut to.
    """
    spec, names = listing.spec, listing.table["image"].tolist()
    cache = Cache(folder, chain_of(spec, "image"))
    marks = marked_of(listing, folder, disk)
    entries = scan(cache, names, listing.root, spec, "image", disk, marks)
    reasons, ranges = _verdicts(entries.facts, spec.intensity)
    problems = [Problem(names[row], why) for row, why in reasons.items()]
    masks, mask_problems = _open_masks(listing, entries, folder, disk)
    problems += mask_problems
    refused = {problem.image for problem in problems}
    if spec.crop in MARKED:  # and a mask that can't be read is a problem already
        bare = [name for name, mark in zip(names, marks or [], strict=True) if mark is None]
        empty = "has an empty mask, and dataset.crop=mask cuts to it"
        problems += [Problem(name, empty) for name in bare if name not in refused]
        refused |= {*bare}
    counts = np.where([name in refused for name in names], 0, entries.counts)
    rows = np.repeat(np.arange(len(names)), counts)
    slices = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    left_out = Counter(
        text for fact in entries.facts.pick("notes") for text in fact.get("notes", ())
    )
    for text, count in left_out.items():
        note(f"{count} of {len(names)} files: each {text}")
    table = listing.table.iloc[rows].reset_index(drop=True)
    if spec.several:
        known = table["study"] if "study" in table else table["image"]
        table = table.assign(study=known.fillna(table["image"]), slice=slices)
    if spec.tiles is not None:
        table = table.assign(**_corners(entries.facts, counts, spec))
    kept = entries.take(rows)
    return Opened(
        table=table,
        images=StoredImages(cache, kept, slices) if len(rows) else None,
        ranges=torch.from_numpy(ranges[rows]),
        masks=masks.of(rows, slices) if masks else None,
        facts=kept.facts,
        slices=slices,
        problems=problems,
    )


def _corners(facts: FactTable, counts: NDArray[np.int64], spec: ImageSpec) -> dict[str, Any]:
    """Return the columns of the tiles' corners, of the `counts` (N,) that are used of each file."""
    names = names_of(spec.size)
    files = zip(facts.pick(*names), counts.tolist(), strict=True)
    used = [one for one, count in files if count]
    return {name: [start for one in used for start in one[name]] for name in names}


def _verdicts(facts: FactTable, intensity: Any) -> tuple[dict[int, str], np.ndarray]:
    """Return the reasons against files, by row; and the values (N, 2) that become 0 and 1."""
    reasons, ranges = {}, np.tile(np.array([0, 1], np.float32), (len(facts), 1))
    for row, one in enumerate(facts.pick("error", *OF_RANGE)):
        if "error" in one:
            reasons[row] = one["error"]
            continue
        try:
            ranges[row] = file_range(one, intensity)
        except UserError as error:
            reasons[row] = str(error)
    return reasons, ranges


def _open_masks(
    listing: Listing, entries: Entries, folder: str | Path, disk: int
) -> tuple[StoredMasks | BoxMasks | LabelMasks | None, list[Problem]]:
    """Return the lesion masks of a listing's images, from files or boxes, and problems."""
    if "mask" in listing.table:
        return _mask_files(listing, entries, folder, disk)
    columns = [f"mask:{name}" for name in listing.class_names]
    if any(name in listing.table for name in columns):
        found = [_mask_files(listing, entries, folder, disk, name) for name in columns]
        parts = [part for part, _ in found]
        shape = (len(entries), *listing.spec.size)
        problems = [problem for _, several in found for problem in several]
        return LabelMasks(parts, shape) if any(parts) else None, problems
    if BOX[0] not in listing.table:
        return None, []
    boxes = boxes_of(listing.table)
    facts = entries.facts
    shapes = facts.pick("error", "shape")
    reasons = [_no_box(box, fact, listing) for box, fact in zip(boxes, shapes, strict=True)]
    named = zip(listing.table["image"], reasons, strict=True)
    problems = [Problem(str(name), reason) for name, reason in named if reason]
    return BoxMasks(boxes, facts, listing.box_unit, listing.spec), problems


def _no_box(box: np.ndarray, image: Facts, listing: Listing) -> str | None:
    """Return the reason why boxes (M, 4) can't be those of an image, or None."""
    if "error" in image or np.isnan(box).any(1).all():
        return None
    if len(image["shape"]) != 2:
        return "has a box, and boxes are for pictures: of a volume give a mask"
    height, width = image["shape"]
    if listing.box_unit == "pixel" and (box[:, 2:] > BEYOND * np.array(image["shape"])).any():
        return f"has a box that ends beyond its {height}×{width} pixels"
    return None


def _misfit(mask: Facts, image: Facts) -> str | None:
    """Return the reason why a mask can't be that of an image, or None."""
    if "error" in mask:
        return str(mask["error"])
    shape, place = mask["shape"], mask["affine"]
    if place is not None and image["affine"] is not None:
        shape, place = _oriented_like(shape, np.array(place), np.array(image["affine"]))
        if list(shape) == image["shape"] and not np.allclose(
            place, image["affine"], rtol=1e-3, atol=0.1
        ):
            return "lies elsewhere in space than its image"
    if list(shape) != image["shape"]:
        sizes = ["×".join(map(str, lengths)) for lengths in (shape, image["shape"])]
        return f"is {sizes[0]}, but its image is {sizes[1]}"
    return None


def _oriented_like(
    shape: Sequence[int], affine: np.ndarray, other: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine of a volume once its axes are turned like those of another."""
    from nibabel.orientations import aff2axcodes

    volume = np.broadcast_to(np.uint8(0), (1, *shape))  # takes no memory
    turned, place = orient(volume, affine, "".join(aff2axcodes(other)))
    return turned.shape[1:], place


def _mask_files(
    listing: Listing, entries: Entries, folder: str | Path, disk: int, column: str = "mask"
) -> tuple[StoredMasks | None, list[Problem]]:
    given = [str(names).split(SEPARATOR) for names in listing.table[column].fillna("")]
    slots = np.full((len(entries), max(map(len, given), default=1)), -1)
    problems = []
    refused = ["error" in fact for fact in entries.facts.pick("error")]
    places = [
        (row, k, name)
        for row, names in enumerate(given)
        for k, name in enumerate(names)
        if name and not refused[row]
    ]
    cache = Cache(folder, chain_of(listing.spec, "mask"))
    paths = [name for *_, name in places]
    of_images = entries.facts.take([row for row, *_ in places])
    cut = of_images.pick("crop", *OF_GRID)
    crops = [grid_in(fact) or crop_in(fact) for fact in cut]
    found = scan(cache, paths, listing.root, listing.spec, "mask", disk, crops)
    pairs = zip(places, found, of_images.pick("shape", "affine"), strict=True)
    for (row, k, _), entry, image in pairs:
        reason = _misfit(entry.facts, image)
        if reason is None and entry.kind is None:
            reason = "has another size than its image once both have dataset.spacing"
        if reason is not None:
            problems.append(Problem(listing.table["image"].iloc[row], f"its mask {reason}"))
        else:
            slots[row, k] = entry.slot
    return StoredMasks(cache, found.kinds[0], slots) if found.kinds else None, problems
