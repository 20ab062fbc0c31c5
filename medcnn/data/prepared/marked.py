"""Where the lesions of a listing's images lie, to whose surroundings these are cut."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medcnn.data.listing import BOX, SEPARATOR, Listing, boxes_of
from medcnn.data.prepared.cache import Cache
from medcnn.data.prepared.crop import MARKED, Marked
from medcnn.data.prepared.scan import chain_of, scan
from medcnn.errors import UserError


def marked_of(listing: Listing, folder: str | Path, disk: int) -> list[Marked | None] | None:
    """Return where the lesion of each of a listing's images lies, where `ImageSpec.crop` asks.

    Args:
        listing: Of images, and of their masks or boxes.
        folder: Of the cache.
        disk: Bytes that it may hold.

    Returns:
        One a row: what surrounds all of its masks or boxes; None where no mask can be read, or all
        are empty. None in place of them all where that isn't asked for.

    Raises:
        UserError: Images without a mask or box: left whole, they would be told from the others by
            that alone.
    """
    crop = listing.spec.crop
    if crop not in MARKED:
        return None
    found = _of_masks(listing, folder, disk) if crop == "mask" else _of_boxes(listing)
    lacking = sum(not of_row for of_row in found)
    if lacking:
        raise UserError(
            f"dataset.crop={crop}: {lacking} of {len(found)} images have no {crop} "
            f"(dataset.columns.{crop}), and left whole they would be told from the others by that "
            "alone; give each one (a healthy image where a lesion could be), or take "
            "dataset.crop=body"
        )
    return [_around([one for one in of_row if one is not None]) for of_row in found]


def _around(several: Sequence[Marked]) -> Marked | None:
    """Return what surrounds all; None for none, and for those that aren't of one image."""
    if len({len(one.edges) for one in several}) != 1:
        return None
    edges = np.array([one.edges for one in several])  # (M, axes, 2)
    low, high = edges[..., 0].min(0).tolist(), edges[..., 1].max(0).tolist()
    return Marked(tuple(zip(low, high, strict=True)), several[0].unit)


def _of_boxes(listing: Listing) -> list[list[Marked | None]]:
    """Return the boxes of each row."""
    if BOX[0] not in listing.table:
        return [[] for _ in range(len(listing.table))]
    return [
        [
            Marked(((top, bottom), (left, right)), listing.box_unit)
            for top, left, bottom, right in of_row[~np.isnan(of_row).any(1)].tolist()
        ]
        for of_row in boxes_of(listing.table)
    ]


def _of_masks(listing: Listing, folder: str | Path, disk: int) -> list[list[Marked | None]]:
    """Return the places of each row's masks; None for one that is empty or can't be read."""
    table, root = listing.table, listing.root
    columns = [name for name in table if name == "mask" or str(name).startswith("mask:")]
    cells = table[columns].fillna("").agg(SEPARATOR.join, axis=1) if columns else [""] * len(table)
    given = [[name for name in cell.split(SEPARATOR) if name] for cell in cells]
    with Cache(folder, chain_of(listing.spec, "extent")) as cache:
        paths = [name for names in given for name in names]
        found = scan(cache, paths, root, listing.spec, "extent", disk).facts.pick("edges")
    edges = [[next(found).get("edges") for _ in names] for names in given]
    return [
        [one and Marked(tuple((low, high) for low, high in one)) for one in of_row]
        for of_row in edges
    ]
