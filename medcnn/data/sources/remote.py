"""Images that a table names and that lie at an address: copied before they are looked at."""

from pathlib import Path
from posixpath import normpath
from typing import Any

import pandas as pd

from medcnn.data.listing import SEPARATOR
from medcnn.data.sources.delimited import refuse_lines
from medcnn.data.sources.table_rows import listed
from medcnn.jobs.copies import OF_DISK, fetch_files
from medcnn.jobs.remote import is_address, parent_of


def address_of_images(path: str | Path, root: str | Path | None) -> str | None:
    """Return the address where a table's images lie; None where they are on a disk.

    Args:
        path: ``dataset.path``.
        root: ``dataset.root``.
    """
    found = parent_of(str(path)) if root is None else str(root)
    return found.rstrip("/") if is_address(found) and not found.startswith(OF_DISK) else None


def fetch_named(
    cells: pd.DataFrame, names: dict[str, Any], address: str
) -> tuple[pd.DataFrame, Path]:
    """Copy the images and masks that a table names.

    Args:
        cells: As they stand in the table.
        names: Of the columns, by their keys.
        address: Of the folder that they lie in.

    Returns:
        The cells with paths from that folder where they held addresses; and the folder of copies.

    Raises:
        UserError: An address beside that folder, or a file that can't be read.
    """
    changed, wanted = cells.copy(), set()
    for key in ("image", "mask"):
        for name in listed(names[key]):
            given = cells[name].str.replace(f"{address}/", "", regex=False)
            refuse_lines(
                given.str.contains("://", regex=False),
                f"dataset.columns.{key}={name} holds an address outside of {address}: give the one "
                "that all of them lie below as dataset.root",
            )
            changed[name] = given
            parts = given.str.split(SEPARATOR).explode() if key == "mask" else given
            wanted |= {normpath(part.strip().replace("\\", "/")) for part in parts if part}
    return changed, fetch_files(address, wanted, "dataset.root")
