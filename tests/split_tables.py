"""Tables of patients, and their splits."""

from typing import Any

import numpy as np
import pandas as pd

from medcnn.data.splits import assign_splits

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def patients_table(classes: list[int], seed: int = 0, most: int = 4) -> pd.DataFrame:
    """Patients of these classes with 1 … `most` images each, rows shuffled."""
    rng = np.random.default_rng(seed)
    rows = [
        {"image": f"{k}-{i}.png", "patient": f"P{k}", "label": label}
        for k, label in enumerate(classes)
        for i in range(rng.integers(1, most + 1))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def split(table: pd.DataFrame, **changed: Any) -> pd.Series:
    options: dict[str, Any] = {"task": "multiclass", "label_columns": ["label"], "seed": 0}
    return assign_splits(table, **(options | {"shares": SHARES} | changed))


def of_patients(table: pd.DataFrame, assigned: pd.Series) -> pd.DataFrame:
    """One row a patient; fails where a patient is in two splits."""
    both = table.assign(split=assigned)
    assert (both.groupby("patient")["split"].nunique() == 1).all()
    return both.groupby("patient").first()
