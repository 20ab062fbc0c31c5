"""The scores that are put together."""

import pandas as pd
import torch

from medcnn.data.samples import Samples
from medcnn.evidence.measurement import pooled


def scores(group: str, row: int) -> pd.DataFrame:
    """One image."""
    return pd.DataFrame({"row": [row], group: [float(row)]})


def test_a_fold_without_lesions_leaves_those_of_the_others() -> None:
    columns = {"image": range(4), "patient": range(4), "split": "test", "label": 0.0}
    samples = Samples("x", pd.DataFrame(columns), torch.zeros(4, 1, 2, 2), "regression", ("y",))
    faithful, localised = ("faithfulness", "cam"), ("localisation", "cam")
    made = {
        faithful: [scores("faithfulness", 1), scores("faithfulness", 3)],
        localised: [scores("localisation", 3)],
    }
    table, found = pooled(made, samples)
    values = {record["group"]: (record["value"], record["n"]) for record in found}
    assert values == {"faithfulness": (2.0, 2), "localisation": (3.0, 1)}
    assert table["group"].tolist() == ["faithfulness", "faithfulness", "localisation"]
