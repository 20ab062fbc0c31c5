"""Whose scores are put together."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from medcnn.evidence.measurement import Job, measured


class Fold:
    """A job whose tables are given."""

    def __init__(self, groups: Sequence[str], row: int) -> None:
        self.groups, self.row = groups, row

    def tables(self) -> Iterator[tuple[str, str | None, pd.DataFrame]]:
        """One image each."""
        for group in self.groups:
            yield group, "cam", pd.DataFrame({"row": [self.row], group: [float(self.row)]})

    def of_rows(self, column: pd.Series) -> tuple[np.ndarray, None]:
        """Each a patient."""
        return column.to_numpy(), None


def test_a_fold_without_lesions_leaves_those_of_the_others() -> None:
    folds: Any = [Fold(["faithfulness"], 1), Fold(["localisation", "faithfulness"], 3)]
    table, found = measured(cast(list[Job], folds))
    values = {record["group"]: (record["value"], record["n"]) for record in found}
    assert values == {"faithfulness": (2.0, 2), "localisation": (3.0, 1)}
    assert table["group"].tolist() == ["faithfulness", "faithfulness", "localisation"]
