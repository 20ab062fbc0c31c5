"""How columns of a table are encoded as inputs of a network, found by the training split."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.data.columns.encoding import Code, check_there, numbers_of, texts_of
from medcnn.data.samples import Samples
from medcnn.errors import UserError

MOST_CATEGORIES = 32  # different texts of a column: more are no categories
MOST_MIXED = 10  # the same where some of them are numbers, such as grades 1, 2, 3a and 3b
FEW = 8  # rows: fewer can agree with the label by chance
NOT_OF_A_PATIENT = ("image", "patient", "split", "study", "slice", "mask", "label", "fold", "row")


def codes_of(samples: Samples) -> list[Code]:
    """Return how each of `Samples.features` is encoded, by the training split.

    Plain values, a dict a column, in its order. Of numbers ``{"column", "mean", "std"}``: mean and
    standard deviation of those that are known (scikit-learn's `StandardScaler`). Of texts
    ``{"column", "categories"}``, sorted (its `OneHotEncoder`). Both have ``missing``, whether a
    value is missing in the training split. A column is one of numbers if all its known values are.

    Raises:
        UserError: A column that isn't there or can't be an input: it names the label, or copies it;
            it is empty or the same in all training images; it holds free text.
    """
    names, table = samples.features, samples.table
    if len(set(names)) < len(names):
        raise UserError(f"dataset.features={', '.join(names)}: name each column once")
    for name in names:
        if name in NOT_OF_A_PATIENT or name.startswith(("image:", "label:", "mask:")):
            raise UserError(
                f"dataset.features: column {name} tells what an image is or belongs to, and is no "
                "input; leave it out"
            )
        check_there(table, name, samples.name)
    train = (table["split"] == "train").to_numpy()
    codes = [_code(name, texts_of(table, name), train) for name in names]
    for name in names:
        _refuse_copy(samples, name)
    return codes


def _code(name: str, texts: NDArray[Any], train: NDArray[np.bool_]) -> Code:
    """Return how a column (N,) is encoded, by the rows to train on."""
    known = texts[train & (texts != "")]
    numbers, different = numbers_of(known), len(set(known))
    missing = bool((texts[train] == "").any())
    if not different:
        raise UserError(f"column {name} is empty in all training images: it can't be an input")
    if different == 1 and not missing:
        raise UserError(
            f"column {name} is the same in all training images: nothing can be learnt from it"
        )
    if not np.isnan(numbers).any():
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(numbers[:, None])
        mean, std = float(scaler.mean_[0]), float(scaler.scale_[0])
        return {"column": name, "mean": mean, "std": std, "missing": missing}
    _check_categories(name, known, np.isnan(numbers))
    return {"column": name, "categories": sorted(set(known)), "missing": missing}


def _check_categories(name: str, known: NDArray[Any], text: NDArray[np.bool_]) -> None:
    """Raise UserError for the known values of a training split that are no categories."""
    different = len(set(known))
    if not text.all() and different > MOST_MIXED:
        raise UserError(
            f"column {name}: {int(text.sum())} of {len(known)} values in the training split are no "
            "numbers (which are written as 3.5), the others are: put them right, or leave them "
            "empty"
        )
    if different > MOST_CATEGORIES or different > max(2, len(known) // 2):
        raise UserError(
            f"column {name} holds {different} different texts in {len(known)} training images: "
            f"categories are few (at most {MOST_CATEGORIES}), and each comes several times"
        )


def _refuse_copy(samples: Samples, name: str) -> None:
    """Raise UserError where a column says of each image what its label is, and nothing else."""
    texts = texts_of(samples.table, name)
    labels = samples.table[samples.label_columns]
    for column in labels:
        label = labels[column].to_numpy(float)
        there = (texts != "") & np.isfinite(label)
        if samples.task != "regression":
            there &= label >= 0
        if there.sum() >= FEW and _same(texts[there], label[there], samples.task == "regression"):
            raise UserError(
                f"column {name} is a copy of the label: a network that gets it has nothing to "
                "learn; leave it out"
            )


def _same(texts: NDArray[Any], label: NDArray[np.float64], linear: bool) -> bool:
    """Return whether values and labels (n,) stand for each other one to one, or on a line."""
    if linear:
        numbers = numbers_of(texts)
        if np.isnan(numbers).any() or np.ptp(numbers) == 0 or np.ptp(label) == 0:
            return False
        return bool(abs(np.corrcoef(numbers, label)[0, 1]) > 1 - 1e-9)
    pairs = pd.DataFrame({"value": texts, "label": label}).drop_duplicates()
    return len(pairs) == pairs["value"].nunique() == pairs["label"].nunique() > 1
