"""Pseudonyms: keyed hashes in place of patients and file paths."""

from collections.abc import Sequence

import pandas as pd

from medcnn.data.listing import BOX, TILES
from medcnn.errors import UserError
from medcnn.jobs.pseudonym_key import pseudonym

HIDDEN = ("patient", "study", "image", "mask")
KEPT = ("split", "label", "view", "site", "sex", "age", "slice", *TILES, *BOX)


def pseudonymise(table: pd.DataFrame, key: bytes, features: Sequence[str] = ()) -> pd.DataFrame:
    """Return a copy of a sample table, with the same rows, that names neither patients nor files.

    Patient, study, image and mask become pseudonyms, the same for the same value and key. Kept as
    they are: split, labels, view, site, sex, age, slice, the place of a tile, box, and the features
    that a network takes. **All other columns are left out**, since nobody knows what is in them. A
    site, a high age or a rare label can still identify someone.

    Raises:
        UserError: Two values have the same pseudonym.
    """
    hidden = pd.DataFrame(index=table.index)
    for column in table.columns:
        if column in HIDDEN:
            hidden[column] = _hidden(table[column], key)
        elif column in (*KEPT, *features) or str(column).startswith("label:"):
            hidden[column] = table[column]
    return hidden


def _hidden(values: pd.Series, key: bytes) -> pd.Series:
    """Return a column of pseudonyms; gaps stay gaps."""
    names = {value: pseudonym(value, key, str(values.name)) for value in values.dropna().unique()}
    if len(set(names.values())) < len({str(value) for value in names}):
        raise UserError(f"two values of column {values.name!r} have one pseudonym: use another key")
    return values.astype(object).map(names)
