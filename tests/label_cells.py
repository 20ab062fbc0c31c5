"""Labels of cells, as a table has them."""

from typing import Any

import pandas as pd

from medcnn.data.sources.labels import LabelOptions, Labels, read_labels


def one(cells: list[str], **options: Any) -> Labels:
    """Labels of a column ``dx``, whose cells stand on lines 2, 3, …"""
    table = pd.DataFrame({"dx": cells}, range(2, 2 + len(cells)))
    return read_labels(table, LabelOptions(**options))


def many(columns: dict[str, list[str]], **options: Any) -> Labels:
    """Labels of several columns, on lines 2, 3, …"""
    table = pd.DataFrame(columns)
    return read_labels(table.set_axis(table.index + 2), LabelOptions(**options), several=True)


def values(labels: Labels) -> dict[str, list[float]]:
    return labels.columns.to_dict("list")
