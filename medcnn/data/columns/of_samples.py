"""The columns of samples that a network takes beside the images."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medcnn.data.columns.codes import codes_of
from medcnn.data.columns.encoding import Code, encoded, texts_of
from medcnn.data.samples import Samples
from medcnn.errors import UserError


def asked_columns(
    samples: Samples, dataset: Mapping[str, Any], card: Mapping[str, Any] | None
) -> None:
    """Name in samples the columns that ``dataset.features`` asks for, where it does.

    Args:
        samples: Their source may have named some already, as ``dataset.columns.features`` does.
        dataset: The config group.
        card: Of a checkpoint that is tested; None for a training.

    Raises:
        UserError: These are no names, or not those of the columns that the checkpoint takes.
    """
    if (given := dataset.get("features")) is not None:
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise UserError(f"dataset.features={given}: give names of columns, such as [age,sex]")
        samples.features = tuple(names)
    taken = [code["column"] for code in (card or {}).get("features") or []]
    if card is not None and samples.features and sorted(samples.features) != sorted(taken):
        raise UserError(
            f"dataset.columns.features={', '.join(samples.features)}: the checkpoint takes "
            f"{', '.join(taken) or 'no columns'}; leave it out"
        )


def fresh_columns(samples: Samples, model: Mapping[str, Any] | None) -> list[Code]:
    """Encode the columns of samples to train on by their training split; return how.

    Raises:
        UserError: What `codes_of` refuses; or the net of a model config takes columns, and none
            is named.
    """
    fusion = (model or {}).get("fusion")
    if fusion is not None and not samples.features:
        raise UserError(
            f"model.fusion={fusion} takes columns of the table, and none is named: give "
            "dataset.columns.features=[age,sex], or model.fusion=null"
        )
    codes = codes_of(samples) if samples.features else []
    own_columns(samples, codes)
    return codes


def own_columns(samples: Samples, codes: Sequence[Code]) -> None:
    """Give samples the inputs that a network takes from their table; without codes none.

    Raises:
        UserError: See `encoded`.
    """
    samples.features = tuple(code["column"] for code in codes)
    samples.feature_values = encoded(samples.table, codes, samples.name) if codes else None


def check_studies(samples: Samples) -> None:
    """Raise UserError where the images of a study differ in a column that a network takes."""
    if samples.studies is None:
        return
    number = samples.studies.number.numpy()
    for name in samples.features:
        texts = pd.Series(texts_of(samples.table, name))
        several = texts.groupby(number).nunique()
        if (several > 1).any():
            study = samples.table["study"].iloc[int(samples.studies.first[several.argmax()])]
            raise UserError(
                f"column {name} differs among the images of study {study} ({(several > 1).sum()} "
                "such studies): with model.aggregate a column is one of the whole study"
            )
