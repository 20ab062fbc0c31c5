"""Names of the rows of a sample table, for people to read."""

from collections.abc import Sequence

import pandas as pd

from medcnn.data.listing import TILES
from medcnn.jobs.notes import visible


def names_of_rows(table: pd.DataFrame, rows: Sequence[int]) -> list[str]:
    """Return names of rows of a sample table: the number, and the file where there is one.

    The files are named without the folders that all files of the table lie in.

    >>> table = pd.DataFrame({"image": ["films/a.png", "films/b/c.png"]})
    >>> names_of_rows(table, [1])
    ['row 1 · b/c.png']
    """
    parts = table["image"].astype(str).str.split("/").tolist()
    first, last = (pick(part[:-1] for part in parts) for pick in (min, max))
    same = [one == other for one, other in zip(first, last, strict=False)]
    shared = [*same, False].index(False)  # folders that all are in
    names = []
    for row in rows:
        file = visible("/".join(parts[row][shared:]))
        name = f"row {row}" if file.isdigit() else f"row {row} · {file}"
        several = "slice" in table and pd.notna(table["slice"].iloc[row])
        what = "tile" if TILES[-1] in table else "slice"
        names.append(f"{name}, {what} {int(table['slice'].iloc[row])}" if several else name)
    return names
